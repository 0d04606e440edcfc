public import ClusterModel

/// Something a person or a program asks of this member.
public enum OperatorRequest: Hashable, Sendable {
    /// Hand the leadership over; the leader named must be the leader. `scheduledAt` puts it into the future.
    case switchover(leader: String?, candidate: String?, scheduledAt: WallTime?)
    /// Give the leadership to the candidate, leader or not.
    case failover(candidate: String?)
    case cancelSwitchover
    case restart(RestartRequest)
    case cancelRestart
    case reinitialize(force: Bool, fromLeader: Bool)
    case patchConfiguration(JSONObject)
    case replaceConfiguration(JSONObject)
    /// Move the cluster to the store that the members were told of under this name; the leader does.
    case migrate(String)

    /// The endpoint's word, for logs.
    public var name: String {
        switch self {
        case .switchover: "switchover"
        case .failover: "failover"
        case .cancelSwitchover: "cancel switchover"
        case .restart: "restart"
        case .cancelRestart: "cancel restart"
        case .reinitialize: "reinitialize"
        case .patchConfiguration, .replaceConfiguration: "configuration"
        case .migrate: "store migration"
        }
    }
}

/// A restart of PostgreSQL, at once or at a time, under conditions.
public struct RestartRequest: Hashable, Sendable {
    public var scheduledAt: WallTime?
    /// Only in this role.
    public var role: MemberRole?
    /// Only if the server's version is lower, `X.Y`.
    public var postgresVersion: String?
    public var timeout: Duration?
    /// Only if a restart is pending.
    public var onlyPending: Bool

    public init(
        scheduledAt: WallTime? = nil, role: MemberRole? = nil, postgresVersion: String? = nil, timeout: Duration? = nil,
        onlyPending: Bool = false
    ) {
        self.scheduledAt = scheduledAt
        self.role = role
        self.postgresVersion = postgresVersion
        self.timeout = timeout
        self.onlyPending = onlyPending
    }
}

/// What an operator is told.
public struct OperatorAnswer: Hashable, Sendable {
    /// Names and numbers are HTTP's, for the REST API hands them on.
    public enum Code: Int, Hashable, Sendable {
        case done = 200
        case accepted = 202
        case badRequest = 400
        case notFound = 404
        case conflict = 409
        case conditionsNotMet = 412
        case notProcessable = 422
        case failed = 500
        case storeFailed = 502
        case unavailable = 503
    }

    public var code: Code
    public var text: String
    /// A document instead of a text (`/config`).
    public var document: JSONValue?

    public init(_ code: Code, _ text: String, document: JSONValue? = nil) {
        self.code = code
        self.text = text
        self.document = document
    }

    public var isSuccess: Bool { code == .done || code == .accepted }
}
