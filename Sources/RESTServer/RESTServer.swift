import HummingbirdCore
public import Logging
import NIOCore
import NIOPosix
import NIOSSL
public import ServiceLifecycle
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// The agent's HTTP API.
///
/// Health checks are answered from memory and never wait for the store, PostgreSQL or another client: connections are
/// served on a thread of the server's own, and one that sends nothing is closed after a while.
///
/// `run()` lasts until the service is shut down gracefully or its task is cancelled. It throws only before it has
/// listened: a taken port, an address that is not ours, a certificate that cannot be read.
public final class RESTServer: Service {
    private struct State {
        var settings: RESTSettings
        var access: AccessControl
        var rebind: (@Sendable () -> Void)?
    }

    /// After a graceful shutdown, requests in progress get this long.
    static let shutdownPatience: Duration = .seconds(2)
    private static let loops = MultiThreadedEventLoopGroup(numberOfThreads: 1)

    private let state: Mutex<State>
    private let control: any AgentControl
    private let logger: Logger
    private let contexts = TLSContexts()
    private let streams = OpenStreams(maximum: 64)
    private let connections = Connections(maximum: 256)
    private let onListening: @Sendable (Int) -> Void

    /// - Parameter onListening: is told the port each time the server begins to listen.
    public init(
        settings: RESTSettings, control: any AgentControl, logger: Logger,
        onListening: @escaping @Sendable (Int) -> Void = { _ in }
    ) {
        self.state = Mutex(State(settings: settings, access: .closed, rebind: nil))
        self.control = control
        self.logger = logger
        self.onListening = onListening
    }

    public func run() async throws {
        let settings = state.withLock { $0.settings }
        contexts.replace(with: try await Self.loadTLS(settings))
        await loadAccess(settings)
        if !settings.isAuthenticated {
            logger.warning(
                """
                restapi: no authentication is configured: whoever reaches the port can switch over, restart and \
                reconfigure this cluster; set restapi.authentication, or restapi.allowlist
                """)
        }
        var hasListened = false
        while !Task.isCancelled, !Task.isShuttingDownGracefully {
            do {
                try await listen(&hasListened)
            } catch let error as RESTServerError where hasListened {
                // The address was changed to one that cannot be had; health answers come back as soon as it can.
                logger.error("\(error); trying again each second")
                try? await cancelWhenGracefulShutdown {
                    try await Task.sleep(for: .seconds(1), clock: .continuous)
                }
            }
        }
    }

    /// Takes new settings into force: at once where that can be, with a new listener where the address changed.
    ///
    /// Returns what is wrong with them; then nothing has changed.
    public func apply(_ settings: RESTSettings) async -> String? {
        do {
            contexts.replace(with: try await Self.loadTLS(settings))
        } catch {
            return error.description
        }
        await loadAccess(settings)
        let rebind = state.withLock { state in
            let isMoved = state.settings.address != settings.address
            state.settings = settings
            return isMoved ? state.rebind : nil
        }
        rebind?()
        return nil
    }

    /// Reads certificate, key and authorities again; connections from now on get the new ones.
    ///
    /// Returns what is wrong; then the old ones stay.
    public func reloadCertificates() async -> String? {
        do {
            contexts.replace(with: try await Self.loadTLS(state.withLock { $0.settings }))
            return nil
        } catch {
            return error.description
        }
    }

    // MARK: Listening

    private func listen(_ hasListened: inout Bool) async throws {
        let settings = state.withLock { $0.settings }
        let hosts = try await Self.bindableHosts(settings.listenHost)
        for (index, host) in hosts.enumerated() {
            do {
                try await serve(on: host, settings, &hasListened)
                return
            } catch let error as IOError {
                // The next address may do: IPv6 can be off, or a name have addresses that are not ours.
                if index + 1 < hosts.count, [EADDRNOTAVAIL, EAFNOSUPPORT].contains(error.errnoCode) { continue }
                throw Self.explained(error, host: host, port: settings.listenPort)
            }
        }
    }

