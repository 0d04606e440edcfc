#if ZooKeeper
    import ClusterModel
    import ConfigurationTree
    import Logging
    import Synchronization

    /// How servers are reached: their names, their addresses at the moment, and encryption in between. Shared by all
    /// connections of a store; its settings can change while they last.
    final class ServerRoute: Sendable {
        private struct State {
            var servers: [ServerAddress]
            var connectTimeout: Duration
            var encryption: EncryptionSettings?
            var forwarder: EncryptionForwarder?
        }

        private let state: Mutex<State>
        private let logger: Logger

        /// Reads certificates and keys, if encryption is wanted; blocks on their files.
        init(_ settings: ZooKeeperSettings, logger: Logger) throws(EncryptionProblem) {
            self.logger = logger
            var state = State(servers: settings.servers, connectTimeout: settings.connectTimeout)
            if let encryption = settings.encryption {
                state.encryption = encryption
                state.forwarder = EncryptionForwarder(
                    try EncryptionContext(encryption), connectTimeout: settings.connectTimeout, logger: logger)
            }
            self.state = Mutex(state)
        }

        /// Takes over other servers, files or timeouts; reads certificates and keys again in any case. On failure
        /// everything stays as it was. Connections that are up stay up. Blocks on files.
        func replace(_ settings: ZooKeeperSettings) throws(EncryptionProblem) {
            var context: EncryptionContext?
            if let encryption = settings.encryption { context = try EncryptionContext(encryption) }
            let logger = self.logger
            let former = state.withLock { state -> EncryptionForwarder? in
                state.servers = settings.servers
                state.connectTimeout = settings.connectTimeout
                state.encryption = settings.encryption
                guard let context else {
                    defer { state.forwarder = nil }
                    return state.forwarder
                }
                if let forwarder = state.forwarder {
                    forwarder.replace(context, connectTimeout: settings.connectTimeout)
                } else {
                    state.forwarder = EncryptionForwarder(
                        context, connectTimeout: settings.connectTimeout, logger: logger)
                }
                return nil
            }
            former?.close()
        }

        var connectTimeout: Duration { state.withLock { $0.connectTimeout } }
        var isEncrypted: Bool { state.withLock { $0.encryption != nil } }
        /// Whether servers see a certificate of ours, which can be an identity in access lists.
        var showsCertificate: Bool { state.withLock { $0.encryption?.certificateFile != nil } }
        /// The servers as they are configured.
        var servers: [ServerAddress] { state.withLock { $0.servers } }
        /// The same for people.
        var hosts: String { servers.map(\.description).joined(separator: ", ") }
        /// What is wrong with encryption, if anything is.
        var trouble: String? { state.withLock { $0.forwarder }?.trouble }

        /// How long one server may take to answer a question.
        var probeLimit: Duration {
            let (timeout, isEncrypted) = state.withLock { ($0.connectTimeout, $0.encryption != nil) }
            return min(timeout, isEncrypted ? .seconds(1) : .milliseconds(500))
        }

        /// The addresses to connect to, in the order of the servers; empty when no name can be resolved. Blocks on the
        /// resolver.
        func addresses() -> [ServerAddress] {
            let (servers, forwarder) = state.withLock { ($0.servers, $0.forwarder) }
            guard let forwarder else { return servers.flatMap { $0.resolved() } }
            let targets = servers.flatMap { server in
                server.resolved().map { EncryptionForwarder.Target(server: $0, name: server.host) }
            }
            // A resolver that is down for a moment closes no entrance.
            if !targets.isEmpty { forwarder.keep(Set(targets)) }
            return targets.compactMap { forwarder.entrance(to: $0) }
        }

        /// An address as people know it: the server's own rather than the entrance to it.
        func shown(_ address: ServerAddress) -> String {
            let target = state.withLock { $0.forwarder }?.target(behind: address)
            return (target?.server ?? address).description
        }

        func close() {
            state.withLock { $0.forwarder }?.close()
        }
    }
#endif
