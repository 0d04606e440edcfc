#if ZooKeeper
    import ClusterModel
    import Dispatch
    import PluginInterfaces

    extension ZooKeeperClusterStore {
        func findings(within limit: Duration) async -> [StoreFinding] {
            let servers = route.servers
            if route.isEncrypted {
                // Their words are spoken without TLS; whether they serve the session shows.
                return [
                    StoreFinding(
                        .fine, "\(servers.count) ZooKeeper servers, spoken to with TLS: their roles are not asked for")
                ] + (route.trouble.map { [StoreFinding(.warning, $0, remedy: "check cacert, cert and key")] } ?? [])
            }
            let share = min(limit, .seconds(2))
            let answers: [ServerAnswer] = await withCheckedContinuation { continuation in
                // The probes block.
                DispatchQueue(label: "zookeeper.findings").async {
                    continuation.resume(
                        returning: servers.map { server in
                            let place = server.resolved().first
                            return ServerAnswer(
                                name: server.description,
                                probe: place.flatMap { ServerProbe.ask($0, within: share, tick: true) },
                                isKnown: place != nil)
                        })
                }
            }
            return Self.judge(answers)
        }

        /// What one server said.
        struct ServerAnswer: Hashable, Sendable {
            var name: String
            var probe: ServerProbe?
            /// Its name can be resolved.
            var isKnown = true
        }

        static func judge(_ answers: [ServerAnswer]) -> [StoreFinding] {
            var found = answers.map { answer -> StoreFinding in
                guard answer.isKnown else {
                    return StoreFinding(
                        .warning, "\(answer.name): the name cannot be resolved", remedy: "check it in zookeeper.hosts")
                }
                switch answer.probe {
                case nil:
                    return StoreFinding(
                        .warning, "\(answer.name) does not answer the word srvr",
                        remedy: "start that server, or allow the word: 4lw.commands.whitelist=srvr,conf")
                case let probe? where probe.role == nil:
                    return StoreFinding(
                        .warning, "\(answer.name) serves no writes: it is cut off from its ensemble",
                        remedy: "see that server's log")
                case let probe?:
                    let role: String
                    switch probe.role {
                    case .leader: role = "leads"
                    case .standalone: role = "stands alone"
                    case .follower, nil: role = "follows"
                    }
                    let tick = probe.tick.map { ", tickTime \($0.milliseconds) ms" } ?? ""
                    if let tick = probe.tick, tick > .milliseconds(1000) {
                        return StoreFinding(
                            .warning,
                            "\(answer.name) \(role), tickTime \(tick.milliseconds) ms: no session is shorter than "
                                + "\(2 * tick.milliseconds) ms unless minSessionTimeout says so, and a dead holder is noticed "
                                + "up to a tick later",
                            remedy: "for short leases set tickTime to 200 to 500")
                    }
                    return StoreFinding(.fine, "ZooKeeper at \(answer.name) \(role)\(tick)")
                }
            }
            if answers.contains(where: { $0.probe?.role == .standalone }) {
                found.append(
                    StoreFinding(
                        .warning, "there is one ZooKeeper server: when it fails, nobody can lead",
                        remedy: "run an ensemble of three, or five"))
            } else if answers.count < 3 {
                found.append(
                    StoreFinding(
                        .warning, "zookeeper.hosts names \(answers.count) of the ensemble's servers",
                        remedy: "name all of them: an agent that knows few is cut off with them"))
            }
            return found
        }
    }
#endif
