import AsyncHTTPClient
public import ClusterModel
public import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import PluginInterfaces
import Synchronization

/// Calls the REST APIs of the other members, for the agent and for the operator's commands.
///
/// One client is shared by everything in a process; it has one thread of its own. Every call has a deadline and is
/// neither repeated nor redirected.
public final class PeerClient: Sendable {
    private static let loops = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    /// Streams are followed on the thread that reads them: a heartbeat now and then wakes no other.
    private static let loopExecutor = LoopExecutor(loops.next())
    /// Status documents are small; whoever sends more is no member.
    static let maximumAnswer = 4 << 20

    private let http: HTTPClient
    private let settings: PeerClientSettings
    private let logger: Logger
    private let followers = Followers()

    /// Throws when certificates or keys cannot be read.
    public init(settings: PeerClientSettings = PeerClientSettings(), logger: Logger) throws {
        self.settings = settings
        self.logger = logger
        var configuration = HTTPClient.Configuration(
            tlsConfiguration: try Self.tls(settings), redirectConfiguration: .disallow,
            timeout: .init(connect: .seconds(5)))
        configuration.httpVersion = .http1Only
        // A refused connection is an answer; trying again is for whoever asked to decide.
        configuration.connectionPool.retryConnectionEstablishment = false
        // Below the servers' own limit, so that a call does not meet a connection just being closed.
        configuration.connectionPool.idleTimeout = .seconds(4)
        self.http = HTTPClient(eventLoopGroupProvider: .shared(Self.loops), configuration: configuration)
    }

    /// Whoever left without a shutdown leaves no connection behind. (The library would end the process, in debug builds.)
    deinit {
        http.shutdown { _ in }
    }

    /// A member's status. The status code does not matter: a member that is no primary says so with a 503.
    public func status(
        of name: String, apiURL: String, within: Duration
    ) async -> Result<PeerStatus, PeerError> {
        let askedAt = SystemClock.now()
        do throws(PeerError) {
            let url = try PeerURL(apiURL)
            let answer = try await execute(request("GET", url.whole), within: within)
            guard let document = (try? JSONValue.parse(answer.body))?.object else {
                throw .badAnswer("\(url.whole) answered \(answer.status) without a status document")
            }
            return .success(PeerStatus.read(name: name, document: document, askedAt: askedAt))
        } catch {
            return .failure(error)
        }
    }

    /// Whether anything answers HTTP there.
    public func isAlive(apiURL: String, within: Duration) async -> Bool {
        do throws(PeerError) {
            let url = try PeerURL(apiURL)
            _ = try await execute(request("GET", url.with(path: "/liveness")), within: within)
            return true
        } catch {
            return false
        }
    }

    /// Calls any endpoint of a member's API. `base` is its `api_url`, whose path is replaced.
    public func call(
        method: String, base: String, path: String, body: JSONValue? = nil, within: Duration
    ) async -> Result<(status: Int, body: String), PeerError> {
        do throws(PeerError) {
            var request = request(method, try PeerURL(base).with(path: path))
            if let body {
                request.headers.replaceOrAdd(name: "content-type", value: "application/json")
                request.body = .bytes(ByteBuffer(string: body.serialized()))
            }
            let answer = try await execute(request, within: within)
            return .success((answer.status, String(decoding: answer.body, as: UTF8.self)))
        } catch {
            return .failure(error)
        }
    }

    /// Follows a member's words over one long-lived connection, which is made again whenever it ends.
    ///
    /// The stream lasts until it is no longer read or the client is shut down. It keeps the newest words only. Heartbeats
    /// are watched over in any case (their end is an `.ended`); who wants to hear of each pays a wake-up a second.
    public func follow(name: String, apiURL: String, heartbeats: Bool = false) -> AsyncStream<PeerWord> {
        let (words, continuation) = AsyncStream.makeStream(of: PeerWord.self, bufferingPolicy: .bufferingNewest(16))
        let follower = PeerFollower(
            name: name, apiURL: apiURL,
            open: { [weak self] url in
                guard let self else { throw PeerError.shutDown }
                return try await self.openStream(url)
            }, loop: Self.loopExecutor.loop, logger: logger)
        let task = Task(executorPreference: Self.loopExecutor) {
            await follower.run { word in
                if heartbeats || word != .heartbeat { continuation.yield(word) }
            }
            continuation.finish()
        }
        let ticket = followers.add(task)
        continuation.onTermination = { [followers] _ in
            task.cancel()
            followers.remove(ticket)
        }
        return words
    }

