/// The role that a member publishes; the stored words are the contract with Patroni.
public enum MemberRole: String, Hashable, Sendable, CaseIterable {
    case primary
    case replica
    case standbyLeader = "standby_leader"
    /// Was the leader, is going down or just lost the lock.
    case demoted
    /// The promotion was commanded and is not yet confirmed.
    case promoted
    /// No usable data directory.
    case uninitialized

    /// Reads the stored word; `master` is the old spelling of primary.
    public init?(stored: String) {
        if stored == "master" {
            self = .primary
        } else if let role = MemberRole(rawValue: stored) {
            self = role
        } else {
            return nil
        }
    }
}

/// The state that a member publishes; the stored words are the contract with Patroni.
public enum MemberState: String, Hashable, Sendable, CaseIterable {
    case initializing = "initializing new cluster"
    case initdbFailed = "initdb failed"
    case runningBootstrapScript = "running custom bootstrap script"
    case bootstrapScriptFailed = "custom bootstrap failed"
    case creatingReplica = "creating replica"
    case running
    case starting
    case startingAfterBootstrap = "starting after custom bootstrap"
    case startFailed = "start failed"
    case restarting
    case restartFailed = "restart failed"
    case stopping
    case stopped
    case stopFailed = "stop failed"
    case crashed
    case unknown
}

/// How a standby gets its WAL, as far as it is known.
public enum ReplicationState: String, Hashable, Sendable {
    case streaming
    case inArchiveRecovery = "in archive recovery"
}

/// How far a member's PostgreSQL is fenced, published in our own field of its value.
public enum FenceState: String, Hashable, Sendable {
    /// The guard runs and would stop PostgreSQL without its agent.
    case guarded
    /// The guard watches a server that it did not start: no death signal.
    case adopted
    /// Nothing enforces the lease (paused, or no guard).
    case unfenced
}

/// What one member says of itself in the store: `members/<name>`.
public struct Member: Hashable, Sendable {
    public var name: String
    public var connURL: String?
    public var apiURL: String?
    /// The word as stored; `state` reads it.
    public var stateText: String
    public var role: MemberRole?
    public var version: String?
    public var proxyURL: String?
    /// Present and false while the checkpoint after a promotion is not known to be done; absent otherwise.
    public var checkpointAfterPromote: Bool?
    public var tags: Tags
    public var pendingRestart: Bool
    public var pendingRestartReason: JSONObject?
    public var xlogLocation: LSN?
    public var receiveLSN: LSN?
    public var replayLSN: LSN?
    public var replicationState: ReplicationState?
    public var timeline: Timeline?
    public var scheduledRestart: JSONObject?
    public var isPaused: Bool
    /// Ours: absent when the member is no Matriarch.
    public var fenceState: FenceState?
    /// The owner of the entry in the store.
    public var session: SessionID?

    public init(name: String, state: MemberState = .unknown) {
        self.name = name
        self.stateText = state.rawValue
        self.tags = Tags()
        self.pendingRestart = false
        self.isPaused = false
    }

    public var state: MemberState {
        get { MemberState(rawValue: stateText) ?? .unknown }
        set { stateText = newValue.rawValue }
    }

    /// Whether the member is one of ours (it advertises its fence).
    public var isMatriarch: Bool { fenceState != nil }

    /// The position to judge the member by: the furthest of what it wrote, received and replayed.
    public var position: LSN? { [xlogLocation, receiveLSN, replayLSN].compactMap { $0 }.max() }

    /// The name of our own field in the member's value.
    public static let ownField = "x_matriarch"

