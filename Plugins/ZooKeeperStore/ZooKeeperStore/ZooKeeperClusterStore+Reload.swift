#if ZooKeeper
    import ConfigurationTree
    import Dispatch
    import PluginInterfaces

    extension ZooKeeperClusterStore {
        private static let section = "zookeeper"

        /// Takes over servers, timeouts and everything about encryption; certificates and keys are read again in any case.
        /// The session goes on, with another server where the present one is no longer listed.
        func reconfigure(_ section: ConfigurationNode) async -> StoreReconfiguration {
            let (read, complaints) = ZooKeeperSettings.read(section, path: Self.section)
            guard let wanted = read else { return .refused(complaints) }
            if settings.accessList != [.world], route.showsCertificate, wanted.encryption?.certificateFile == nil {
                // The nodes may be closed to everybody else, this agent then included: that costs the lease.
                let message =
                    "the nodes' access list may name the certificate of this agent; restart the agent to give it up"
                let key = wanted.encryption == nil ? "use_ssl" : "cert"
                return .refused(
                    complaints + [EncryptionProblem(key: key, message: message).complaint(section, path: Self.section)])
            }
            let former = Set(route.servers.map(\.host))
            let problem: EncryptionProblem? = await withCheckedContinuation { continuation in
                // Files may be slow.
                DispatchQueue(label: "zookeeper.reload").async { [route] in
                    do throws(EncryptionProblem) {
                        try route.replace(wanted)
                        continuation.resume(returning: nil)
                    } catch {
                        continuation.resume(returning: error)
                    }
                }
            }
            if let problem {
                return .refused(complaints + [problem.complaint(section, path: Self.section)])
            }
            currentConnection?.serversChanged()
            var warnings = complaints
            if former.isDisjoint(with: wanted.servers.map(\.host)) {
                warnings.append(
                    Self.warning(
                        section, "hosts",
                        "none of these is one of the former servers; if they are another ensemble, the session is lost")
                )
            }
            for (key, isChanged) in [
                ("chroot", wanted.chroot != settings.chroot), ("auth_data", wanted.credentials != settings.credentials),
                (section["acl"] == nil ? "set_acls" : "acl", wanted.accessList != settings.accessList),
                ("tick_time", wanted.tick != settings.tick), ("sync_limit", wanted.syncLimit != settings.syncLimit),
                ("behind_proxy", wanted.isBehindProxy != settings.isBehindProxy),
            ] where isChanged {
                warnings.append(
                    Self.warning(section, key, "cannot change while the agent runs; restart the agent for it"))
            }
            return .taken(warnings)
        }

        private static func warning(
            _ section: ConfigurationNode, _ key: String, _ message: String
        ) -> ConfigurationComplaint {
            ConfigurationComplaint(
                .warning, at: section[key]?.mark ?? section.mark, path: "\(Self.section).\(key)", message)
        }
    }
#endif
