#if ZooKeeper
    import ConfigurationTree

    /// A credential presented to the servers on each connection.
    struct Credential: Hashable, Sendable {
        var scheme: String
        /// `user:password` for digest.
        var secret: Secret
    }

    /// What a principal may do with a node.
    struct AccessPermissions: OptionSet, Hashable, Sendable {
        var rawValue: Int32

        static let read = AccessPermissions(rawValue: 1)
        static let write = AccessPermissions(rawValue: 2)
        static let create = AccessPermissions(rawValue: 4)
        static let delete = AccessPermissions(rawValue: 8)
        static let admin = AccessPermissions(rawValue: 16)
        static let all: AccessPermissions = [.read, .write, .create, .delete, .admin]

        /// Patroni's names for them.
        static let names: [(name: String, permission: AccessPermissions)] = [
            ("CREATE", .create), ("READ", .read), ("WRITE", .write), ("DELETE", .delete), ("ADMIN", .admin),
            ("ALL", .all),
        ]
    }

    /// One line of the access list given to created nodes.
    struct AccessRule: Hashable, Sendable {
        var scheme: String
        var identity: String
        var permissions: AccessPermissions

        static let world = AccessRule(scheme: "world", identity: "anyone", permissions: .all)
        /// Replaced by the server with the identities that the creator has proved.
        static let creator = AccessRule(scheme: "auth", identity: "", permissions: .all)
    }

    /// The `zookeeper` section, checked.
    struct ZooKeeperSettings: Hashable, Sendable {
        /// Names or addresses, at least one.
        var servers: [ServerAddress]
        /// Starts with a slash and does not end with one; empty for the servers' root.
        var chroot = ""
        var credentials: [Credential] = []
        var accessList: [AccessRule] = [.world]
        /// nil: connections are not encrypted.
        var encryption: EncryptionSettings?
        /// How long one server may take to accept and answer before the next is tried.
        var connectTimeout: Duration = .seconds(1)
        /// The servers' tickTime and syncLimit, when they are known.
        var tick: Duration?
        var syncLimit: Int?
        /// The hosts are proxies: nobody can tell which server is behind, so each counts as a follower.
        var isBehindProxy = false
    }
#endif