    /// The member's value as it is stored.
    public func storedValue() -> JSONValue {
        var object = JSONObject()
        if let connURL { object["conn_url"] = .string(connURL) }
        if let apiURL { object["api_url"] = .string(apiURL) }
        object["state"] = .string(stateText)
        if let role { object["role"] = .string(role.rawValue) }
        if let version { object["version"] = .string(version) }
        if let proxyURL { object["proxy_url"] = .string(proxyURL) }
        if checkpointAfterPromote == false { object["checkpoint_after_promote"] = false }
        let tags = self.tags.published
        if !tags.isEmpty { object["tags"] = .object(tags) }
        if pendingRestart {
            object["pending_restart"] = true
            if let pendingRestartReason { object["pending_restart_reason"] = .object(pendingRestartReason) }
        }
        func put(_ key: String, _ lsn: LSN?) {
            if let lsn, lsn > .zero { object[key] = .integer(Int64(clamping: lsn.bytes)) }
        }
        put("xlog_location", xlogLocation)
        put("replay_lsn", replayLSN)
        put("receive_lsn", receiveLSN)
        if let replicationState { object["replication_state"] = .string(replicationState.rawValue) }
        if let timeline, timeline.number > 0 { object["timeline"] = .integer(Int64(timeline.number)) }
        if let scheduledRestart { object["scheduled_restart"] = .object(scheduledRestart) }
        if isPaused { object["pause"] = true }
        if let fenceState { object[Self.ownField] = .object(["fence": .string(fenceState.rawValue)]) }
        return .object(object)
    }

    /// Reads a stored value. What cannot be read is left out and told in `problems`; nothing is refused.
    public static func read(name: String, value: [UInt8], session: SessionID?) -> (member: Member, problems: [String]) {
        var member = Member(name: name)
        member.session = session
        let text = String(decoding: value, as: UTF8.self)
        if text.hasPrefix("postgres") {
            // The form of very old members: a URL, with the API's in a query parameter.
            let parts = text.split(separator: "?", maxSplits: 1)
            member.connURL = parts.first.map(String.init)
            if parts.count == 2 {
                for pair in parts[1].split(separator: "&") where pair.hasPrefix("application_name=") {
                    member.apiURL = percentDecoded(pair.dropFirst("application_name=".count))
                }
            }
            return (member, [])
        }
        let parsed: JSONValue
        do {
            parsed = try JSONValue.parse(value)
        } catch {
            return (member, ["members/\(name): no JSON: \(error)"])
        }
        guard let object = parsed.object else { return (member, ["members/\(name): no JSON object"]) }
        var problems: [String] = []
        func position(_ key: String) -> LSN? {
            guard let value = object[key] else { return nil }
            guard let number = value.lenientInteger, number >= 0 else {
                problems.append("members/\(name): \(key): no position: \(value.serialized())")
                return nil
            }
            return number == 0 ? nil : LSN(UInt64(number))
        }
        member.connURL = object["conn_url"]?.string
        member.apiURL = object["api_url"]?.string
        member.stateText = object["state"]?.string ?? MemberState.unknown.rawValue
        if let role = object["role"]?.string {
            member.role = MemberRole(stored: role)
            if member.role == nil { problems.append("members/\(name): role: unknown word '\(role)'") }
        }
        member.version = object["version"]?.string
        member.proxyURL = object["proxy_url"]?.string
        member.checkpointAfterPromote = object["checkpoint_after_promote"]?.bool
        member.tags = Tags(object["tags"]?.object ?? JSONObject())
        member.pendingRestart = object["pending_restart"]?.bool ?? false
        member.pendingRestartReason = object["pending_restart_reason"]?.object
        member.xlogLocation = position("xlog_location")
        member.receiveLSN = position("receive_lsn")
        member.replayLSN = position("replay_lsn")
        member.replicationState = object["replication_state"]?.string.flatMap(ReplicationState.init(rawValue:))
        if let number = object["timeline"]?.lenientInteger, number > 0, number <= Int64(UInt32.max) {
            member.timeline = Timeline(UInt32(number))
        }
        member.scheduledRestart = object["scheduled_restart"]?.object
        member.isPaused = object["pause"]?.bool ?? false
        member.fenceState = object[Self.ownField]?["fence"]?.string.flatMap(FenceState.init(rawValue:))
        return (member, problems)
    }
}

/// A query's value with its escapes resolved; what is no escape stays as it is.
private func percentDecoded(_ text: Substring) -> String {
    var output: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
        if byte == UInt8(ascii: "%"), let value = Hexadecimal.byte(rest.prefix(2)) {
            rest = rest.dropFirst(2)
            output.append(value)
        } else {
            output.append(byte == UInt8(ascii: "+") ? UInt8(ascii: " ") : byte)
        }
    }
    return String(decoding: output, as: UTF8.self)
}
