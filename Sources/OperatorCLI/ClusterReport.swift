import ClusterModel

/// A cluster as `GET /cluster` describes it, with what each member says of itself where it was asked.
struct ClusterReport: Sendable {
    /// One member.
    struct Member: Sendable {
        var name: String
        /// As reported: `leader`, `standby_leader`, `sync_standby`, `quorum_standby`, `replica`.
        var role: String
        var state: String
        var base: String?
        var host: String?
        var port: Int?
        var timeline: Int?
        /// The whole entry.
        var entry: JSONObject
        /// `GET /patroni`; nil when it was not asked or did not answer.
        var status: JSONObject?

        var isLeader: Bool { role == "leader" || role == "standby_leader" }

        /// `guarded`, `adopted`, `unfenced`; nil for a member that is no Matriarch or does not answer.
        var fence: String? { status?["x_matriarch"]?["fence"]?.string ?? entry["x_matriarch"]?["fence"]?.string }

        init?(_ entry: JSONObject) {
            guard let name = entry["name"]?.string else { return nil }
            self.name = name
            role = entry["role"]?.string ?? "replica"
            state = entry["state"]?.string ?? "unknown"
            base = entry["api_url"]?.string.flatMap(ControlConfiguration.base(of:))
            host = entry["host"]?.string
            port = entry["port"]?.lenientInteger.map(Int.init)
            timeline = entry["timeline"]?.lenientInteger.map(Int.init)
            self.entry = entry
        }
    }

    var scope: String?
    var members: [Member]
    var isPaused: Bool
    /// The store does not answer, and the leader goes on by the members' grants.
    var isFailsafeActive: Bool
    var scheduledSwitchover: JSONObject?
    /// The system identifier, when a member told it.
    var systemIdentifier: String? {
        members.lazy.compactMap { $0.status?["database_system_identifier"]?.string }.first
    }

    init?(_ document: JSONValue) {
        guard let object = document.object, let rows = object["members"]?.array else { return nil }
        scope = object["scope"]?.string
        members = rows.compactMap { $0.object.flatMap(Member.init) }
        isPaused = object["pause"]?.bool ?? false
        isFailsafeActive = object["failsafe_mode_is_active"]?.bool ?? false
        scheduledSwitchover = object["scheduled_switchover"]?.object
    }

    var leader: Member? { members.first(where: \.isLeader) }

    func member(_ name: String) -> Member? { members.first { $0.name == name } }
}
