public import ClusterModel
public import Logging

/// A command that a plugin wants to be run. Its environment is the agent's, cleaned of settings and secrets.
public struct PluginCommand: Hashable, Sendable {
    /// A path, or a name looked up in PATH.
    public var executable: String
    public var arguments: [String]
    /// Added to the environment (`PGPASSFILE`).
    public var environment: [String: String]
    /// Ends the whole process group when it has passed; nil: as long as the job may last.
    public var deadline: Duration?

    public init(
        _ executable: String, _ arguments: [String], environment: [String: String] = [:], deadline: Duration? = nil
    ) {
        self.executable = executable
        self.arguments = arguments
        self.environment = environment
        self.deadline = deadline
    }
}

/// How a command ended.
public enum CommandEnd: Hashable, Sendable {
    case exited(Int32)
    case signalled(Int32)
    case timedOut
    case cancelled
    case notStarted(String)

    public var isSuccess: Bool { self == .exited(0) }

    /// In words, for a message.
    public var explanation: String {
        switch self {
        case .exited(let code): "exited with status \(code)"
        case .signalled(let number): "ended by signal \(number)"
        case .timedOut: "did not end in time and was stopped"
        case .cancelled: "was cancelled"
        case .notStarted(let why): "could not be started: \(why)"
        }
    }
}

/// How far a long job is.
public struct JobProgress: Hashable, Sendable {
    /// What is being done, in a few words.
    public var step: String
    public var doneBytes: UInt64?
    public var totalBytes: UInt64?

    public init(step: String, doneBytes: UInt64? = nil, totalBytes: UInt64? = nil) {
        self.step = step
        self.doneBytes = doneBytes
        self.totalBytes = totalBytes
    }
}

/// What a bootstrap or replica plugin may use. Everything it starts ends with its task.
public struct JobContext: Sendable {
    public var scope: String
    public var memberName: String
    /// Where the new data directory is to be; exists and is empty (or is absent) when the plugin starts, unless it keeps data.
    public var dataDirectory: String
    /// The path of a PostgreSQL program: `binary("initdb")`.
    public var binary: @Sendable (String) -> String
    /// Where to copy from; nil when no member can be copied.
    public var upstream: Upstream?
    /// The superuser's name, and a file (0600) holding only its password; nil without password.
    public var superuser: String
    public var superuserPasswordFile: String?
    /// Runs a command; each line of its output goes to `onLine` (without: to the log).
    public var run: @Sendable (PluginCommand, (@Sendable (String) -> Void)?) async -> CommandEnd
    public var progress: @Sendable (JobProgress) -> Void
    public var logger: Logger

    public init(
        scope: String, memberName: String, dataDirectory: String, binary: @escaping @Sendable (String) -> String,
        upstream: Upstream?, superuser: String, superuserPasswordFile: String?,
        run: @escaping @Sendable (PluginCommand, (@Sendable (String) -> Void)?) async -> CommandEnd,
        progress: @escaping @Sendable (JobProgress) -> Void, logger: Logger
    ) {
        self.scope = scope
        self.memberName = memberName
        self.dataDirectory = dataDirectory
        self.binary = binary
        self.upstream = upstream
        self.superuser = superuser
        self.superuserPasswordFile = superuserPasswordFile
        self.run = run
        self.progress = progress
        self.logger = logger
    }
}

/// A member to copy from.
public struct Upstream: Hashable, Sendable {
    public var name: String
    public var host: String
    public var port: Int
    /// A libpq connection string for replication, without a password.
    public var connectionString: String
    /// libpq's password file (0600) to be given as PGPASSFILE; nil without passwords.
    public var passfile: String?
    public var isLeader: Bool

    public init(
        name: String, host: String, port: Int, connectionString: String, passfile: String?, isLeader: Bool
    ) {
        self.name = name
        self.host = host
        self.port = port
        self.connectionString = connectionString
        self.passfile = passfile
        self.isLeader = isLeader
    }
}

/// Why a bootstrap or a replica creation failed, in words for the operator.
public struct PluginFailure: Error, Hashable, Sendable, CustomStringConvertible {
    public var description: String

    public init(_ description: String) {
        self.description = description
    }
}

/// Makes the first data directory of a cluster. Roles, `post_init` and the final `pg_hba` are the runtime's, afterwards.
public protocol BootstrapMethod: Sendable {
    func createDataDirectory(_ context: JobContext) async throws(PluginFailure)
}

/// Makes a standby's data directory from another member or from a backup.
public protocol ReplicaCreationMethod: Sendable {
    /// Whether it works without a member to copy from.
    var worksWithoutUpstream: Bool { get }
    /// Whether it wants the data directory kept as it is (a delta restore).
    var keepsData: Bool { get }
    func createReplica(_ context: JobContext) async throws(PluginFailure)
}

/// What a callback is told.
public struct CallbackEvent: Hashable, Sendable {
    public enum Action: String, Hashable, Sendable, CaseIterable {
        case onStart = "on_start"
        case onStop = "on_stop"
        case onRestart = "on_restart"
        case onReload = "on_reload"
        case onRoleChange = "on_role_change"
    }

    public var action: Action
    public var role: MemberRole
    public var scope: String
    /// The fence of the term, when the member holds the lease.
    public var fence: Fence?

    public init(action: Action, role: MemberRole, scope: String, fence: Fence? = nil) {
        self.action = action
        self.role = role
        self.scope = scope
        self.fence = fence
    }
}

/// Is told of role changes and restarts. Calls come one at a time, in order.
public protocol CallbackHandler: Sendable {
    /// The command or service failing is reported in words; it changes nothing in the cluster.
    func handle(_ event: CallbackEvent, run: @escaping @Sendable (PluginCommand) async -> CommandEnd) async
        -> PluginFailure?
}
