import ClusterModel

/// Decides when a word goes to a peer: a status at once when something important changed, any other change at most
/// once a second, and a heartbeat when a second passed without a word. Pure.
struct PeerStreamPacer {
    enum Word: Hashable {
        case status(JSONObject)
        case heartbeat
    }

    static let interval: Duration = .seconds(1)
    /// The line that only says: still here.
    static let heartbeatLine = "{\"heartbeat\":true}\n"

    private var lastSent: JSONObject?
    private var lastUrgent: JSONObject?
    private var lastStatusAt = Instant.distantPast
    private var lastWordAt = Instant.distantPast
    private var lastLookAt = Instant.distantPast
    private var isBehind = true

    /// Whether the status has to be looked at although nobody said that it changed: something is still to be sent, or
    /// time alone may have changed it (a view of the store grows old).
    func wantsLook(now: Instant) -> Bool { isBehind || now - lastLookAt >= Self.interval * 5 }

    /// What to send now, if anything, when the status is not looked at.
    mutating func wordWithoutLook(now: Instant) -> Word? {
        guard now - lastWordAt >= Self.interval - .milliseconds(20) else { return nil }
        lastWordAt = now
        return .heartbeat
    }

    /// What to send now, if anything.
    mutating func word(for document: JSONObject, now: Instant) -> Word? {
        lastLookAt = now
        var comparable = document
        // Counts on by itself; not worth a word.
        comparable["dcs_last_seen"] = nil
        let urgent = Self.urgentPart(of: comparable)
        let isDue = now - lastStatusAt >= Self.interval - .milliseconds(20)
        if comparable != lastSent, isDue || urgent != lastUrgent {
            lastSent = comparable
            lastUrgent = urgent
            lastStatusAt = now
            lastWordAt = now
            isBehind = false
            return .status(document)
        }
        isBehind = comparable != lastSent
        return wordWithoutLook(now: now)
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
