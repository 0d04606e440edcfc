import Glibc
import Synchronization

/// Ports of 127.0.0.1 that nobody listens on, below those that the kernel gives to clients.
package enum LocalPorts {
    private static let next = Mutex(Int.random(in: 18_000..<30_000))

    package static func take() throws -> Int {
        for _ in 0..<5000 {
            let port = next.withLock { port in
                port = port >= 31_999 ? 18_000 : port + 1
                return port
            }
            if isFree(port) { return port }
        }
        throw SystemFailure("no free port")
    }

    package static func isFree(_ port: Int) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var one: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        var address = socketAddress(Host.loopback.address, port)
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}

private func socketAddress(_ text: String, _ port: Int) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    inet_pton(AF_INET, text, &address.sin_addr)
    return address
}

/// A socket that listens on a port of loopback.
func listenOnLoopback(_ port: Int) throws -> Int32 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
    guard descriptor >= 0 else { throw SystemFailure("no socket") }
    var one: Int32 = 1
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
    var address = socketAddress(Host.loopback.address, port)
    let code = withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
    guard code == 0, listen(descriptor, 64) == 0 else {
        let why = String(cString: strerror(errno))
        close(descriptor)
        throw SystemFailure("cannot listen on port \(port): \(why)")
    }
    return descriptor
}

/// A blocking connection to a port with a limit on everything it does.
struct LocalConnection: ~Copyable {
    private let descriptor: Int32

    init(host: Host = .loopback, port: Int, within seconds: Double) throws {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
        guard descriptor >= 0 else { throw SystemFailure("no socket") }
        var limit = timeval(tv_sec: Int(seconds), tv_usec: Int((seconds - seconds.rounded(.down)) * 1e6))
        let size = socklen_t(MemoryLayout<timeval>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, size)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, size)
        var address = socketAddress(host.address, port)
        let code = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard code == 0 else {
            let why = String(cString: strerror(errno))
            close(descriptor)
            throw SystemFailure("\(host.address):\(port): \(why)")
        }
        self.descriptor = descriptor
    }

    deinit {
        close(descriptor)
    }

    /// Gives the socket away, without the limit.
    consuming func release() -> Int32 {
        let copy = dup(descriptor)
        var never = timeval()
        setsockopt(copy, SOL_SOCKET, SO_RCVTIMEO, &never, socklen_t(MemoryLayout<timeval>.size))
        _ = fcntl(copy, F_SETFD, FD_CLOEXEC)
        return copy
    }

    /// Sends a text and reads until the other side closes.
    borrowing func exchange(_ text: String) throws -> [UInt8] {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes {
                send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw SystemFailure("cannot send: \(String(cString: strerror(errno)))") }
            bytes = bytes.dropFirst(count)
        }
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            if count == 0 { return answer }
            guard count > 0 else {
                if errno == EINTR { continue }
                throw SystemFailure("no answer: \(String(cString: strerror(errno)))")
            }
            answer += buffer[..<count]
        }
    }
}
