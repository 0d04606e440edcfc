#if Etcd
    import ClusterModel
    import PluginInterfaces

    extension EtcdCoordinationStore {
        func findings(within limit: Duration) async -> [StoreFinding] {
            let deadline = SystemClock.now() + limit
            await cluster.lookForMembers(olderThan: .zero, until: deadline)
            let endpoints: [Endpoint]
            do throws(StoreError) {
                endpoints = try await cluster.known(until: deadline)
            } catch {
                return [StoreFinding(.error, error.message)]
            }
            var found: [StoreFinding] = []
            var silent: [String] = []
            for endpoint in endpoints {
                let share = min(deadline, SystemClock.now() + .seconds(2))
                do throws(GatewayFailure) {
                    let answer = try await cluster.http.get("/version", at: endpoint, until: share)
                    found.append(Self.judge(answer["etcdserver"]?.string, at: endpoint))
                } catch {
                    silent.append(error.message)
                }
            }
            found += silent.map {
                StoreFinding(
                    endpoints.count == silent.count ? .error : .warning, $0,
                    remedy: "start that server, or take it out of the etcd cluster")
            }
            if endpoints.count < 3 {
                found.append(
                    StoreFinding(
                        .warning,
                        endpoints.count == 1
                            ? "there is one etcd server: when it fails, nobody can lead"
                            : "there are two etcd servers: when one fails, nobody can lead",
                        remedy: "run three servers, or five"))
            }
            return found
        }

        static func judge(_ version: String?, at endpoint: Endpoint) -> StoreFinding {
            guard let version, let release = EtcdRelease(version) else {
                return StoreFinding(.warning, "\(endpoint) does not tell its release")
            }
            guard let warning = release.warning else { return StoreFinding(.fine, "etcd \(release) at \(endpoint)") }
            let parts = warning.split(separator: "; ", maxSplits: 1)
            return StoreFinding(
                release < EtcdRelease.oldest ? .error : .warning, "\(endpoint): \(parts[0])",
                remedy: parts.count > 1 ? String(parts[1]) : "upgrade etcd")
        }
    }
#endif