    /// Ends all streams and connections. Nothing can be called afterwards.
    public func shutdown() async {
        for task in followers.close() {
            task.cancel()
            await task.value
        }
        try? await http.shutdown()
    }

    // MARK: Parts

    func request(_ method: String, _ url: String) -> HTTPClientRequest {
        var request = HTTPClientRequest(url: url)
        request.method = .RAW(value: method)
        request.headers.add(name: "user-agent", value: "Matriarch")
        if let username = settings.username, let password = settings.password {
            request.setBasicAuth(username: username, password: password)
        }
        return request
    }

    struct Answer: Sendable {
        var status: Int
        var headers: HTTPHeaders
        var body: [UInt8]
    }

    func execute(
        _ request: HTTPClientRequest, within: Duration
    ) async throws(PeerError) -> Answer {
        guard !followers.isClosed else { throw .shutDown }
        let http = http
        let result = await withTaskGroup(of: Result<Answer, PeerError>.self) { group in
            group.addTask {
                do {
                    let response = try await http.execute(request, timeout: TimeAmount(within))
                    let body = try await response.body.collect(upTo: Self.maximumAnswer)
                    return .success(
                        Answer(
                            status: Int(response.status.code), headers: response.headers, body: Array(buffer: body)))
                } catch {
                    return .failure(Self.explained(error, url: request.url, within: within))
                }
            }
            group.addTask {
                try? await Task.sleep(for: within, tolerance: .milliseconds(1), clock: .continuous)
                return .failure(.timedOut(within))
            }
            let first = await group.next() ?? .failure(.shutDown)
            group.cancelAll()
            return first
        }
        return try result.get()
    }

    private func openStream(_ url: String) async throws -> HTTPClientResponse {
        try await http.execute(request("GET", url), deadline: .distantFuture)
    }

    static func explained(_ error: any Error, url: String, within: Duration) -> PeerError {
        if let error = error as? PeerError { return error }
        if let error = error as? HTTPClientError {
            if error == .deadlineExceeded || error == .readTimeout { return .timedOut(within) }
            if error == .alreadyShutdown { return .shutDown }
            return .unreachable("\(url): \(error.shortDescription)")
        }
        if let error = error as? NIOConnectionError {
            let reasons = error.connectionErrors.map { "\($0.error)" }
            return .unreachable("\(url): \(reasons.isEmpty ? "the host is unknown" : reasons.joined(separator: "; "))")
        }
        return .unreachable("\(url): \(error)")
    }

    private static func tls(_ settings: PeerClientSettings) throws -> TLSConfiguration {
        var tls = TLSConfiguration.makeClientConfiguration()
        switch settings.verification {
        case .none: tls.certificateVerification = .none
        case .chain: tls.certificateVerification = .noHostnameVerification
        case .chainAndHost: tls.certificateVerification = .fullVerification
        }
        if let path = settings.caPath { tls.trustRoots = .file(path) }
        if let path = settings.certificatePath {
            tls.certificateChain = try NIOSSLCertificate.fromPEMFile(path).map { .certificate($0) }
            let keyPath = settings.keyPath ?? path
            if let password = settings.keyPassword {
                tls.privateKey = .privateKey(
                    try NIOSSLPrivateKey(file: keyPath, format: .pem) { (done: ([UInt8]) -> Void) in
                        done(Array(password.utf8))
                    })
            } else {
                tls.privateKey = .privateKey(try NIOSSLPrivateKey(file: keyPath, format: .pem))
            }
        }
        return tls
    }
}

/// Runs tasks on an event loop's thread. They must not block, as nothing there may.
private final class LoopExecutor: TaskExecutor {
    let loop: any EventLoop

    init(_ loop: any EventLoop) {
        self.loop = loop
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        loop.execute { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}

/// The tasks behind the streams, so that none outlives the client.
private final class Followers: Sendable {
    private struct State {
        var next = 0
        var tasks: [Int: Task<Void, Never>] = [:]
        var isClosed = false
    }

    private let state = Mutex(State())

    var isClosed: Bool { state.withLock { $0.isClosed } }

    func add(_ task: Task<Void, Never>) -> Int {
        let (ticket, isClosed) = state.withLock { state in
            state.next += 1
            if !state.isClosed { state.tasks[state.next] = task }
            return (state.next, state.isClosed)
        }
        if isClosed { task.cancel() }
        return ticket
    }

    func remove(_ ticket: Int) {
        state.withLock { _ = $0.tasks.removeValue(forKey: ticket) }
    }

    func close() -> [Task<Void, Never>] {
        state.withLock { state in
            state.isClosed = true
            defer { state.tasks = [:] }
            return Array(state.tasks.values)
        }
    }
}
