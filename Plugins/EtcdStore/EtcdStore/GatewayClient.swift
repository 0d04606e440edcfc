#if Etcd
    import AsyncHTTPClient
    import ClusterModel
    import ConfigurationTree
    import Dispatch
    import Logging
    import NIOCore
    import NIOHTTP1
    import NIOPosix
    import NIOSSL
    import PluginInterfaces

    /// Speaks HTTP with endpoints: one request, one answer, no repetition of its own.
    final class GatewayClient: Sendable {
        private static let loops = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        /// Larger than any cluster's keys; what is larger comes from no etcd.
        private static let maximumAnswer = 64 << 20

        private let http: HTTPClient
        private let tls: TLSConfiguration
        private let connectTimeout: Duration

        /// Throws when certificates or the key cannot be read.
        init(_ settings: EtcdSettings) throws {
            tls = try Self.tls(settings)
            var configuration = HTTPClient.Configuration(
                tlsConfiguration: tls, redirectConfiguration: .disallow,
                timeout: .init(connect: TimeAmount(settings.connectTimeout)))
            configuration.httpVersion = .http1Only
            // A refused connection is an answer; who asked goes on to the next server.
            configuration.connectionPool.retryConnectionEstablishment = false
            configuration.connectionPool.idleTimeout = .seconds(60)
            connectTimeout = settings.connectTimeout
            http = HTTPClient(eventLoopGroupProvider: .shared(Self.loops), configuration: configuration)
        }

        deinit {
            http.shutdown(queue: DispatchQueue.global()) { _ in }
        }

        /// Whether the files with certificates and the key say the same as those of another client did.
        func encrypts(like other: GatewayClient) -> Bool { tls.bestEffortEquals(other.tls) }

        /// Posts to a path; the answer is the JSON object of status 200.
        func post(
            _ path: String, _ body: JSONValue, at endpoint: Endpoint, token: Secret?, until deadline: Instant
        ) async throws(GatewayFailure) -> JSONObject {
            let request = Self.request(path, body, endpoint, token)
            let (status, bytes) = try await exchange(request, endpoint, until: deadline)
            return try Self.judge(status, bytes, endpoint)
        }

        /// Gets a document that is no call of the gateway: `/version`, `/members`.
        func get(_ path: String, at endpoint: Endpoint, until deadline: Instant) async throws(GatewayFailure)
            -> JSONValue
        {
            let request = HTTPClientRequest(url: endpoint.url + path)
            let (status, bytes) = try await exchange(request, endpoint, until: deadline)
            guard status == 200, let value = try? JSONValue.parse(bytes) else {
                throw GatewayFailure(stage: .malformed, message: "\(endpoint)\(path) answered with status \(status)")
            }
            return value
        }

        private static func request(
            _ path: String, _ body: JSONValue, _ endpoint: Endpoint, _ token: Secret?
        ) -> HTTPClientRequest {
            var request = HTTPClientRequest(url: endpoint.url + path)
            request.method = .POST
            request.headers.add(name: "content-type", value: "application/json")
            request.headers.add(name: "user-agent", value: "Matriarch")
            if let token { request.headers.add(name: "authorization", value: token.value) }
            request.body = .bytes(ByteBuffer(string: body.serialized()))
            return request
        }

        private func exchange(
            _ request: HTTPClientRequest, _ endpoint: Endpoint, until deadline: Instant
        ) async throws(GatewayFailure) -> (status: Int, body: [UInt8]) {
            let limit = deadline - SystemClock.now()
            guard limit > .zero else {
                throw GatewayFailure(
                    stage: .notSent, message: "no time was left to ask \(endpoint)", isTimeout: true)
            }
            let http = http
            typealias Outcome = Result<(status: Int, body: [UInt8]), GatewayFailure>
            let outcome = await withTaskGroup(of: Outcome.self) { group in
                group.addTask {
                    do {
                        let response = try await http.execute(request, timeout: TimeAmount(limit))
                        let body = try await response.body.collect(upTo: Self.maximumAnswer)
                        return .success((Int(response.status.code), Array(buffer: body)))
                    } catch {
                        return .failure(Self.explained(error, endpoint))
                    }
                }
                // The client's own clock stands while the host sleeps.
                group.addTask {
                    try? await Task.sleep(for: limit, tolerance: .milliseconds(1), clock: .continuous)
                    return .failure(
                        GatewayFailure(stage: .unknown, message: "\(endpoint) did not answer in time", isTimeout: true))
                }
                let first =
                    await group.next() ?? .failure(GatewayFailure(stage: .unknown, message: "\(endpoint): cancelled"))
                group.cancelAll()
                return first
            }
            return try outcome.get()
        }

        // MARK: Streams

        /// Begins a call whose answer comes in pieces, and hands each to `receive` until the stream ends or the task is
        /// cancelled. The first piece must be there within `start`.
        ///
        /// Returns why the stream ended. `receive` ends it by returning false.
        func stream(
            _ path: String, _ body: JSONValue, at endpoint: Endpoint, token: Secret?, headers: [(String, String)],
            start: Duration, receive: @escaping @Sendable ([UInt8]) -> Bool
        ) async -> GatewayFailure {
            var request = Self.request(path, body, endpoint, token)
            for (name, value) in headers { request.headers.add(name: name, value: value) }
            let http = http
            let finalRequest = request
            let (began, beginning) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
            return await withTaskGroup(of: GatewayFailure?.self) { group in
                group.addTask {
                    do {
                        let response = try await http.execute(finalRequest, deadline: .distantFuture)
                        guard response.status == .ok else {
                            let body = try await response.body.collect(upTo: 1 << 20)
                            do throws(GatewayFailure) {
                                _ = try Self.judge(Int(response.status.code), Array(buffer: body), endpoint)
                            } catch {
                                return error
                            }
                            return GatewayFailure(stage: .malformed, message: "\(endpoint) began no stream")
                        }
                        for try await piece in response.body {
                            beginning.yield()
                            guard receive(Array(buffer: piece)) else { break }
                        }
                        return GatewayFailure(stage: .unknown, message: "\(endpoint) ended the watch")
                    } catch {
                        return Self.explained(error, endpoint)
                    }
                }
                group.addTask {
                    await withTaskGroup(of: Bool.self) { inner in
                        inner.addTask {
                            for await _ in began { return true }
                            return true
                        }
                        inner.addTask {
                            try? await Task.sleep(for: start, tolerance: .milliseconds(10), clock: .continuous)
                            return false
                        }
                        let hasBegun = await inner.next() ?? true
                        inner.cancelAll()
                        if hasBegun { return nil }
                        return GatewayFailure(
                            stage: .unknown, message: "\(endpoint) did not begin the watch in time", isTimeout: true)
                    }
                }
                var end: GatewayFailure?
                while end == nil, let next = await group.next() { end = next }
                group.cancelAll()
                return end ?? GatewayFailure(stage: .unknown, message: "\(endpoint): cancelled")
            }
        }

        // MARK: What answers mean

        static func judge(
            _ status: Int, _ bytes: [UInt8], _ endpoint: Endpoint
        ) throws(GatewayFailure) -> JSONObject {
            let object = (try? JSONValue.parse(bytes))?.object
            if status == 200 {
                guard let object else {
                    throw GatewayFailure(stage: .malformed, message: "\(endpoint) answered something that is no JSON")
                }
                if let refusal = refusal(status, object) {
                    throw GatewayFailure(stage: .refused(refusal), message: "\(endpoint) says: \(refusal.message)")
                }
                return object
            }
            let refusal =
                object.flatMap { Self.refusal(status, $0) }
                ?? Refusal(status: status, code: nil, message: plain(status, bytes))
            throw GatewayFailure(stage: .refused(refusal), message: "\(endpoint) says: \(refusal.message)")
        }

        /// What somebody says who does not answer in JSON: a proxy, or etcd before the request has reached its gateway.
        private static func plain(_ status: Int, _ bytes: [UInt8]) -> String {
            let text = String(decoding: bytes.prefix(200), as: UTF8.self)
            let isText =
                !text.isEmpty && text.unicodeScalars.allSatisfy { $0.value >= 32 || $0.properties.isWhitespace }
            let shown =
                text.contains("<") || !isText
                ? "" : ", " + text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
            return "HTTP status \(status)\(shown)"
        }

        /// The error in an object, in the forms of the gateway's versions; nil when there is none.
        ///
        /// `{"error": text, "code": n}` and, from 3.6 on, `{"message": text, "code": n}`; in a stream
        /// `{"error": {"grpc_code": n, "message": text}}`.
        static func refusal(_ status: Int, _ object: JSONObject) -> Refusal? {
            if let inner = object["error"]?.object {
                let code = inner["grpc_code"]?.integer ?? inner["code"]?.integer
                return Refusal(
                    status: status, code: code.flatMap { Int(exactly: $0) },
                    message: inner["message"]?.string ?? "no reason")
            }
            guard let text = object["error"]?.string ?? object["message"]?.string else { return nil }
            return Refusal(status: status, code: object["code"]?.integer.flatMap { Int(exactly: $0) }, message: text)
        }

        static func explained(_ error: any Error, _ endpoint: Endpoint) -> GatewayFailure {
            if let error = error as? GatewayFailure { return error }
            if let error = error as? HTTPClientError {
                switch error {
                case .connectTimeout, .tlsHandshakeTimeout, .getConnectionFromPoolTimeout:
                    return GatewayFailure(
                        stage: .notSent, message: "\(endpoint) takes no connection in time", isTimeout: true)
                case .deadlineExceeded, .readTimeout:
                    return GatewayFailure(
                        stage: .unknown, message: "\(endpoint) did not answer in time", isTimeout: true)
                case .alreadyShutdown:
                    return GatewayFailure(stage: .notSent, message: "the store was closed")
                case .invalidURL, .emptyHost:
                    return GatewayFailure(stage: .notSent, message: "\(endpoint) is no usable address")
                default:
                    return GatewayFailure(stage: .unknown, message: "\(endpoint): \(error.shortDescription)")
                }
            }
            if let error = error as? NIOConnectionError {
                let reasons = error.connectionErrors.map { "\($0.error)" }
                let text = reasons.isEmpty ? "the host is unknown" : reasons.joined(separator: "; ")
                return GatewayFailure(stage: .notSent, message: "\(endpoint): \(text)")
            }
            if let error = error as? NIOSSLExtraError {
                return GatewayFailure(
                    stage: .notSent,
                    message:
                        "\(endpoint): \(error); check etcd3.cacert, and that the server's certificate names this host")
            }
            if let error = error as? BoringSSLError {
                // After the handshake as well: a server refuses our certificate (TLS 1.3) once the request is under way.
                return GatewayFailure(
                    stage: .unknown, message: "\(endpoint): \(error); check etcd3.cacert, cert and key")
            }
            if let error = error as? NIOSSLError, case .handshakeFailed(let reason) = error {
                return GatewayFailure(
                    stage: .notSent, message: "\(endpoint): \(reason); check etcd3.cacert, cert and key")
            }
            if let error = error as? IOError, error.errnoCode == ECONNREFUSED {
                return GatewayFailure(stage: .notSent, message: "\(endpoint): \(error)")
            }
            return GatewayFailure(stage: .unknown, message: "\(endpoint): \(error)")
        }

        private static func tls(_ settings: EtcdSettings) throws -> TLSConfiguration {
            var tls = TLSConfiguration.makeClientConfiguration()
            if let path = settings.caPath {
                // Read now, so that a wrong path is told of at the start.
                tls.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(path))
            }
            if let path = settings.certificatePath {
                tls.certificateChain = try NIOSSLCertificate.fromPEMFile(path).map { .certificate($0) }
                tls.privateKey = .privateKey(
                    try NIOSSLPrivateKey(file: settings.keyPath ?? path, format: .pem))
            }
            return tls
        }
    }
#endif
