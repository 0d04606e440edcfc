import Glibc
import Synchronization

/// A TCP proxy on the loopback interface that does to its connections what networks and dying servers do.
///
/// It has one thread of its own, and blocks nobody else's. A store whose client is pointed at `address` instead of the
/// server's own passes through it:
///
/// ```swift
/// let proxy = try FaultProxy(to: server.port)
/// let store = openStore("127.0.0.1:\(proxy.port)")
/// await proxy.set(.stalled)       // in force when the call returns
/// await proxy.set(.none)
/// proxy.close()
/// ```
public final class FaultProxy: Sendable {
    /// What happens to the connections, old and new, until another fault is set.
    public enum Fault: Hashable, Sendable {
        /// Everything passes.
        case none
        /// Connections are closed in order (FIN), each new one at once.
        case cut
        /// Connections are reset (RST), each new one at once.
        case reset
        /// Connections are accepted and stay, but nothing passes, in neither direction, not even a close. What was sent
        /// meanwhile arrives when the fault ends: to its server, the client was stopped for that long.
        case stalled
        /// Half-open: requests arrive, answers are lost. Connections that lost something are reset when the fault ends.
        case answersLost
        /// Half-open the other way: requests are lost. Connections that lost something are reset when the fault ends.
        case requestsLost
        /// Each piece takes this long, each way; order is kept.
        case slow(Duration)
        /// The server's answers are replaced by as many bytes of noise. Connections that got some are reset when the
        /// fault ends.
        case garbage
    }

    /// Where it listens, on 127.0.0.1.
    public let port: Int
    private let shared: Shared

    /// What the proxy's thread and its users share.
    final class Shared: Sendable {
        struct State {
            var fault = Fault.none
            var isClosed = false
            /// Those who wait for their fault to be in force.
            var waiters: [CheckedContinuation<Void, Never>] = []
            var connections = 0
            var accepted = 0
        }

        let state = Mutex(State())
        /// Readable while the thread has something to take notice of.
        let wake: Int32
        private let bell: Int32

        init?() {
            var ends: [Int32] = [-1, -1]
            guard socketpair(AF_UNIX, FaultProxy.streamKind, 0, &ends) == 0 else { return nil }
            wake = ends[0]
            bell = ends[1]
        }

        deinit {
            Glibc.close(wake)
            Glibc.close(bell)
        }

        func signal() {
            var one: UInt8 = 1
            _ = write(bell, &one, 1)
        }
    }

    /// Listens on a free port and passes everything to a server.
    /// - Parameters:
    ///   - port: the server's.
    ///   - host: the server's numeric IPv4 address.
    public init(to port: Int, host: String = "127.0.0.1") throws {
        guard let target = Self.address(host, port) else {
            throw CaseFailure("'\(host)' with port \(port) is no address to pass to")
        }
        let listener = socket(AF_INET, Self.streamKind, 0)
        guard listener >= 0, var own = Self.address("127.0.0.1", 0) else { throw CaseFailure("no socket") }
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isListening = withUnsafeMutablePointer(to: &own) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                bind(listener, generic, length) == 0 && listen(listener, 64) == 0
                    && getsockname(listener, generic, &length) == 0
            }
        }
        guard isListening, let shared = Shared() else {
            Glibc.close(listener)
            throw CaseFailure("cannot listen on a loopback port")
        }
        self.port = Int(UInt16(bigEndian: own.sin_port))
        self.shared = shared
        let loop = ProxyLoop(listener: listener, target: target, shared: shared)
        var thread = pthread_t()
        let code = pthread_create(
            &thread, nil,
            { context in
                guard let context else { return nil }
                Unmanaged<ProxyLoop>.fromOpaque(context).takeRetainedValue().run()
                return nil
            }, Unmanaged.passRetained(loop).toOpaque())
        guard code == 0 else { throw CaseFailure("no thread for the proxy: \(code)") }
        pthread_detach(thread)
    }

    deinit {
        close()
    }

    /// The form that most clients take: `127.0.0.1:4711`.
    public var address: String { "127.0.0.1:\(port)" }

    /// How many connections there are now.
    public var connections: Int { shared.state.withLock { $0.connections } }

    /// How many connections were accepted so far.
    public var accepted: Int { shared.state.withLock { $0.accepted } }

    /// Sets the fault; in force when this returns.
    public func set(_ fault: Fault) async {
        await withCheckedContinuation { continuation in
            let isClosed = shared.state.withLock { state in
                if !state.isClosed {
                    state.fault = fault
                    state.waiters.append(continuation)
                }
                return state.isClosed
            }
            if isClosed { continuation.resume() } else { shared.signal() }
        }
    }

    /// Ends all connections and the proxy itself.
    public func close() {
        shared.state.withLock { $0.isClosed = true }
        shared.signal()
    }

    static let streamKind =
        Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)

    private static func address(_ host: String, _ port: Int) -> sockaddr_in? {
        guard let port = UInt16(exactly: port) else { return nil }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        return inet_pton(AF_INET, host, &address.sin_addr) == 1 ? address : nil
    }
}
