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
        for key in ["fence", "silent", "term", "job"] { part["own." + key] = own?[key] }
        part["answers"] = .bool(document["xlog"] != nil)
        return part
    }
}

/// Decides what happens each second of a stream on which nobody said anything. Pure.
struct PeerBeatRules {
    enum Action: Hashable {
        case nothing
        /// Say that we are still here.
        case heartbeat
        /// Look at the status: a change waits, or time alone may have changed it (a view of the store grows old).
        case look
    }

    private var lastWordAt: Instant?
    private var isBehind = false
    private var count = 0

    mutating func statusWasLookedAt(isSent: Bool, isBehind: Bool, now: Instant) {
        if isSent { lastWordAt = now }
        self.isBehind = isBehind
    }

    /// From here on nothing is said any more.
    mutating func end() { lastWordAt = nil }

    mutating func beat(now: Instant) -> Action {
        // Before the first word there is nothing to add to.
        guard let lastWordAt else { return .nothing }
        count += 1
        if isBehind { return .look }
        if now - lastWordAt >= PeerStreamPacer.interval - .milliseconds(100) {
            self.lastWordAt = now
            return .heartbeat
        }
        return count % 5 == 0 ? .look : .nothing
    }
}