    private func serve(on host: String, _ settings: RESTSettings, _ hasListened: inout Bool) async throws {
        var quiet = logger
        quiet.logLevel = max(quiet.logLevel, .warning)
        let transport = HTTPTransport(
            handler: RequestHandler(
                control: control, access: { [self] in state.withLock { $0.access } }, logger: logger),
            settings: { [self] in state.withLock { $0.settings } }, streams: streams)
        let http = HTTP1Channel(
            responder: { request, writer, channel in try await transport.respond(request, writer, channel) },
            configuration: .init(idleTimeout: TimeAmount(settings.idleTimeout)))
        let (ends, end) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let listened = Mutex(false)
        let server = Server(
            childChannelSetup: RESTChannel(http: http, contexts: contexts, connections: connections),
            configuration: ServerConfiguration(
                address: .hostname(host, port: settings.listenPort), backlog: settings.backlog),
            onServerRunning: { [logger, onListening] channel in
                let port = channel.localAddress?.port ?? settings.listenPort
                try? await channel.eventLoop.submit {
                    try channel.pipeline.syncOperations.addHandler(
                        AcceptErrorHandler { error in
                            logger.error("restapi: a connection cannot be accepted: \(error)")
                        }, position: .first)
                }.get()
                listened.withLock { $0 = true }
                logger.notice("restapi: listening on \(Self.shown(host, port))")
                onListening(port)
            },
            eventLoopGroup: Self.loops, logger: quiet)
        state.withLock { $0.rebind = { end.yield() } }
        defer {
            state.withLock { $0.rebind = nil }
            if listened.withLock({ $0 }) { hasListened = true }
        }
        try await withGracefulShutdownHandler {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await server.run() }
                group.addTask { [streams] in
                    for await _ in ends { break }
                    if Task.isCancelled { return }
                    streams.endAll()
                    // Ends the first task as soon as the last request has been answered. Not waited for here: what is
                    // still going on when patience is over is cancelled with the group.
                    Task { try? await server.shutdownGracefully() }
                    try? await Task.sleep(for: Self.shutdownPatience, clock: .continuous)
                }
                _ = try await group.next()
                group.cancelAll()
            }
        } onGracefulShutdown: {
            end.yield()
        }
    }

    /// The addresses to try, in order.
    private static func bindableHosts(_ host: String) async throws -> [String] {
        if host.isEmpty || host == "*" { return ["::", "0.0.0.0"] }
        let bare = host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host
        let addresses = await HostResolver.addresses(of: bare, within: .seconds(5))
        guard !addresses.isEmpty else {
            throw RESTServerError(
                "restapi.listen: the host '\(bare)' has no address; name one of this machine's addresses, or leave it empty for all"
            )
        }
        return addresses
    }

    private static func explained(_ error: IOError, host: String, port: Int) -> RESTServerError {
        let address = shown(host, port)
        switch error.errnoCode {
        case EADDRINUSE:
            return RESTServerError(
                "restapi.listen: \(address) is taken by another program (another agent?); stop that one, or choose another port"
            )
        case EADDRNOTAVAIL, EAFNOSUPPORT:
            return RESTServerError(
                "restapi.listen: \(address) is no address of this machine; choose one that is, or leave the host empty for all"
            )
        case EACCES:
            return RESTServerError(
                "restapi.listen: \(address) may not be listened on by this account; choose a port above 1023")
        default:
            return RESTServerError("restapi.listen: cannot listen on \(address): \(error)")
        }
    }

    private static func shown(_ host: String, _ port: Int) -> String {
        host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    // MARK: Settings

    private func loadAccess(_ settings: RESTSettings) async {
        let (access, problems) = await AccessControl.make(settings) { host in
            await HostResolver.addresses(of: host, within: .seconds(5))
        }
        for problem in problems { logger.warning("\(problem)") }
        state.withLock { $0.access = access }
    }

    private static func loadTLS(_ settings: RESTSettings) async throws(RESTServerError) -> NIOSSLContext? {
        let result = await BlockingThreads.run {
            Result { () throws(RESTServerError) in try TLSContexts.load(settings) }
        }
        return try result.get()
    }
}
