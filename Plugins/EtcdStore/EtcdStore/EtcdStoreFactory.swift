#if Etcd
    import ClusterModel
    public import ConfigurationTree
    public import PluginInterfaces

    /// Makes stores from an `etcd3:` section.
    ///
    /// ```yaml
    /// etcd3:
    ///   hosts: [etcd1:2379, etcd2:2379, etcd3:2379]
    ///   protocol: https
    ///   cacert: /etc/matriarch/etcd-ca.crt
    ///   username: matriarch
    ///   password: "secret"
    /// ```
    public struct EtcdStoreFactory: StoreFactory {
        public init() {}

        public var section: String { "etcd3" }

        public func check(_ section: ConfigurationNode) -> [ConfigurationComplaint] {
            EtcdSettings.read(section, path: self.section).complaints
        }

        public func makeStore(
            _ section: ConfigurationNode, _ context: PluginContext
        ) throws(ConfigurationComplaints) -> any CoordinationStore {
            let (settings, complaints) = EtcdSettings.read(section, path: self.section)
            guard let settings else { throw ConfigurationComplaints(complaints) }
            do {
                return try EtcdCoordinationStore(settings, keys: EtcdKeys(root: context.root), logger: context.logger)
            } catch {
                // Nothing but certificates and the key is read there.
                throw ConfigurationComplaints(EtcdSettings.complaint(unreadable: section, path: self.section, error))
            }
        }
    }

    extension EtcdSettings {
        /// Which of the files cannot be used.
        static func complaint(
            unreadable section: ConfigurationNode, path: String, _ error: any Error
        ) -> ConfigurationComplaint {
            for key in ["cacert", "cert", "key"] {
                guard let node = section[key], let file = node.text,
                    let why = CertificateFiles.objection(file, isKey: key == "key")
                else { continue }
                return ConfigurationComplaint(at: node.mark, path: "\(path).\(key)", "\(file): \(why)")
            }
            return ConfigurationComplaint(
                at: section.mark, path: path, "the certificates cannot be used (\(error)); check cacert, cert and key")
        }
    }
#endif
