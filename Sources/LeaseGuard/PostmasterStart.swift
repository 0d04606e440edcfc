import CLeaseGuard
public import ClusterModel

/// How the guard is to start PostgreSQL.
public struct PostmasterStart: Hashable, Sendable {
    /// The `postgres` program, as an absolute path.
    public var executable: String
    /// Its arguments, without the program's own name.
    public var arguments: [String]
    /// Its whole environment. Values with secrets end up in the server's `/proc/PID/environ`, readable by its account alone.
    public var environment: [String: String]
    /// Where it starts; PostgreSQL changes into its data directory itself. Nil: where the guard is.
    public var workingDirectory: String?
    /// Where stdout and stderr go (made with mode 0600 if missing). Nil: where the guard's own output goes.
    public var logFile: String?
    /// The data directory, as an absolute path. It must be the one in the arguments.
    public var dataDirectory: String
    /// `.bootstrap`, `.replica`, `.paused`, or, with `term` armed before, `.primary` or `.failsafe`.
    public var mode: GuardMode
    /// The term in which it is to run; needed where the mode is enforced.
    public var term: Fence?

    public init(
        executable: String, arguments: [String], environment: [String: String] = PostmasterStart.inheritedEnvironment(),
        workingDirectory: String? = nil, logFile: String? = nil, dataDirectory: String, mode: GuardMode,
        term: Fence? = nil
    ) {
        self.executable = executable
        self.arguments = arguments
        self.environment = environment
        self.workingDirectory = workingDirectory
        self.logFile = logFile
        self.dataDirectory = dataDirectory
        self.mode = mode
        self.term = term
    }

    /// This process's own environment, without what configures the agent: passwords are among it.
    public static func inheritedEnvironment() -> [String: String] {
        var values: [String: String] = [:]
        guard var at = mg_environment() else { return values }
        while let entry = at.pointee {
            let text = String(cString: entry)
            if let equals = text.firstIndex(of: "=") {
                let name = String(text[..<equals])
                if !Self.withheld.contains(where: { name.hasPrefix($0) }) {
                    values[name] = String(text[text.index(after: equals)...])
                }
            }
            at += 1
        }
        return values
    }

    private static let withheld = ["PATRONI_", "MATRIARCH_", "KUBERNETES_", "PGPASSWORD"]

    /// The NUL-terminated strings that the guard reads; nil if one holds a NUL itself.
    func blob() -> [UInt8]? {
        let variables = environment.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }
        let strings =
            [executable, workingDirectory ?? "", logFile ?? "", dataDirectory, executable] + arguments + variables
        var bytes: [UInt8] = []
        for string in strings {
            if string.utf8.contains(0) { return nil }
            bytes.append(contentsOf: string.utf8)
            bytes.append(0)
        }
        return bytes
    }
}

/// The signals that the guard passes on to the postmaster.
public enum PostmasterSignal: Sendable, Hashable, CaseIterable {
    /// SIGINT: end all sessions, then a shutdown checkpoint.
    case fastShutdown
    /// SIGTERM: wait for all sessions to end.
    case smartShutdown
    /// SIGQUIT: no checkpoint; crash recovery at the next start.
    case immediateShutdown
    /// SIGHUP: reread the configuration.
    case reload
    /// SIGUSR1, for PostgreSQL's own file-based requests; refused while a promote file exists.
    case user1
    /// SIGKILL: the last resort. The guard ends the backends that remain.
    case kill
}
