import ClusterModel
import ConfigurationTree
import HighAvailability
import Logging
import PeerClient
import Synchronization
import Testing

@testable import RESTServer

/// Server and client together.
@Suite(.timeLimit(.minutes(1))) struct LivePeerTests {
    @Test func aPeersStatusComesThroughWhole() async throws {
        var status = Sample.live(Sample.replica())
        status.isSilent = true
        status.tags = Tags(["nofailover": true])
        let agent = FakeAgent(status)
        try await withServer(agent) { _ in
        } body: { port, _ in
            let client = try PeerClient(logger: silentLogger)
            let base = "http://127.0.0.1:\(port)/patroni"
            let peer = try await client.status(of: "pg2", apiURL: base, within: .seconds(5)).get()
            #expect(peer.name == "pg2")
            #expect(peer.state == .running)
            #expect(peer.role == .replica)
            #expect(peer.isInRecovery == true)
            #expect(peer.position == LSN(0x400_0060))
            #expect(peer.timeline == Timeline(5))
            #expect(peer.tags.isNoFailover)
            #expect(peer.fenceState == .guarded)
            #expect(peer.isSilent)
            #expect(peer.systemIdentifier == "7268616322854375442")
            // The code of a health check does not matter, only its document.
            let unhealthy = try await client.status(
                of: "pg2", apiURL: "http://127.0.0.1:\(port)/primary", within: .seconds(5)
            ).get()
            #expect(unhealthy.position == LSN(0x400_0060))
            await client.shutdown()
            let late = await client.status(of: "pg2", apiURL: base, within: .seconds(5))
            #expect(throws: PeerError.shutDown) { try late.get() }
        }
    }

    @Test func aStreamTellsChangesAtOnceAndBeats() async throws {
        let agent = FakeAgent(Sample.live(Sample.replica()))
        try await withServer(agent) { _ in
        } body: { port, _ in
            let client = try PeerClient(logger: silentLogger)
            let heard = Heard(client.follow(name: "pg2", apiURL: "http://127.0.0.1:\(port)/patroni", heartbeats: true))
            defer { heard.stop() }
            try await waitUntil("the first status") { heard.statuses.count == 1 }
            try await waitUntil("a heartbeat") { heard.words.contains(.heartbeat) }
            let begin = ContinuousClock.now
            agent.change { $0.sample?.receiver = nil }
            agent.change { $0.isSilent = true }
            try await waitUntil("the change") { heard.statuses.last?.isSilent == true }
            #expect(ContinuousClock.now - begin < .milliseconds(900))
            #expect(heard.words.allSatisfy { if case .ended = $0 { false } else { true } })
            await client.shutdown()
        }
    }

    @Test func theEndOfTheServerIsHeardAtOnceAndItsReturnToo() async throws {
        let agent = FakeAgent(Sample.live(Sample.replica()))
        let client = try PeerClient(logger: silentLogger)
        let (port, heard) = try await withServer(agent) { _ in
        } body: { port, _ in
            let heard = Heard(client.follow(name: "pg2", apiURL: "http://127.0.0.1:\(port)/patroni"))
            try await waitUntil("the first status") { heard.statuses.count == 1 }
            return (port, heard)
        }
        defer { heard.stop() }
        try await waitUntil("the end", within: .seconds(2)) { heard.ends.count == 1 }
        try await withServer(agent) {
            $0.listenPort = port
        } body: { _, _ in
            try await waitUntil("the return") { heard.statuses.count == 2 }
        }
        try await waitUntil("the second end") { heard.ends.count == 2 }
        await client.shutdown()
    }

    @Test func tlsWithAndWithoutCertificates() async throws {
        let directory = try TemporaryDirectory()
        guard let files = try await Certificates.make(in: directory.path) else { return }
        let agent = FakeAgent(Sample.live(Sample.primary()))
        func settings(_ settings: inout RESTSettings) {
            settings.certificatePath = files.server
            settings.keyPath = files.serverKey
            settings.keyPassword = Secret("locked")
            settings.caPath = files.authority
            settings.httpsExtraHeaders = [("Strict-Transport-Security", "max-age=1")]
        }
        // nil: the handshake fails.
        @Sendable func expect(
            _ code: Int?, _ client: PeerClientSettings, _ port: Int, _ method: String,
            _ location: SourceLocation = #_sourceLocation
        ) async throws {
            let client = try PeerClient(settings: client, logger: silentLogger)
            let result = await client.call(
                method: method, base: "https://127.0.0.1:\(port)", path: method == "GET" ? "/primary" : "/restart",
                within: .seconds(5))
            await client.shutdown()
            let status = try? result.get().status
            #expect(status == code, "\(result)", sourceLocation: location)
        }
        let stranger = PeerClientSettings()
        let member = PeerClientSettings(
            certificatePath: files.client, keyPath: files.clientKey, caPath: files.authority, verification: .chain)
        let strict = PeerClientSettings(caPath: files.authority, verification: .chainAndHost)
        let trusting = PeerClientSettings(verification: .chainAndHost)

        try await withServer(agent) {
            settings(&$0)
        } body: { (port: Int, server: RESTServer) async throws -> Void in
            try await expect(200, stranger, port, "POST")
            try await expect(200, strict, port, "GET")
            try await expect(nil, trusting, port, "GET")
            #expect(await server.reloadCertificates() == nil)
            try await expect(200, strict, port, "GET")
        }
        try await withServer(agent) {
            settings(&$0)
            $0.verifyClient = .optional
        } body: { port, _ in
            try await expect(200, stranger, port, "GET")
            try await expect(403, stranger, port, "POST")
            try await expect(200, member, port, "POST")
        }
        try await withServer(agent) {
            settings(&$0)
            $0.verifyClient = .required
        } body: { port, _ in
            try await expect(nil, stranger, port, "GET")
            try await expect(200, member, port, "GET")
        }
    }
}

/// Collects what a stream says.
final class Heard: Sendable {
    private let all = Mutex<[PeerWord]>([])
    private let task = Mutex<Task<Void, Never>?>(nil)

    init(_ words: AsyncStream<PeerWord>) {
        let reader = Task { [self] in
            for await word in words { all.withLock { $0.append(word) } }
        }
        task.withLock { $0 = reader }
    }

    func stop() { task.withLock { $0?.cancel() } }

    var words: [PeerWord] { all.withLock { $0 } }
    var statuses: [PeerStatus] {
        words.compactMap { if case .status(let status) = $0 { status } else { nil } }
    }
    var ends: [String] {
        words.compactMap { if case .ended(let reason) = $0 { reason } else { nil } }
    }
}
