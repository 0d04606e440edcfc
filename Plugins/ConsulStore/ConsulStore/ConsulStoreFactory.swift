#if Consul
    import ClusterModel
    public import ConfigurationTree
    public import PluginInterfaces

    /// Makes stores from a `consul:` section.
    ///
    /// ```yaml
    /// consul:
    ///   host: 127.0.0.1:8500        # the agent on this host
    ///   scheme: https
    ///   cacert: /etc/matriarch/consul-ca.pem
    ///   token: "..."
    /// ```
    public struct ConsulStoreFactory: StoreFactory {
        public init() {}

        public var section: String { "consul" }

        public func check(_ section: ConfigurationNode) -> [ConfigurationComplaint] {
            ConsulSettings.read(section, path: self.section).complaints
        }

        public func makeStore(
            _ section: ConfigurationNode, _ context: PluginContext
        ) throws(ConfigurationComplaints) -> any CoordinationStore {
            let (settings, complaints) = ConsulSettings.read(section, path: self.section)
            guard let settings else { throw ConfigurationComplaints(complaints) }
            do throws(StoreError) {
                return try ConsulClusterStore(
                    settings, root: context.root, scope: context.scope, memberName: context.memberName,
                    logger: context.logger)
            } catch {
                throw ConfigurationComplaints(
                    ConfigurationComplaint(at: section.mark, path: self.section, error.message))
            }
        }
    }
#endif
