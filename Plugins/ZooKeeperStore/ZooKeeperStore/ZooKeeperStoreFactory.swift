#if ZooKeeper
    import ClusterModel
    public import ConfigurationTree
    public import PluginInterfaces

    /// Makes stores from a `zookeeper:` section.
    ///
    /// ```yaml
    /// zookeeper:
    ///   hosts: [zk1:2181, zk2:2181, zk3]    # or one text: zk1:2181,zk2:2181,zk3/a/chroot
    ///   chroot: /databases
    ///   auth_data: {digest: "user:password"}
    ///   tick_time: 2000                      # the servers' own, in milliseconds
    /// ```
    public struct ZooKeeperStoreFactory: StoreFactory {
        public init() {}

        public var section: String { "zookeeper" }

        public func check(_ section: ConfigurationNode) -> [ConfigurationComplaint] {
            ZooKeeperSettings.read(section, path: self.section).complaints
        }

        public func makeStore(
            _ section: ConfigurationNode, _ context: PluginContext
        ) throws(ConfigurationComplaints) -> any CoordinationStore {
            let (settings, complaints) = ZooKeeperSettings.read(section, path: self.section)
            guard let settings else { throw ConfigurationComplaints(complaints) }
            let paths = KeyPaths(root: context.root, chroot: settings.chroot, memberName: context.memberName)
            return ZooKeeperClusterStore(settings, paths: paths, logger: context.logger)
        }
    }
#endif
