import ClusterModel
import Glibc
import PluginInterfaces
import StoreConformance
import Testing

/// What the proxy does to its connections, seen from both ends.
@Suite struct FaultProxyTests {
    /// A blocking socket of the tests; each wait on it is bounded.
    private struct Plug: ~Copyable {
        let descriptor: Int32

        init(_ descriptor: Int32) {
            self.descriptor = descriptor
            var limit = timeval(tv_sec: 0, tv_usec: 300_000)
            setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        }

        deinit { close(descriptor) }

        func say(_ text: String) { _ = send(descriptor, text, text.utf8.count, Int32(MSG_NOSIGNAL)) }

        /// What comes next; nil when nothing does in time, "" at the end, "RST" for a reset.
        func hear() -> String? {
            var buffer = [UInt8](repeating: 0, count: 1000)
            let count = recv(descriptor, &buffer, buffer.count, 0)
            if count < 0 { return errno == ECONNRESET ? "RST" : nil }
            return String(decoding: buffer.prefix(count), as: UTF8.self)
        }
    }

    private static func address(_ port: Int) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        return address
    }

    private static func dial(_ port: Int) throws -> Plug {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = address(port)
        let code = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        try #require(code == 0)
        return Plug(descriptor)
    }

    /// A listener's descriptor and port.
    private static func listener() throws -> (Int32, Int) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = address(0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isListening = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && listen(descriptor, 8) == 0
                    && getsockname(descriptor, $0, &length) == 0
            }
        }
        try #require(isListening)
        return (descriptor, Int(UInt16(bigEndian: address.sin_port)))
    }

    @Test func everyFaultDoesWhatItSays() async throws {
        let (listening, port) = try Self.listener()
        defer { close(listening) }
        let proxy = try FaultProxy(to: port)
        defer { proxy.close() }
        var client = try Self.dial(proxy.port)
        var server = Plug(accept(listening, nil, nil))
        client.say("hello")
        #expect(server.hear() == "hello")
        server.say("welcome")
        #expect(client.hear() == "welcome")
        #expect(proxy.accepted == 1)

        await proxy.set(.stalled)
        client.say("later")
        #expect(server.hear() == nil)
        await proxy.set(.none)
        #expect(server.hear() == "later")

        await proxy.set(.slow(.milliseconds(100)))
        let start = SystemClock.now()
        client.say("slow")
        #expect(server.hear() == "slow")
        #expect(SystemClock.now() - start >= .milliseconds(100))

        await proxy.set(.answersLost)
        client.say("heard")
        #expect(server.hear() == "heard")
        server.say("lost")
        #expect(client.hear() == nil)
        await proxy.set(.none)
        #expect(client.hear() == "RST")

        client = try Self.dial(proxy.port)
        server = Plug(accept(listening, nil, nil))
        await proxy.set(.requestsLost)
        client.say("lost")
        #expect(server.hear() == nil)
        server.say("heard")
        #expect(client.hear() == "heard")
        await proxy.set(.none)
        #expect(server.hear() == "RST")

        client = try Self.dial(proxy.port)
        server = Plug(accept(listening, nil, nil))
        await proxy.set(.garbage)
        let text = String(repeating: "a", count: 100)
        server.say(text)
        let heard = client.hear()
        #expect(heard != nil && heard != text && heard != "")
        await proxy.set(.cut)
        #expect(proxy.connections == 0)
        client = try Self.dial(proxy.port)
        #expect(client.hear() == "")
        await proxy.set(.reset)
        let another = try Self.dial(proxy.port)
        #expect(another.hear() == "RST")
        await proxy.set(.none)

        // A half-closed connection passes as one.
        client = try Self.dial(proxy.port)
        server = Plug(accept(listening, nil, nil))
        client.say("bye")
        shutdown(client.descriptor, Int32(SHUT_WR))
        #expect(server.hear() == "bye")
        #expect(server.hear() == "")
        server.say("answer")
        #expect(client.hear() == "answer")
    }

    @Test func aServerThatIsNotThereEndsTheConnection() async throws {
        let (listening, port) = try Self.listener()
        close(listening)
        let proxy = try FaultProxy(to: port)
        let client = try Self.dial(proxy.port)
        let heard = client.hear()
        #expect(heard == "RST" || heard == "")
        proxy.close()
        await proxy.set(.cut)
    }
}
