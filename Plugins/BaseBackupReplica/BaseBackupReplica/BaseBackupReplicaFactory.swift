import ChildProcesses
public import ConfigurationTree
public import PluginInterfaces

/// Registers the replica creation method `basebackup`, the default.
///
/// Its section, `postgresql.basebackup`, holds further long options of pg_basebackup, as a list or a mapping:
/// ```yaml
/// basebackup:
///   - max-rate: 100M
///   - no-slot
/// ```
public struct BaseBackupReplicaFactory: ReplicaFactory {
    public let name = "basebackup"

    /// What the agent gives itself, and what would not make a plain data directory.
    static let forbidden: Set<String> = [
        "pgdata", "format", "wal-method", "xlog-method", "gzip", "version", "dbname", "host", "port", "username",
        "password",
    ]

    public init() {}

    public func makeMethod(_ section: ConfigurationNode?) throws(ConfigurationComplaints)
        -> any ReplicaCreationMethod
    {
        let path = "postgresql.basebackup"
        let options = try CommandOptions(section, path: path, tool: "pg_basebackup", forbidden: Self.forbidden)
        if let compress = options["compress"], compress.value?.hasPrefix("server") != true {
            let place = section.flatMap { Self.mark(of: "compress", in: $0) } ?? SourceMark(source: path)
            throw ConfigurationComplaints([
                ConfigurationComplaint(
                    at: place, path: "\(path).compress",
                    "only compression by the server leaves a plain data directory; write server-gzip, server-lz4 or "
                        + "server-zstd (PostgreSQL 15 and later), or remove it")
            ])
        }
        return BaseBackupReplica(options: options)
    }

    private static func mark(of key: String, in section: ConfigurationNode) -> SourceMark? {
        if let pair = section.pairs.last(where: { $0.key == key }) { return pair.value.mark }
        guard case .list(let elements) = section.content else { return nil }
        for element in elements.reversed() {
            if let pair = element.pairs.first(where: { $0.key == key }) { return pair.value.mark }
            if case .scalar(let text, _) = element.content, text.hasPrefix(key) { return element.mark }
        }
        return nil
    }
}
