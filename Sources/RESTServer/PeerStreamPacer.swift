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

    /// What to send now, if anything.
    mutating func word(for document: JSONObject, now: Instant) -> Word? {
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
            return .status(document)
        }
        if now - lastWordAt >= Self.interval - .milliseconds(20) {
            lastWordAt = now
            return .heartbeat
        }
        return nil
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
