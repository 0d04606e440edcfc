#if Consul
    import AsyncHTTPClient
    import ClusterModel
    import ConfigurationTree
    import Glibc
    import NIOCore
    import NIOHTTP1
    import NIOPosix
    import NIOSSL
    import PluginInterfaces
    import Synchronization

    /// Calls Consul's HTTP API. Every call has a deadline; none is sent twice unless the first certainly was not.
    final class ConsulClient: Sendable {
        private static let loops = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        /// A cluster's keys take kilobytes; whoever sends so much is no Consul.
        static let maximumAnswer = 16 << 20
        /// A host that takes longer to accept a connection counts as down.
        static let connectLimit = Duration.seconds(2)

        private struct State {
            var way: Way
            /// The endpoint in use.
            var current = 0
            var isClosed = false
        }
        private let state: Mutex<State>
        /// Told when a host has left a call without an answer in time, or has answered that it cannot serve.
        let onSilence = Mutex<(@Sendable () -> Void)?>(nil)

        /// By which calls go, with the connections that are open. A reload replaces it; it ends with its last call.
        private final class Way: Sendable {
            let http: HTTPClient
            let tls: TLSConfiguration
            let endpoints: [ConsulEndpoint]
            let token: Secret?
            let datacenter: String?
            private let isShut = Mutex(false)

            init(_ settings: ConsulSettings) throws(StoreError) {
                endpoints = settings.endpoints
                token = settings.token
                datacenter = settings.datacenter
                tls = try ConsulClient.tls(settings.encryption)
                var configuration = HTTPClient.Configuration(
                    tlsConfiguration: tls, redirectConfiguration: .disallow,
                    timeout: .init(connect: .nanoseconds(ConsulClient.connectLimit.nanosecondsClamped)))
                configuration.httpVersion = .http1Only
                // A refused connection is an answer; what comes next is decided here. Names are resolved anew for each.
                configuration.connectionPool.retryConnectionEstablishment = false
                configuration.connectionPool.idleTimeout = .seconds(30)
                http = HTTPClient(eventLoopGroupProvider: .shared(ConsulClient.loops), configuration: configuration)
            }

            deinit {
                if mayShut() { http.shutdown { _ in } }
            }

            /// True once.
            func mayShut() -> Bool {
                isShut.withLock { isShut in
                    defer { isShut = true }
                    return !isShut
                }
            }
        }

        /// Throws when certificates or keys cannot be read.
        init(_ settings: ConsulSettings) throws(StoreError) {
            state = Mutex(State(way: try Way(settings)))
        }

        var isClosed: Bool { state.withLock { $0.isClosed } }

        /// The endpoint that calls go to now.
        var endpoint: ConsulEndpoint { state.withLock { $0.way.endpoints[$0.current] } }

        /// Whether another client's certificates and key say the same as ours.
        func encrypts(like other: ConsulClient) -> Bool {
            let theirs = other.state.withLock { $0.way.tls }
            return state.withLock { $0.way.tls }.bestEffortEquals(theirs)
        }

        /// Goes on by the way of another client, which has been tried. Calls that are under way end by the old one.
        func adopt(_ other: ConsulClient) {
            let (way, current) = other.state.withLock { ($0.way, $0.current) }
            state.withLock { state in
                if !state.isClosed { (state.way, state.current) = (way, current) }
            }
        }

        /// Calls the endpoint in use; and another one, while it is certain that the request did not leave.
        func call(_ call: ConsulCall, within limit: Duration) async -> Result<ConsulAnswer, ConsulFailure> {
            let deadline = SystemClock.now() + limit
            var failure = ConsulFailure(.notSent, .timedOut, "no time was left to \(call.purpose)")
            for _ in state.withLock({ $0.way.endpoints.indices }) {
                let left = deadline - SystemClock.now()
                guard left > .zero else { break }
                let (way, index, isClosed) = state.withLock { ($0.way, $0.current, $0.isClosed) }
                if isClosed { return .failure(ConsulFailure(.notSent, .closed, "the store was closed")) }
                switch await Self.send(call, by: way, to: way.endpoints[index], within: left) {
                case .success(let answer):
                    // Without a leader, say: a query that waits there hears nothing either.
                    if answer.status >= 500, !call.isWatch { onSilence.withLock { $0 }?() }
                    return .success(answer)
                case .failure(let reason):
                    failure = reason
                    if reason.error.code == .closed { return .failure(reason) }
                    // A host that keeps silent is left as well, for the calls that follow.
                    state.withLock {
                        if $0.way === way, $0.current == index { $0.current = (index + 1) % way.endpoints.count }
                    }
                    if reason.error.code == .timedOut, !call.isWatch { onSilence.withLock { $0 }?() }
                    if reason.stage == .unknown { return .failure(reason) }
                }
            }
            return .failure(failure)
        }

        /// Ends all connections; calls that are under way fail.
        func close() async {
            let way = state.withLock { state in
                state.isClosed = true
                return state.way
            }
            guard way.mayShut() else { return }
            do { try await way.http.shutdown() } catch {
                // It can only have been shut down before.
            }
        }

        // MARK: Parts

        private static func send(
            _ call: ConsulCall, by way: Way, to endpoint: ConsulEndpoint, within limit: Duration
        ) async -> Result<ConsulAnswer, ConsulFailure> {
            var target = call
            // The agent's own endpoints know no datacenter.
            if let datacenter = way.datacenter, !call.path.hasPrefix("/v1/agent/") {
                target.query.append(("dc", datacenter))
            }
            var request = HTTPClientRequest(url: endpoint.description + target.target)
            request.method = .RAW(value: call.method)
            request.headers.add(name: "user-agent", value: "Matriarch")
            if let token = way.token { request.headers.add(name: "x-consul-token", value: token.value) }
            if let body = call.body {
                request.headers.add(name: "content-type", value: "application/json")
                request.body = .bytes(ByteBuffer(string: body))
            } else if call.method != "GET" {
                request.body = .bytes(ByteBuffer())
            }
            let prepared = request
            return await withTaskGroup(of: Result<ConsulAnswer, ConsulFailure>?.self) { group in
                group.addTask {
                    do {
                        let response = try await way.http.execute(
                            prepared, timeout: .nanoseconds(limit.nanosecondsClamped))
                        let body = try await response.body.collect(upTo: Self.maximumAnswer)
                        return .success(Self.answer(response, Array(buffer: body)))
                    } catch {
                        return .failure(Self.explain(error, call, endpoint, within: limit))
                    }
                }
                group.addTask {
                    try? await Task.sleep(for: limit, tolerance: .milliseconds(1), clock: .continuous)
                    return nil
                }
                let first = await group.next() ?? nil
                group.cancelAll()
                return first
                    ?? .failure(
                        ConsulFailure(
                            .unknown, .timedOut, "\(endpoint) did not answer the request to \(call.purpose) in time"))
            }
        }

        private static func answer(_ response: HTTPClientResponse, _ body: [UInt8]) -> ConsulAnswer {
            func header(_ name: String) -> String? { response.headers.first(name: name) }
            return ConsulAnswer(
                status: Int(response.status.code), index: header("x-consul-index").flatMap { UInt64($0) },
                knowsLeader: header("x-consul-knownleader").map { $0 == "true" },
                lastContact: header("x-consul-lastcontact").flatMap { UInt32($0) }.map { .milliseconds(Int64($0)) },
                body: body)
        }

        private static func explain(
            _ error: any Error, _ call: ConsulCall, _ endpoint: ConsulEndpoint, within limit: Duration
        ) -> ConsulFailure {
            func unreachable(_ stage: ConsulFailure.Stage, _ why: String) -> ConsulFailure {
                ConsulFailure(stage, .unreachable, "cannot \(call.purpose) at \(endpoint): \(why)")
            }
            switch error {
            case let error as HTTPClientError:
                switch error {
                case .connectTimeout: return unreachable(.notSent, "it does not accept connections")
                case .getConnectionFromPoolTimeout: return unreachable(.notSent, "no connection to it came about")
                case .alreadyShutdown: return ConsulFailure(.notSent, .closed, "the store was closed")
                case .tlsHandshakeTimeout: return unreachable(.notSent, "it did not answer the TLS handshake")
                case .deadlineExceeded, .readTimeout, .cancelled:
                    return ConsulFailure(
                        .unknown, .timedOut, "\(endpoint) did not answer the request to \(call.purpose) in time")
                case .remoteConnectionClosed: return unreachable(.unknown, "it closed the connection")
                default: return unreachable(.unknown, error.shortDescription)
                }
            case let error as NIOConnectionError:
                let reasons = error.connectionErrors.map { failure in
                    (failure.error as? IOError).map { String(cString: strerror($0.errnoCode)) } ?? "\(failure.error)"
                }
                return unreachable(
                    .notSent, reasons.isEmpty ? "the host is unknown" : reasons.joined(separator: "; "))
            case is NIOSSLError, is NIOSSLExtraError:
                // The handshake came to no end on our side, so nothing was sent in it.
                return unreachable(.notSent, "TLS: \(error)")
            case is BoringSSLError:
                // A server may refuse our certificate after we have sent everything (TLS 1.3).
                return unreachable(.unknown, "TLS: \(error)")
            case let error as IOError:
                // Only a connection that does not come about is refused; all else may have carried something.
                let why = String(cString: strerror(error.errnoCode))
                return unreachable(error.errnoCode == ECONNREFUSED ? .notSent : .unknown, why)
            case is ChannelError, is HTTPParserError: return unreachable(.unknown, "\(error)")
            default: return unreachable(.unknown, "\(error)")
            }
        }

        private static func tls(_ encryption: ConsulEncryption) throws(StoreError) -> TLSConfiguration {
            var tls = TLSConfiguration.makeClientConfiguration()
            tls.certificateVerification = encryption.verifies ? .fullVerification : .none
            do {
                if let path = encryption.authorityPath {
                    // Read here, so that a wrong file is reported at the start.
                    tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(path))
                }
                if let path = encryption.certificatePath {
                    tls.certificateChain = try NIOSSLCertificate.fromPEMFile(path).map { .certificate($0) }
                    tls.privateKey = .privateKey(try NIOSSLPrivateKey(file: encryption.keyPath ?? path, format: .pem))
                }
            } catch {
                let files = [encryption.authorityPath, encryption.certificatePath, encryption.keyPath].compactMap { $0 }
                throw StoreError(
                    .misconfigured,
                    "cannot read the TLS files \(files.joined(separator: ", ")): \(error); they must be PEM, readable by "
                        + "the agent's account, the key without a passphrase")
            }
            return tls
        }
    }
#endif
