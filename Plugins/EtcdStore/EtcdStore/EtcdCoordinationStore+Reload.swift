#if Etcd
    import ClusterModel
    import ConfigurationTree
    import Dispatch
    import PluginInterfaces

    extension EtcdCoordinationStore {
        private static let section = "etcd3"
        /// How long the servers may take to show that they take what is new.
        private static let trialLimit = Duration.seconds(4)

        /// Takes over everything: servers, DNS, the user and the password, certificates and keys, which are read again in
        /// any case. What would cost the lease is refused: it is tried on the servers first.
        func reconfigure(_ section: ConfigurationNode) async -> StoreReconfiguration {
            let (read, complaints) = EtcdSettings.read(section, path: Self.section)
            guard var wanted = read else { return .refused(complaints) }
            func refused(_ key: String?, _ message: String) -> StoreReconfiguration {
                let mark = key.flatMap { section[$0]?.mark } ?? section.mark
                let path = Self.section + (key.map { "." + $0 } ?? "")
                return .refused(complaints + [ConfigurationComplaint(at: mark, path: path, message)])
            }
            let former = cluster.settings
            // What no section names.
            wanted.memberInterval = former.memberInterval
            wanted.replacementDelay = former.replacementDelay
            wanted.nameServers = former.nameServers
            let http: GatewayClient
            do {
                http = try await Self.client(wanted)
            } catch {
                return .refused(
                    complaints + [EtcdSettings.complaint(unreadable: section, path: Self.section, error)])
            }
            if wanted == former, http.encrypts(like: cluster.http) { return .taken(complaints) }

            let trial = EtcdCluster(wanted, keys: cluster.keys, http: http, logger: logger)
            var outcome = await Self.look(through: trial)
            if case .success = outcome { outcome = await Self.tryWriting(through: trial) }
            switch outcome {
            case .success:
                if let ours = cluster.clusterID, let theirs = trial.clusterID, ours != theirs {
                    return refused(
                        nil, "these are servers of another store; `matriarch store migrate` moves a cluster to it")
                }
                cluster.adopt(trial)
            case .failure(let error) where error.code == .unreachable || error.code == .timedOut:
                // Where nobody is reached either way, the change may be the remedy.
                if case .success = await Self.look(through: cluster) {
                    return refused(nil, "the servers named so far answer, these do not: \(error.message)")
                }
                cluster.adopt(trial)
            case .failure(let error):
                let key = wanted.username != former.username ? "username" : "password"
                return refused(section[key] == nil ? nil : key, error.message)
            }
            watch.restart()
            return .taken(complaints)
        }

        /// Files may be slow: off the cooperative threads.
        private static func client(_ settings: EtcdSettings) async throws -> GatewayClient {
            try await withCheckedThrowingContinuation { continuation in
                DispatchQueue(label: "etcd.reload").async {
                    continuation.resume(with: Result { try GatewayClient(settings) })
                }
            }
        }

        /// Whether the cluster's keys can be read.
        private static func look(through cluster: EtcdCluster) async -> Result<Void, StoreError> {
            let reader = EtcdReader(cluster: cluster, deadline: SystemClock.now() + trialLimit)
            do throws(StoreError) {
                _ = try await reader.read(.keys([EtcdKeys.leader]), .linearizable)
                return .success(())
            } catch {
                return .failure(error)
            }
        }

        /// Whether the cluster's keys may be written as well: a transaction whose condition is never met, for etcd looks
        /// at the permission of each of its parts first.
        private static func tryWriting(through cluster: EtcdCluster) async -> Result<Void, StoreError> {
            let key = JSONValue.string(cluster.keys.encoded(EtcdKeys.leader))
            let body: JSONValue = [
                "compare": [["key": key, "target": "CREATE", "result": "LESS", "create_revision": "0"]],
                "success": [["request_put": ["key": key, "value": ""]]],
            ]
            let limit = SystemClock.now() + trialLimit
            let attempt = "write to \(cluster.keys.name)"
            return await cluster.race(attempt, until: limit) { endpoint in
                do throws(GatewayFailure) {
                    _ = try await cluster.call("/v3/kv/txn", body, at: endpoint, until: limit)
                    return .success(())
                } catch {
                    return .failure(error)
                }
            }
        }
    }
#endif
