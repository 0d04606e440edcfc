public import ClusterModel
public import HighAvailability

/// Which HTTP status a load balancer gets. Pure: no query, no store, no clock.
public enum HealthRules {
    /// The answer to a health check's path (anything that is no endpoint of its own): 200 or 503.
    ///
    /// Paths are tested for the words they contain, in the order of the contract, so `/my-leader` works too.
    public static func answer(path: String, query: QueryItems, status: AgentStatus, now: Instant) -> Int {
        isHealthy(path: path, query: query, live: LiveStatus(status, now: now)) ? 200 : 503
    }

    static func isHealthy(path: String, query: QueryItems, live: LiveStatus) -> Bool {
        let status = live.status
        let role = live.role
        let isRunning = live.state == .running
        let hasView = live.view != nil

        var leaderOK = false
        var primaryOK = false
        var standbyLeaderOK = false
        var replicaOK =
            !status.tags.isNoLoadBalance && role == .replica && isRunning && !isLagging(query: query, live: live)
        if let wanted = query["replication_state"], wanted != live.replicationState?.rawValue { replicaOK = false }

        if !hasView, status.isPaused {
            leaderOK = role == .primary || role == .standbyLeader
            primaryOK = role == .primary
            standbyLeaderOK = role == .standbyLeader
        } else if live.holdsLease {
            leaderOK = true
            if live.mode.isStandbyCluster {
                replicaOK = false
                standbyLeaderOK = role == .replica || role == .standbyLeader
            } else {
                primaryOK = true
            }
        }

        let tagsMatch = query.tags.allSatisfy { name, wanted in
            status.tags.values[name].map { text(of: $0) == wanted } ?? false
        }
        func contains(_ word: String) -> Bool { path.contains(part: word) }

        if contains("standby_leader") || contains("standby-leader") { return standbyLeaderOK }
        if contains("leader") { return leaderOK }
        if path == "/" || contains("master") || contains("primary") || contains("read-write") { return primaryOK }
        if contains("replica") { return replicaOK && tagsMatch }
        if contains("read-only"), !contains("sync"), !contains("quorum") {
            return (primaryOK || standbyLeaderOK || replicaOK) && tagsMatch
        }
        if contains("health") { return isRunning && tagsMatch }
        switch path {
        case "/sync", "/synchronous":
            return hasView && live.isSyncStandby && replicaOK && tagsMatch
        case "/quorum":
            return hasView && live.isQuorumStandby && replicaOK && tagsMatch
        case "/async", "/asynchronous":
            return hasView && !live.isSyncStandby && !live.isQuorumStandby && replicaOK && tagsMatch
        case "/read-only-quorum":
            return hasView && (primaryOK || standbyLeaderOK || live.isQuorumStandby && replicaOK) && tagsMatch
        case "/read-only-sync", "/read-only-synchronous":
            return hasView && (primaryOK || standbyLeaderOK || live.isSyncStandby && replicaOK) && tagsMatch
        default:
            return false
        }
    }

    /// Whether the agent itself is alive: its state machine is woken when it asked to be.
    public static func isLive(status: AgentStatus, now: Instant) -> Bool {
        if status.isPaused { return true }
        let live = LiveStatus(status, now: now)
        let patience = live.role == .primary && live.state == .running ? status.ttl : status.ttl + status.ttl
        return status.nextRunBy + patience > now
    }

    /// Whether the member may be counted on: it leads, or streams and is near enough.
    public static func isReady(query: QueryItems, status: AgentStatus, now: Instant) -> Bool {
        let live = LiveStatus(status, now: now)
        if live.holdsLease { return true }
        guard live.state == .running, live.replicationState == .streaming else { return false }
        // Without any word of the leader's position nothing can be said.
        guard live.view != nil || live.sample?.receiver?.latestEndLSN != nil else { return false }
        let limit = query["lag"].flatMap(ByteSize.parse) ?? status.maximumLagOnFailover
        let own = query["mode"] == "write" ? live.receivedPosition : live.replayedPosition
        return live.knownLeaderPosition.bytes(aheadOf: own) <= limit
    }

    private static func isLagging(query: QueryItems, live: LiveStatus) -> Bool {
        // A limit that cannot be read is no limit.
        guard let limit = query["lag"].flatMap(ByteSize.parse) else { return false }
        return live.knownLeaderPosition.bytes(aheadOf: live.replayedPosition) > limit
    }

    private static func text(of value: JSONValue) -> String {
        if case .string(let text) = value { return text }
        return value.serialized().lowercased()
    }
}

/// Sizes as PostgreSQL writes them: a number, or a number with `B`, `kB`, `MB`, `GB` or `TB`.
enum ByteSize {
    static func parse(_ text: String) -> UInt64? {
        let trimmed = text.filter { $0 != " " }
        let digits = trimmed.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
        guard let number = Double(digits), number.isFinite, number >= 0 else { return nil }
        let factor: Double
        switch trimmed.dropFirst(digits.count) {
        case "", "B": factor = 1
        case "kB", "KB", "k": factor = 1024
        case "MB": factor = 1024 * 1024
        case "GB": factor = 1024 * 1024 * 1024
        case "TB": factor = 1024 * 1024 * 1024 * 1024
        default: return nil
        }
        let bytes = (number * factor).rounded()
        return bytes < 9e18 ? UInt64(bytes) : nil
    }
}

extension String {
    /// Whether the text holds another, byte for byte.
    func contains(part: String) -> Bool {
        let text = Array(utf8)
        let wanted = Array(part.utf8)
        guard wanted.count <= text.count else { return false }
        return (0...(text.count - wanted.count)).contains { start in
            text[start..<(start + wanted.count)].elementsEqual(wanted)
        }
    }
}
