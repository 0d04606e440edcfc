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

    /// Never refuses: what cannot be used is left out, and told with each copy. A new member matters more than an option.
    public func makeMethod(_ section: ConfigurationNode?) throws(ConfigurationComplaints)
        -> any ReplicaCreationMethod
    {
        let path = "postgresql.basebackup"
        var (options, complaints) = CommandOptions.read(
            section, path: path, tool: "pg_basebackup", forbidden: Self.forbidden)
        for compress in options.options where compress.name == "compress" {
            // Compressed by the client it would be a tar file; pg_basebackup takes no such thing in plain format.
            if compress.value?.hasPrefix("server") == true { continue }
            complaints.append(
                ConfigurationComplaint(
                    at: section.flatMap { Self.mark(of: "compress", in: $0) } ?? SourceMark(source: path),
                    path: "\(path).compress",
                    "only compression by the server leaves a plain data directory; write server-gzip, server-lz4 or "
                        + "server-zstd (PostgreSQL 15 and later), or remove it"))
        }
        options.options.removeAll { $0.name == "compress" && $0.value?.hasPrefix("server") != true }
        return BaseBackupReplica(options: options, leftOut: complaints)
    }

    private static func mark(of key: String, in section: ConfigurationNode) -> SourceMark? {
        if let pair = section.pairs.last(where: { $0.key == key }) { return pair.value.mark }
        for element in section.elements.reversed() {
            if let pair = element.pairs.first(where: { $0.key == key }) { return pair.value.mark }
            if element.text?.hasPrefix(key) == true { return element.mark }
        }
        return nil
    }
}
