import ClusterModel
import Dispatch
import HighAvailability
import Logging
import PeerClient
import ServiceLifecycle
import Synchronization
import Testing

@testable import RESTServer

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

let silentLogger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// Runs a server on a free port while the body runs, and ends it, whatever the body does.
func withServer<Value: Sendable>(
    _ agent: FakeAgent, host: String = "127.0.0.1", logger: Logger = silentLogger,
    change: (inout RESTSettings) -> Void = { _ in },
    body: @escaping @Sendable (_ port: Int, _ server: RESTServer) async throws -> Value
) async throws -> Value {
    var settings = RESTSettings(listenHost: host, listenPort: 0)
    change(&settings)
    let (ports, port) = AsyncStream.makeStream(of: Int.self)
    let server = RESTServer(settings: settings, control: agent, logger: logger) { port.yield($0) }
    return try await withThrowingTaskGroup(of: Value?.self) { group in
        group.addTask {
            defer { port.finish() }
            try await server.run()
            return nil
        }
        group.addTask {
            for await port in ports { return try await body(port, server) }
            return nil
        }
        defer { group.cancelAll() }
        while let result = try await group.next() {
            if let result { return result }
        }
        throw Missing(what: "the body's result")
    }
}

struct Missing: Error {
    var what: String
}

/// Waits for a condition; says what did not come.
func waitUntil(_ what: String, within: Duration = .seconds(10), _ condition: @Sendable () async -> Bool) async throws {
    let end = ContinuousClock.now + within
    while ContinuousClock.now < end {
        if await condition() { return }
        try await Task.sleep(for: .milliseconds(5))
    }
    throw Missing(what: what)
}

/// A client that does exactly what a test wants, wrong things above all. Blocks; used on threads of its own.
final class RawClient: Sendable {
    private let descriptor: Int32

    /// Connects on a thread that may block.
    static func connected(to port: Int) async throws -> RawClient {
        let result = await withCheckedContinuation { continuation in
            // A serial queue has threads of its own; the global one shares them with Swift's tasks.
            DispatchQueue(label: "raw client").async {
                continuation.resume(returning: Result { try RawClient(port: port) })
            }
        }
        return try result.get()
    }

    private init(port: Int) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
        let code = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard code == 0 else { throw Missing(what: "connection: errno \(errno)") }
        var timeout = timeval(tv_sec: 15, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit {
        close(descriptor)
    }

    @discardableResult
    func send(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        return Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count
    }

    /// Everything until the server ends the connection, or fifteen seconds pass.
    func readToEnd() async -> String {
        await withCheckedContinuation { continuation in
            DispatchQueue(label: "raw client").async { [self] in
                var result: [UInt8] = []
                var buffer = [UInt8](repeating: 0, count: 65_536)
                while true {
                    let count = recv(descriptor, &buffer, buffer.count, 0)
                    if count <= 0 { break }
                    result += buffer.prefix(count)
                }
                continuation.resume(returning: String(decoding: result, as: UTF8.self))
            }
        }
    }
}
