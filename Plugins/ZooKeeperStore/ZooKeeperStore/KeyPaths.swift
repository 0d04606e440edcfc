#if ZooKeeper
    import PluginInterfaces

    /// Where the cluster's keys are among ZooKeeper's nodes.
    struct KeyPaths: Hashable, Sendable {
        /// The cluster's node, without a slash at its end: `/service/demo`.
        let base: String
        /// This member's own entry.
        let member: StoreKey

        init(root: String, chroot: String, memberName: String) {
            let parts = (chroot + "/" + root).split(separator: "/")
            base = parts.map { "/" + $0 }.joined()
            member = "members/" + memberName
        }

        func path(_ key: StoreKey) -> String { base + "/" + key }

        /// The key of a node below the cluster's; nil for others.
        func key(_ path: String) -> StoreKey? {
            path.hasPrefix(base + "/") ? String(path.dropFirst(base.count + 1)) : nil
        }

        func contains(_ path: String) -> Bool { path == base || path.hasPrefix(base + "/") }

        /// The nodes above one, from the top.
        static func ancestors(_ path: String) -> [String] {
            var result: [String] = []
            var current = ""
            for part in path.split(separator: "/").dropLast() {
                current += "/" + part
                result.append(current)
            }
            return result
        }

        /// Keys of which every change matters at once.
        static let watched: [StoreKey] = ["leader", "config", "failover", "initialize", "sync"]
        /// Nodes that hold others and are no entries themselves.
        static let directories: Set<StoreKey> = ["members", "optime"]
    }
#endif
