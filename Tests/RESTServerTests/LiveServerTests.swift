import ClusterModel
import ConfigurationTree
import HighAvailability
import Logging
import PeerClient
import ServiceLifecycle
import Synchronization
import Testing

@testable import RESTServer

/// A real server on loopback.
@Suite(.timeLimit(.minutes(1))) struct LiveServerTests {
    let agent = FakeAgent(Sample.live(Sample.primary()))

    private func exchange(_ port: Int, _ text: String) async throws -> String {
        let client = try await RawClient.connected(to: port)
        client.send(text)
        return await client.readToEnd()
    }

    @Test func anHTTP10ClientReadsToTheEnd() async throws {
        try await withServer(agent) { port, _ in
            let answer = try await exchange(port, "GET /patroni HTTP/1.0\r\n\r\n")
            #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"))
            #expect(answer.contains("\"role\":\"primary\""))
            let health = try await exchange(port, "OPTIONS / HTTP/1.0\r\n\r\n")
            #expect(health.hasPrefix("HTTP/1.1 200 OK\r\n"))
            #expect(health.hasSuffix("\r\n\r\n"))
            let head = try await exchange(port, "HEAD /replica HTTP/1.0\r\n\r\n")
            #expect(head.hasPrefix("HTTP/1.1 503 "))
        }
    }

    @Test func oneConnectionServesManyRequests() async throws {
        try await withServer(agent) { port, _ in
            let answer = try await exchange(
                port,
                """
                GET /liveness HTTP/1.1\r\nHost: x\r\n\r\n\
                POST /restart HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}\
                GET /liveness HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n
                """)
            #expect(answer.split(separator: "HTTP/1.1 200 OK").count == 3)
            #expect(agent.requests == [.restart(RestartRequest())])
        }
    }

    @Test func headersAreThoseConfigured() async throws {
        try await withServer(agent) {
            $0.httpExtraHeaders = [("X-Zone", "a")]
            $0.httpsExtraHeaders = [("X-Secure", "b")]
            $0.serverTokens = .minimal
        } body: { port, _ in
            let answer = try await exchange(port, "GET /patroni HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            #expect(answer.contains("\r\nX-Zone: a\r\n"))
            #expect(!answer.contains("X-Secure"))
            #expect(answer.contains("\r\nServer: Patroni/\(advertisedVersion)\r\n"))
            #expect(answer.contains("GMT\r\n"))
        }
    }

    @Test(arguments: [
        ("POST /switchover HTTP/1.1\r\nHost: x\r\n\r\n", "411"),
        ("POST /switchover HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n", "413"),
        ("POST /switchover HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", "400"),
        ("POST /switchover HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{\"lea", "408"),
        ("nonsense\r\n\r\n", "400"), ("GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", "400"),
        ("DELETE /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "501"),
    ])
    func badRequestsAreAnsweredAndTheConnectionEnds(_ request: String, _ code: String) async throws {
        try await withServer(agent) {
            $0.bodyTimeout = .milliseconds(300)
            $0.idleTimeout = .seconds(5)
        } body: { port, _ in
            let answer = try await exchange(port, request)
            #expect(answer.hasPrefix("HTTP/1.1 \(code) "), "\(answer)")
        }
        #expect(agent.requests.isEmpty)
    }

    @Test func manyStuckClientsDelayNobody() async throws {
        try await withServer(agent) {
            $0.idleTimeout = .seconds(2)
            $0.bodyTimeout = .seconds(2)
        } body: { port, _ in
            // Some say nothing, some half a header, some half a body, some do not read.
            var stuck: [RawClient] = []
            for index in 0..<200 {
                let client = try await RawClient.connected(to: port)
                if index % 3 == 1 { client.send("GET / HT") }
                if index % 3 == 2 { client.send("POST /restart HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{") }
                stuck.append(client)
            }
            let peer = try PeerClient(logger: silentLogger)
            // One after another, two hundred of them would take minutes.
            for _ in 0..<20 {
                let answer = try await peer.call(
                    method: "GET", base: "http://127.0.0.1:\(port)", path: "/primary", within: .seconds(15)
                ).get()
                #expect(answer.status == 200)
            }
            // All of them are gone after a while.
            for client in [stuck[0], stuck[1], stuck[2]] {
                let text = await client.readToEnd()
                #expect(text.isEmpty || text.hasPrefix("HTTP/1.1 4"), "\(text)")
            }
            await peer.shutdown()
        }
    }

    @Test func whoeverSaysNothingMakesRoom() async throws {
        try await withServer(agent) {
            $0.idleTimeout = .seconds(60)
        } body: { port, _ in
            let connections = 300
            var idle: [RawClient] = []
            for _ in 0..<connections { idle.append(try await RawClient.connected(to: port)) }
            let answer = try await exchange(port, "GET /primary HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            #expect(answer.hasPrefix("HTTP/1.1 200 "))
            // The first to come was the first to go, without a word.
            #expect(await idle[0].readToEnd() == "")
        }
    }

    @Test func garbageHurtsNobody() async throws {
        var random = Seeded(state: 7)
        let requests = [
            "GET /patroni HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            "POST /switchover HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\nConnection: close\r\n\r\n{\"leader\":\"pg1\"}",
            "PATCH /config HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\n{}x\r\n0\r\n\r\n",
        ]
        let broken = (0..<60).map { index in
            var bytes = Array(requests[index % requests.count].utf8)
            for _ in 0..<Int.random(in: 1...8, using: &random) {
                let at = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: bytes[at] = UInt8.random(in: 0...127, using: &random)
                case 1: bytes.remove(at: at)
                default: bytes.insert(contentsOf: Array("\r\n: ".utf8), at: at)
                }
            }
            return String(decoding: bytes, as: UTF8.self)
        }
        try await withServer(agent) {
            $0.idleTimeout = .seconds(1)
            $0.bodyTimeout = .milliseconds(200)
        } body: { port, _ in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for text in broken { group.addTask { _ = try await exchange(port, text) } }
                try await group.waitForAll()
            }
            let answer = try await exchange(port, "GET /primary HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            #expect(answer.hasPrefix("HTTP/1.1 200 "))
        }
    }

    @Test func passwordsAreAsked() async throws {
        try await withServer(agent) {
            $0.username = "admin"
            $0.password = Secret("s3cret")
        } body: { port, _ in
            let base = "http://127.0.0.1:\(port)/patroni"
            let stranger = try PeerClient(logger: silentLogger)
            let refused = try await stranger.call(
                method: "POST", base: base, path: "/restart", within: .seconds(5)
            ).get()
            #expect(refused.status == 401)
            #expect(refused.body == "no auth header received")
            #expect(
                try await stranger.call(method: "GET", base: base, path: "/config", within: .seconds(5)).get().status
                    == 200)
            await stranger.shutdown()
            let known = try PeerClient(
                settings: PeerClientSettings(username: "admin", password: "s3cret"), logger: silentLogger)
            let done = try await known.call(
                method: "POST", base: base, path: "/restart", body: ["role": "replica"], within: .seconds(5)
            ).get()
            #expect(done.status == 200)
            await known.shutdown()
        }
        #expect(agent.requests == [.restart(RestartRequest(role: .replica))])
    }

    @Test func settingsComeIntoForceWithoutANewListener() async throws {
        try await withServer(agent) { _ in
        } body: { port, server in
            let client = try PeerClient(logger: silentLogger)
            let base = "http://127.0.0.1:\(port)"
            func restart() async throws -> Int {
                try await client.call(method: "POST", base: base, path: "/restart", within: .seconds(5)).get().status
            }
            #expect(try await restart() == 200)
            var settings = RESTSettings(listenHost: "127.0.0.1", listenPort: 0)
            settings.allowlist = ["10.0.0.0/8"]
            #expect(await server.apply(settings) == nil)
            #expect(try await restart() == 403)
            settings.certificatePath = "/nowhere/cert.pem"
            let complaint = try #require(await server.apply(settings))
            #expect(complaint.contains("/nowhere/cert.pem"))
            #expect(try await restart() == 403)
            await client.shutdown()
        }
    }

    @Test func theListenerMoves() async throws {
        let ports = Mutex<[Int]>([])
        let server = RESTServer(
            settings: RESTSettings(listenHost: "127.0.0.1", listenPort: 0), control: agent, logger: silentLogger
        ) { port in ports.withLock { $0.append(port) } }
        let task = Task { try await server.run() }
        defer { task.cancel() }
        try await waitUntil("the first listener") { ports.withLock { $0.count } == 1 }
        var settings = RESTSettings(listenHost: "127.0.0.1", listenPort: 0)
        settings.backlog = 64
        #expect(await server.apply(settings) == nil)
        try await waitUntil("the second listener") { ports.withLock { $0.count } == 2 }
        let client = try PeerClient(logger: silentLogger)
        let all = ports.withLock { $0 }
        #expect(await client.isAlive(apiURL: "http://127.0.0.1:\(all[1])", within: .seconds(5)))
        #expect(await !client.isAlive(apiURL: "http://127.0.0.1:\(all[0])", within: .seconds(5)))
        await client.shutdown()
    }

    @Test func aTakenPortIsNamedWithARemedy() async throws {
        try await withServer(agent) { _ in
        } body: { port, _ in
            let second = RESTServer(
                settings: RESTSettings(listenHost: "127.0.0.1", listenPort: port), control: agent, logger: silentLogger)
            await #expect {
                try await second.run()
            } throws: { error in
                "\(error)".contains("127.0.0.1:\(port)") && "\(error)".contains("another port")
            }
        }
        let nowhere = RESTServer(
            settings: RESTSettings(listenHost: "192.0.2.1", listenPort: 0), control: agent, logger: silentLogger)
        await #expect(throws: RESTServerError.self) { try await nowhere.run() }
        let unknown = RESTServer(
            settings: RESTSettings(listenHost: "no.such.host.invalid", listenPort: 0), control: agent,
            logger: silentLogger)
        await #expect(throws: RESTServerError.self) { try await unknown.run() }
    }

    @Test(arguments: ["", "*", "localhost", "127.0.0.1"])
    func everyFormOfAHostIsListenedOn(_ host: String) async throws {
        try await withServer(agent, host: host) { _ in
        } body: { port, _ in
            let client = try PeerClient(logger: silentLogger)
            #expect(await client.isAlive(apiURL: "http://localhost:\(port)/patroni", within: .seconds(5)))
            if host.isEmpty {
                #expect(await client.isAlive(apiURL: "http://127.0.0.1:\(port)/patroni", within: .seconds(5)))
            }
            await client.shutdown()
        }
    }

    @Test func aGracefulShutdownEndsStreamsAndSlowRequests() async throws {
        agent.state.withLock { $0.performDelay = .seconds(60) }
        let (ports, port) = AsyncStream.makeStream(of: Int.self)
        let server = RESTServer(
            settings: RESTSettings(listenHost: "127.0.0.1", listenPort: 0), control: agent, logger: silentLogger
        ) { port.yield($0) }
        let group = ServiceGroup(configuration: .init(services: [server], logger: silentLogger))
        let run = Task { try await group.run() }
        var iterator = ports.makeAsyncIterator()
        let bound = try #require(await iterator.next())
        let client = try PeerClient(logger: silentLogger)
        let base = "http://127.0.0.1:\(bound)/patroni"
        let words = client.follow(name: "pg1", apiURL: base)
        var heard = words.makeAsyncIterator()
        guard case .status? = await heard.next() else { throw Missing(what: "a status") }
        let slow = Task {
            await client.call(method: "POST", base: base, path: "/restart", within: .seconds(30))
        }
        try await waitUntil("the request") { agent.requests.count == 1 }
        let begin = ContinuousClock.now
        await group.triggerGracefulShutdown()
        var end: PeerWord?
        while let word = await heard.next() {
            if case .ended = word {
                end = word
                break
            }
        }
        #expect(end != nil)
        // The peers hear at once; the agent waits for its callers a little, not for ever.
        #expect(ContinuousClock.now - begin < .seconds(3))
        try await run.value
        #expect(ContinuousClock.now - begin < .seconds(6))
        _ = await slow.value
        await client.shutdown()
    }

    @Test func withoutAuthenticationItIsSaidOnce() async throws {
        let recorder = Recorder()
        let logger = Logger(label: "test") { _ in recorder }
        try await withServer(agent, logger: logger) { _ in
        } body: { _, _ in
        }
        #expect(recorder.lines.filter { $0.contains("no authentication") }.count == 1)
        let other = Recorder()
        try await withServer(agent, logger: Logger(label: "test") { _ in other }) {
            $0.username = "u"
            $0.password = Secret("p")
        } body: { _, _ in
        }
        #expect(other.lines.filter { $0.contains("no authentication") }.isEmpty)
    }
}

/// Keeps what is logged.
struct Recorder: LogHandler {
    private final class Lines: Sendable {
        let all = Mutex<[String]>([])
    }

    private let kept = Lines()
    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level = .info
    var lines: [String] { kept.all.withLock { $0 } }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        kept.all.withLock { $0.append("\(event.message)") }
    }
}

/// The same numbers each time.
struct Seeded: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ state >> 33
    }
}
