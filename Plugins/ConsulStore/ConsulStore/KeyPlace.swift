#if Consul
    import PluginInterfaces

    /// Where a cluster's keys lie in Consul.
    struct KeyPlace: Hashable, Sendable {
        /// Without a slash at the beginning, with one at the end: `service/demo/`.
        let root: String

        /// `root` as the runtime says it: `/service/demo/`.
        init(root: String) {
            self.root = root.split(separator: "/").map { $0 + "/" }.joined()
        }

        /// Ours: one entry for each session, which later instances and resolutions rewrite. Not shown to the core.
        static let anchors = "sessions/"

        func path(_ key: StoreKey) -> String { root + key }

        /// The path of the entry that stands for a session.
        func anchor(_ session: String) -> String { root + Self.anchors + session }

        /// The key of a path below the root; nil for anything else, and for what is the plugin's own.
        func key(_ path: String) -> StoreKey? {
            guard path.utf8.starts(with: root.utf8) else { return nil }
            let key = String(decoding: path.utf8.dropFirst(root.utf8.count), as: UTF8.self)
            return key.isEmpty || key.hasPrefix(Self.anchors) ? nil : key
        }

        /// The tree as a part of a URL.
        var tree: String { "/v1/kv/" + ConsulCall.encoded(key: root) }

        /// One entry as a part of a URL.
        func entry(_ path: String) -> String { "/v1/kv/" + ConsulCall.encoded(key: path) }
    }
#endif
