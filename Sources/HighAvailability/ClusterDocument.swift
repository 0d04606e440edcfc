public import ClusterModel

/// The document of `GET /cluster`, also what the operator's `list` prints.
public enum ClusterDocument {
    /// Renders one view of the store. `scope` is put in when it is known.
    public static func make(view: ClusterView, scope: String? = nil) -> JSONObject {
        let mode = ClusterMode(view: view)
        let optime = view.status?.optime
        var document = JSONObject()
        document["members"] = .array(
            view.members.sorted { $0.name < $1.name }.map { member in
                .object(entry(of: member, view: view, mode: mode, optime: optime))
            })
        if let scope { document["scope"] = .string(scope) }
        if view.isPaused { document["pause"] = true }
        if let request = view.failover, let scheduled = request.scheduledAt {
            var switchover: JSONObject = ["at": .string(request.scheduledText ?? scheduled.iso8601())]
            if let leader = request.leader { switchover["from"] = .string(leader) }
            if let candidate = request.candidate { switchover["to"] = .string(candidate) }
            document["scheduled_switchover"] = .object(switchover)
        }
        return document
    }

    /// The role shown to people: computed from the leader entry and `/sync`, never stored.
    public static func role(of member: Member, view: ClusterView) -> String {
        role(of: member, view: view, mode: ClusterMode(view: view))
    }

    private static func role(of member: Member, view: ClusterView, mode: ClusterMode) -> String {
        if member.name == view.leader?.name { return mode.isStandbyCluster ? "standby_leader" : "leader" }
        if mode.isSynchronous, view.sync.standbys.contains(where: { $0.lowercased() == member.name.lowercased() }) {
            return mode.isQuorum ? "quorum_standby" : "sync_standby"
        }
        return "replica"
    }

    private static func entry(of member: Member, view: ClusterView, mode: ClusterMode, optime: LSN?) -> JSONObject {
        let role = role(of: member, view: view, mode: mode)
        let isLeader = member.name == view.leader?.name
        var entry: JSONObject = ["name": .string(member.name), "role": .string(role)]
        let replication = role == "leader" ? nil : member.replicationState
        entry["state"] = .string(replication?.rawValue ?? member.stateText)
        if let apiURL = member.apiURL { entry["api_url"] = .string(apiURL) }
        if let (host, port) = member.connURL.flatMap(URLAuthority.hostAndPort(of:)) {
            entry["host"] = .string(host)
            entry["port"] = .integer(Int64(port ?? 5432))
        }
        if let timeline = member.timeline { entry["timeline"] = .integer(Int64(timeline.number)) }
        if member.pendingRestart {
            entry["pending_restart"] = true
            if let reason = member.pendingRestartReason { entry["pending_restart_reason"] = .object(reason) }
        }
        if let scheduled = member.scheduledRestart { entry["scheduled_restart"] = .object(scheduled) }
        let tags = member.tags.values
        if !tags.isEmpty { entry["tags"] = .object(tags) }
        if !isLeader {
            for (prefix, position) in [
                ("receive_", member.receiveLSN), ("replay_", member.replayLSN), ("", member.xlogLocation),
            ] {
                guard let position else {
                    entry[prefix + "lag"] = "unknown"
                    entry[prefix + "lsn"] = "unknown"
                    continue
                }
                entry[prefix + "lag"] = .integer(Int64(clamping: (optime ?? .zero).bytes(aheadOf: position)))
                entry[prefix + "lsn"] = .string(position.description)
            }
        }
        if let fence = member.fenceState { entry[Member.ownField] = .object(["fence": .string(fence.rawValue)]) }
        return entry
    }
}

/// What the dynamic configuration says of the kind of cluster.
public struct ClusterMode: Hashable, Sendable {
    /// The whole cluster follows another one.
    public var isStandbyCluster: Bool
    public var isSynchronous: Bool
    /// Synchronous, by quorum.
    public var isQuorum: Bool
    /// `failsafe_mode` is on.
    public var isFailsafe: Bool

    public init(view: ClusterView?) {
        let configuration = view?.configuration
        let standby = configuration?["standby_cluster"]?.object
        self.isStandbyCluster = ["host", "port", "restore_command"].contains { name in
            switch standby?[name] {
            case nil, .null?: false
            case .string(let text)?: !text.isEmpty
            case .integer(let number)?: number != 0
            default: true
            }
        }
        let mode = configuration?["synchronous_mode"]
        self.isQuorum = mode?.string?.lowercased() == "quorum"
        self.isSynchronous = self.isQuorum || ClusterMode.isOn(mode)
        self.isFailsafe = ClusterMode.isOn(configuration?["failsafe_mode"])
    }

    /// Whether a dynamic configuration turns the failsafe on.
    static func isFailsafe(_ configuration: JSONObject) -> Bool { isOn(configuration["failsafe_mode"]) }

    private static func isOn(_ value: JSONValue?) -> Bool {
        switch value {
        case .bool(let value)?: value
        case .integer(let value)?: value != 0
        case .string(let text)?: ["true", "on", "yes", "1"].contains(text.lowercased())
        default: false
        }
    }
}

/// Host and port of a URL such as `postgres://[::1]:5432/postgres` or `http://pg1:8008/patroni`.
public enum URLAuthority {
    /// nil when the text is no such URL. Of several hosts, the first. Credentials are skipped.
    public static func hostAndPort(of url: String) -> (host: String, port: Int?)? {
        guard let scheme = url.range(ofScheme: "://") else { return nil }
        var authority = url[scheme...].prefix { !"/?#".contains($0) }
        if let at = authority.lastIndex(of: "@") { authority = authority[authority.index(after: at)...] }
        if let comma = authority.firstIndex(of: ",") { authority = authority[..<comma] }
        let host: Substring
        var rest: Substring
        if authority.first == "[" {
            guard let end = authority.firstIndex(of: "]") else { return nil }
            host = authority[authority.index(after: authority.startIndex)..<end]
            rest = authority[authority.index(after: end)...]
        } else {
            host = authority.prefix { $0 != ":" }
            rest = authority[host.endIndex...]
        }
        guard !host.isEmpty else { return nil }
        guard !rest.isEmpty else { return (String(host), nil) }
        guard rest.removeFirst() == ":" else { return nil }
        if rest.isEmpty { return (String(host), nil) }
        guard let port = UInt16(rest) else { return nil }
        return (String(host), Int(port))
    }
}

extension String {
    /// The position after the first occurrence of a mark.
    fileprivate func range(ofScheme mark: String) -> String.Index? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(mark) { return index(start, offsetBy: mark.count) }
            start = index(after: start)
        }
        return nil
    }
}
