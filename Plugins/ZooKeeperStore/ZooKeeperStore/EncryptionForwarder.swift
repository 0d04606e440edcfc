#if ZooKeeper
    import ClusterModel
    import Logging
    import NIOCore
    import NIOPosix
    import NIOSSL
    import PluginInterfaces
    import Synchronization

    /// Encrypted connections for a client library that knows none.
    ///
    /// For each server it listens on a loopback port of its own, which the library (and the questions of `ServerProbe`)
    /// connect to, and passes what comes to the server's secure port through TLS. One port for each server: so the
    /// library's own rotation works, and who was asked for his role is who is connected.
    ///
    /// Whoever connects to such a port speaks with our certificate. Connections are therefore taken from this process
    /// alone: the other end must be a socket of ours (``OpenSockets/hold(from:to:)``), which is looked for before
    /// anything is sent or read. Others are closed at once and told of in the log.
    ///
    /// It adds a thread, and some microseconds to each message. Nothing in the reckoning of leases changes: a proof was
    /// sent when the library was given it.
    final class EncryptionForwarder: Sendable {
        private struct Gate {
            var channel: any Channel
            var entrance: ServerAddress
            var trouble: String?
        }

        /// A server as it was resolved, and the name that its certificate must bear.
        struct Target: Hashable, Sendable {
            var server: ServerAddress
            var name: String
        }

        private struct State {
            var context: EncryptionContext
            var connectTimeout: Duration
            var gates: [Target: Gate] = [:]
            var isClosed = false
            var lastIntruder = Instant.distantPast
        }

        private static let loops = MultiThreadedEventLoopGroup(numberOfThreads: 1)

        private let state: Mutex<State>
        private let logger: Logger

        init(_ context: EncryptionContext, connectTimeout: Duration, logger: Logger) {
            state = Mutex(State(context: context, connectTimeout: connectTimeout))
            self.logger = logger
        }

        deinit {
            close()
        }

        /// What connections made from now on use.
        func replace(_ context: EncryptionContext, connectTimeout: Duration) {
            state.withLock { state in
                state.context = context
                state.connectTimeout = connectTimeout
            }
        }

        /// The loopback address behind which a server is; nil when there is no port to be had. Blocks: not for the
        /// cooperative pool, nor for the forwarder's own thread.
        func entrance(to target: Target) -> ServerAddress? {
            if let gate = state.withLock({ $0.gates[target] }), gate.channel.isActive { return gate.entrance }
            let bootstrap = ServerBootstrap(group: Self.loops)
                .serverChannelOption(.backlog, value: 16)
                .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
                .childChannelInitializer { [weak self] channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(
                            ForwardingEnd(accepts: { channel in
                                guard let self else { return nil }
                                return self.makeConnection(to: target, for: channel)
                            }))
                    }
                }
            do {
                let channel = try listen(bootstrap)
                guard let entrance = ServerAddress(channel.localAddress) else { return nil }
                let (existing, isClosed) = state.withLock { state -> (ServerAddress?, Bool) in
                    if state.isClosed { return (nil, true) }
                    if let gate = state.gates[target], gate.channel.isActive { return (gate.entrance, false) }
                    state.gates[target] = Gate(channel: channel, entrance: entrance)
                    return (nil, false)
                }
                if existing != nil || isClosed { channel.close(promise: nil) }
                return isClosed ? nil : existing ?? entrance
            } catch {
                logger.error("zookeeper: no loopback port for TLS to \(target.server): \(error)")
                return nil
            }
        }

        /// Each on a loopback address of its own: the library tells servers apart by their addresses, not by their ports.
        private func listen(_ bootstrap: ServerBootstrap) throws -> any Channel {
            for _ in 0..<8 {
                let host = "127.\(UInt8.random(in: 64...254)).\(UInt8.random(in: 1...254)).\(UInt8.random(in: 1...254))"
                let isTaken = state.withLock { state in state.gates.values.contains { $0.entrance.host == host } }
                if !isTaken, let channel = try? bootstrap.bind(host: host, port: 0).wait() { return channel }
            }
            // Some sandboxes have 127.0.0.1 alone.
            return try bootstrap.bind(host: "127.0.0.1", port: 0).wait()
        }

        /// Closes the entrances to all but these; connections that came through them go on.
        func keep(_ targets: Set<Target>) {
            let closed = state.withLock { state in
                let closed = state.gates.filter { !targets.contains($0.key) }
                for target in closed.keys { state.gates[target] = nil }
                return closed.values.map(\.channel)
            }
            for channel in closed { channel.close(promise: nil) }
        }

        /// Which server is behind an entrance.
        func target(behind entrance: ServerAddress) -> Target? {
            state.withLock { $0.gates.first { $0.value.entrance == entrance }?.key }
        }

        /// What was wrong with the latest encrypted connections, server by server; nil while nothing is.
        var trouble: String? {
            let texts = state.withLock { state in
                state.gates.compactMap { target, gate in gate.trouble.map { "\(target.server): \($0)" } }
            }
            return texts.isEmpty ? nil : "TLS to " + texts.sorted().joined(separator: "; ")
        }

        func close() {
            let channels = state.withLock { state in
                state.isClosed = true
                defer { state.gates = [:] }
                return state.gates.values.map(\.channel)
            }
            for channel in channels { channel.close(promise: nil) }
        }

        private func note(_ trouble: String?, _ target: Target) {
            let isNew = state.withLock { state in
                guard let gate = state.gates[target], gate.trouble != trouble else { return false }
                state.gates[target]?.trouble = trouble
                return trouble != nil
            }
            if isNew, let trouble { logger.warning("zookeeper: TLS to \(target.server): \(trouble)") }
        }

        // MARK: On the forwarder's thread

        /// Connects to the server for a connection just accepted; nil: it is none of ours.
        private func makeConnection(to target: Target, for channel: any Channel) -> EventLoopFuture<ForwardingEnd>? {
            guard let from = ServerAddress(channel.remoteAddress), let to = ServerAddress(channel.localAddress),
                OpenSockets.hold(from: from, to: to)
            else {
                let mayTell = state.withLock { state in
                    guard SystemClock.now() - state.lastIntruder > .seconds(60) else { return false }
                    state.lastIntruder = SystemClock.now()
                    return true
                }
                if mayTell {
                    logger.warning(
                        "zookeeper: another process of this host tried to use the agent's TLS connection to \(target.server); refused"
                    )
                }
                return nil
            }
            let (context, timeout) = state.withLock { ($0.context, $0.connectTimeout) }
            let loop = channel.eventLoop
            do {
                let address = try SocketAddress(ipAddress: target.server.host, port: target.server.port)
                let end = ForwardingEnd()
                let ready = loop.makePromise(of: Void.self)
                end.whenSecured = { ready.succeed(()) }
                end.whenTroubled = { [weak self] trouble in
                    self?.note(trouble, target)
                    ready.fail(EncryptionProblem(key: "use_ssl", message: trouble ?? "closed"))
                }
                end.whenAnswered = { [weak self] in self?.note(nil, target) }
                let bound = NIOLoopBound(end, eventLoop: loop)
                ClientBootstrap(group: loop)
                    .connectTimeout(.nanoseconds(timeout.nanosecondsClamped))
                    .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                    .channelInitializer { channel in
                        channel.eventLoop.makeCompletedFuture {
                            let handler = try NIOSSLClientHandler(
                                context: context.context, serverHostname: target.serverName)
                            try channel.pipeline.syncOperations.addHandlers(handler, bound.value)
                        }
                    }
                    .connect(to: address)
                    .whenComplete { [weak self] result in
                        switch result {
                        case .success(let upstream):
                            if let own = ServerAddress(upstream.localAddress),
                                let peer = ServerAddress(upstream.remoteAddress)
                            {
                                OpenSockets.keepFromChildren(own, peer)
                            }
                            // An end that accepts and then keeps silent must not hold up the library.
                            let alarm = upstream.eventLoop.scheduleTask(
                                in: .nanoseconds(timeout.nanosecondsClamped)
                            ) { [weak self] in
                                self?.note("no handshake within \(timeout)", target)
                                ready.fail(EncryptionProblem(key: "use_ssl", message: "timed out"))
                                upstream.close(mode: .all, promise: nil)
                            }
                            ready.futureResult.whenComplete { _ in alarm.cancel() }
                        case .failure(let error):
                            self?.note(Self.explain(error), target)
                            ready.fail(error)
                        }
                    }
                return ready.futureResult.map { bound.value }
            } catch {
                note(Self.explain(error), target)
                return nil
            }
        }

        /// A failure in words that name what to look at.
        static func explain(_ error: any Error) -> String {
            if let error = error as? IOError { return error.description }
            let text = String(describing: error)
            let advice: [(sign: String, meaning: String)] = [
                (
                    "CERTIFICATE_VERIFY_FAILED",
                    "the server's certificate is not trusted: it has expired, or is not signed by zookeeper.cacert"
                ),
                (
                    "failedToValidateHostname",
                    "the server's certificate is for another host; name the servers as their certificates do, or set "
                        + "zookeeper.verify_hostname: false"
                ),
                (
                    "unableToValidateCertificate",
                    "the server's certificate is for another host; name the servers as their certificates do, or set "
                        + "zookeeper.verify_hostname: false"
                ),
                (
                    "EOF during handshake",
                    "the server closed the connection during the handshake; hosts must name its secureClientPort"
                ),
                ("WRONG_VERSION_NUMBER", "the server speaks no TLS on this port; name its secureClientPort in hosts"),
                (
                    "ALERT_CERTIFICATE_EXPIRED",
                    "the server says that our certificate has expired; renew zookeeper.cert"
                ),
                (
                    "ALERT_UNKNOWN_CA",
                    "the server does not trust the authority of our certificate; check zookeeper.cert"
                ),
                ("CERTIFICATE_REQUIRED", "the server wants a certificate; set zookeeper.cert and zookeeper.key"),
                (
                    "ALERT_BAD_CERTIFICATE",
                    "the server does not accept our certificate, or wants one; check zookeeper.cert and zookeeper.key"
                ),
                (
                    "ALERT_CERTIFICATE_UNKNOWN",
                    "the server does not accept our certificate; check zookeeper.cert and the servers' trust store"
                ),
                (
                    "ALERT_HANDSHAKE_FAILURE",
                    "the server refuses the handshake: it wants a certificate, or other ciphers or versions"
                ),
            ]
            for (sign, meaning) in advice where text.contains(sign) { return meaning }
            return text
        }
    }

    extension EncryptionForwarder.Target {
        /// What is told to the server and looked for in its certificate; an address is compared with the connection's.
        fileprivate var serverName: String? { ServerAddress.isNumeric(name) ? nil : name }
    }

    extension ServerAddress {
        fileprivate init?(_ address: SocketAddress?) {
            guard let address, let host = address.ipAddress, let port = address.port else { return nil }
            self.init(host: host, port: port)
        }
    }
#endif
