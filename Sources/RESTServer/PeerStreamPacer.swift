import ClusterModel

/// Decides which statuses go to a peer: one that changed in what matters at once, any other change at most once a
/// second. Pure.
struct PeerStreamPacer {
    static let interval: Duration = .seconds(1)

    private var lastSent: JSONObject?
    private var lastUrgent: JSONObject?
    private var lastSentAt = Instant.distantPast
    /// A change waits for its second.
    private(set) var isBehind = false

    /// Whether to send this document now.
    mutating func shallSend(_ document: JSONObject, now: Instant) -> Bool {
        var comparable = document
        // Counts on by itself; not worth a word.
        comparable["dcs_last_seen"] = nil
        guard comparable != lastSent else {
            isBehind = false
            return false
        }
        let urgent = Self.urgentPart(of: comparable)
        guard urgent != lastUrgent || now - lastSentAt >= Self.interval - .milliseconds(20) else {
            isBehind = true
            return false
        }
        lastSent = comparable
        lastUrgent = urgent
        lastSentAt = now
        isBehind = false
        return true
    }

    /// What a peer's race or a follower's decision can hang on.
    private static func urgentPart(of document: JSONObject) -> JSONObject {
        var part = JSONObject()
        for key in [
            "state", "role", "timeline", "replication_state", "pause", "cluster_unlocked", "database_system_identifier",
            "tags",
        ] {
            part[key] = document[key]
        }
        let own = document[Member.ownField]
        for key in ["fence", "silent", "term", "job", "failsafe_granted_to"] { part["own." + key] = own?[key] }
        part["answers"] = .bool(document["xlog"] != nil)
        return part
    }
}

/// Decides what happens at each beat of a stream on which nobody said anything. Pure.
struct PeerBeatRules {
    struct Action: Hashable {
        /// Say that we are still here.
        var saysSo = false
        /// Look at the status: time alone may have changed it (a view of the store grows old).
        var looks = false
    }

    /// Between two heartbeats: short leases want to know of trouble soon, long ones must not cost more than they are worth.
    /// It is the holder whose silence the others act upon; who only follows is asked before anything hangs on it.
    static func interval(ttl: Duration, isLeading: Bool) -> Duration {
        let interval = min(max(PeerStreamPacer.interval, ttl / 6), .seconds(5))
        return isLeading ? interval : interval * 3
    }

    static let lookInterval: Duration = .seconds(5)

    private var lastWordAt: Instant?
    private var lastLookAt = Instant.distantPast

    mutating func statusWasLookedAt(isSent: Bool, now: Instant) {
        lastLookAt = now
        if isSent { lastWordAt = now }
    }

    /// From here on nothing is said any more.
    mutating func end() { lastWordAt = nil }

    mutating func beat(now: Instant, interval: Duration) -> Action {
        // Before the first word there is nothing to add to.
        guard let lastWordAt else { return Action() }
        var action = Action()
        if now - lastWordAt >= interval - .milliseconds(100) {
            self.lastWordAt = now
            action.saysSo = true
        }
        if now - lastLookAt >= Self.lookInterval - .milliseconds(100) {
            lastLookAt = now
            action.looks = true
        }
        return action
    }
}
