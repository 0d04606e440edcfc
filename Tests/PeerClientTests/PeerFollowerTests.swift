import ClusterModel
import Dispatch
import Logging
import Synchronization
import Testing

@testable import PeerClient

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// Peers that are no Matriarch, or are in trouble.
@Suite(.timeLimit(.minutes(1))) struct PeerFollowerTests {
    let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    @Test func aPatroniHasNoStream() async throws {
        let body = #"{"state":"running","role":"primary","xlog":{"location":5},"timeline":1}"#
        let server = try PlainServer(
            answer: "HTTP/1.0 503 Service Unavailable\r\nContent-Type: application/json\r\n\r\n\(body)", holds: false)
        defer { server.stop() }
        let client = try PeerClient(logger: logger)
        var words = client.follow(name: "pg1", apiURL: server.url).makeAsyncIterator()
        #expect(await words.next() == .unsupported)
        let status = try await client.status(of: "pg1", apiURL: server.url, within: .seconds(5)).get()
        #expect(status.position == LSN(5))
        await client.shutdown()
        #expect(await words.next() == nil)
    }

    @Test func aPeerThatStopsTalkingIsSilentAfterTwoAndAHalfSeconds() async throws {
        let server = try PlainServer(
            answer: "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n{\"state\":\"running\"}\n",
            holds: true)
        defer { server.stop() }
        let client = try PeerClient(logger: logger)
        let begin = ContinuousClock.now
        var words = client.follow(name: "pg1", apiURL: server.url).makeAsyncIterator()
        guard case .status(let status)? = await words.next() else {
            Issue.record("no status")
            return
        }
        #expect(status.state == .running)
        guard case .ended(let reason)? = await words.next() else {
            Issue.record("no end")
            return
        }
        #expect(reason.contains("no word"))
        let silence = ContinuousClock.now - begin
        #expect(silence > .seconds(2) && silence < .seconds(5), "\(silence)")
        await client.shutdown()
    }

    @Test func aPeerThatIsNotThereIsToldOfOnce() async throws {
        let server = try PlainServer(answer: "", holds: false)
        let url = server.url
        server.stop()
        let client = try PeerClient(logger: logger)
        let begin = ContinuousClock.now
        let result = await client.status(of: "pg1", apiURL: url, within: .seconds(5))
        #expect(throws: PeerError.self) { try result.get() }
        #expect(ContinuousClock.now - begin < .seconds(2))
        #expect(await !client.isAlive(apiURL: url, within: .seconds(5)))
        await client.shutdown()
    }

    @Test func aPeerThatStaysAwayIsToldOfOnce() async throws {
        let server = try PlainServer(answer: "", holds: false)
        defer { server.stop() }
        let client = try PeerClient(logger: logger)
        let words = client.follow(name: "pg1", apiURL: server.url)
        let reader = Task { await words.reduce(into: [PeerWord]()) { $0.append($1) } }
        let end = ContinuousClock.now + .seconds(20)
        while server.accepted < 4, ContinuousClock.now < end { try await Task.sleep(for: .milliseconds(10)) }
        #expect(server.accepted >= 4)
        await client.shutdown()
        #expect(await reader.value.count == 1)
    }

    @Test func aCallThatIsNotAnsweredEndsInTime() async throws {
        let server = try PlainServer(answer: "", holds: true)
        defer { server.stop() }
        let client = try PeerClient(logger: logger)
        let begin = ContinuousClock.now
        let result = await client.status(of: "pg1", apiURL: server.url, within: .milliseconds(300))
        #expect(throws: PeerError.timedOut(.milliseconds(300))) { try result.get() }
        #expect(ContinuousClock.now - begin < .seconds(2))
        let bad = await client.status(of: "pg1", apiURL: "nonsense", within: .seconds(1))
        #expect(throws: PeerError.badURL("nonsense")) { try bad.get() }
        await client.shutdown()
    }

    @Test func anAnswerThatIsNoDocument() async throws {
        let server = try PlainServer(answer: "HTTP/1.0 200 OK\r\n\r\n<html>", holds: false)
        defer { server.stop() }
        let client = try PeerClient(logger: logger)
        let result = await client.status(of: "pg1", apiURL: server.url, within: .seconds(5))
        #expect {
            try result.get()
        } throws: { error in
            if case .badAnswer = error as? PeerError { true } else { false }
        }
        // Any answer is a sign of life.
        #expect(await client.isAlive(apiURL: server.url, within: .seconds(5)))
        await client.shutdown()
    }
}

/// A server that says the same to everybody, and then closes or holds the connection.
final class PlainServer: Sendable {
    private let listener: Int32
    private let held = Mutex<[Int32]>([])
    private let count = Mutex(0)
    var accepted: Int { count.withLock { $0 } }
    let url: String

    init(answer: String, holds: Bool) throws {
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let port = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic -> Bool in
                bind(listener, generic, length) == 0 && listen(listener, 16) == 0
                    && getsockname(listener, generic, &length) == 0
            }
        }
        guard port else { throw PeerError.unreachable("errno \(errno)") }
        self.listener = listener
        self.url = "http://127.0.0.1:\(in_port_t(bigEndian: address.sin_port))/patroni"
        DispatchQueue(label: "plain server").async { [self] in
            while true {
                let connection = accept(listener, nil, nil)
                guard connection >= 0 else {
                    close(listener)
                    return
                }
                count.withLock { $0 += 1 }
                var buffer = [UInt8](repeating: 0, count: 4096)
                _ = recv(connection, &buffer, buffer.count, 0)
                let bytes = Array(answer.utf8)
                _ = send(connection, bytes, bytes.count, Int32(MSG_NOSIGNAL))
                if holds {
                    held.withLock { $0.append(connection) }
                } else {
                    close(connection)
                }
            }
        }
    }

    func stop() {
        // Ends `accept`, now and later; the thread closes the descriptor, which nobody else may get before.
        shutdown(listener, Int32(SHUT_RDWR))
        for connection in held.withLock({ held in
            defer { held = [] }
            return held
        }) {
            close(connection)
        }
    }
}
