#if ZooKeeper
    import ClusterModel
    public import ConfigurationTree
    public import PluginInterfaces

    /// Makes stores from a `zookeeper:` section.
    ///
    /// ```yaml
    /// zookeeper:
    ///   hosts: [zk1:2181, zk2:2181, zk3]    # or one text: zk1:2181,zk2:2181,zk3/a/chroot
    ///   use_ssl: true                        # with cacert, cert, key
    ///   chroot: /databases
    ///   auth_data: {digest: "user:password"}
    ///   tick_time: 2000                      # the servers' own, in milliseconds
    /// ```
    public struct ZooKeeperStoreFactory: StoreFactory {
        public init() {}

        public var section: String { "zookeeper" }

        public func check(_ section: ConfigurationNode) -> [ConfigurationComplaint] {
            var (settings, complaints) = ZooKeeperSettings.read(section, path: self.section)
            guard let encryption = settings?.encryption else { return complaints }
            do throws(EncryptionProblem) {
                _ = try EncryptionContext(encryption)
            } catch {
                // A file may be checked elsewhere than where it is used; the agent itself does not start like this.
                complaints.append(error.complaint(section, path: self.section, .warning))
            }
            return complaints
        }

        public func makeStore(
            _ section: ConfigurationNode, _ context: PluginContext
        ) throws(ConfigurationComplaints) -> any CoordinationStore {
            let (settings, complaints) = ZooKeeperSettings.read(section, path: self.section)
            guard let settings else { throw ConfigurationComplaints(complaints) }
            let paths = KeyPaths(root: context.root, chroot: settings.chroot, memberName: context.memberName)
            do throws(EncryptionProblem) {
                return try ZooKeeperClusterStore(settings, paths: paths, logger: context.logger)
            } catch {
                throw ConfigurationComplaints([error.complaint(section, path: self.section)])
            }
        }
    }

    extension EncryptionProblem {
        /// With the place in the configuration.
        func complaint(
            _ section: ConfigurationNode, path: String, _ severity: ConfigurationComplaint.Severity = .error
        ) -> ConfigurationComplaint {
            ConfigurationComplaint(severity, at: section[key]?.mark ?? section.mark, path: "\(path).\(key)", message)
        }
    }
#endif
