import ClusterModel
import Dispatch
import Glibc
import PluginInterfaces

/// Whether a server takes connections, asked without logging in.
public enum Readiness: String, Hashable, Sendable {
    /// It would talk to a client (even if only to refuse its password).
    case accepting
    /// It answers that it is starting up, shutting down or not yet consistent.
    case rejecting
    /// No answer.
    case noResponse
}

/// Sends the first message of a connection and looks at the first answer, as `pg_isready` does.
public enum ReadinessProbe {
    /// Asks once; never takes longer than the time given.
    public static func ask(_ endpoint: ServerEndpoint, user: String = "postgres", within time: Duration) async
        -> Readiness
    {
        let until = SystemClock.now() + time
        let addresses: String?
        do throws(PostgresError) {
            addresses = try await HostResolver.addresses(of: endpoint.host, until: until)
        } catch {
            return .noResponse
        }
        let answer = Once<Readiness>()
        DispatchQueue(label: "matriarch.postgres.readiness").async {
            var found = Readiness.noResponse
            let hosts = (addresses ?? endpoint.host ?? "").split(separator: ",").map(String.init)
            for host in hosts.isEmpty ? [""] : hosts {
                found = ask(host: host, port: endpoint.port, user: user, until: until)
                if found != .noResponse { break }
            }
            answer.finish(found)
        }
        return await answer.value
    }

    private static func ask(host: String, port: Int, user: String, until: Instant) -> Readiness {
        let socket = open(host: host, port: port, until: until)
        guard socket >= 0 else { return .noResponse }
        defer { close(socket) }
        let message = startup(user: user)
        var sent = 0
        while sent < message.count {
            guard wait(socket, Int16(POLLOUT), until) else { return .noResponse }
            let count = message[sent...].withUnsafeBytes { send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if count < 0 {
                if errno == EAGAIN || errno == EINTR { continue }
                return .noResponse
            }
            sent += count
        }
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 2048)
        while true {
            if let readiness = judge(answer) { return readiness }
            guard wait(socket, Int16(POLLIN), until) else { return .noResponse }
            let count = recv(socket, &buffer, buffer.count, 0)
            if count < 0, errno == EAGAIN || errno == EINTR { continue }
            guard count > 0 else { return .noResponse }
            answer.append(contentsOf: buffer[0..<count])
        }
    }

    /// Judges the first bytes of the answer; nil: more are needed.
    static func judge(_ answer: [UInt8]) -> Readiness? {
        guard let kind = answer.first else { return nil }
        // An authentication request, or the offer of another protocol version.
        if kind == UInt8(ascii: "R") || kind == UInt8(ascii: "v") { return .accepting }
        guard kind == UInt8(ascii: "E") else { return .noResponse }
        guard answer.count >= 5 else { return nil }
        let length = answer[1...4].reduce(0) { $0 << 8 | Int($1) }
        guard length < 30_000 else { return .noResponse }
        guard answer.count >= 1 + length else { return nil }
        for field in answer[5..<(1 + length)].split(separator: 0) where field.first == UInt8(ascii: "C") {
            return String(decoding: field.dropFirst(), as: UTF8.self) == "57P03" ? .rejecting : .accepting
        }
        return .accepting
    }

    private static func startup(user: String) -> [UInt8] {
        var body: [UInt8] = [0, 3, 0, 0]
        for text in ["user", user, "database", "postgres", "application_name", "Matriarch readiness"] {
            body += Array(text.utf8) + [0]
        }
        body.append(0)
        let length = UInt32(body.count + 4)
        return (0..<4).map { UInt8(truncatingIfNeeded: length >> (24 - 8 * UInt32($0))) } + body
    }

    private static func wait(_ socket: Int32, _ events: Int16, _ until: Instant) -> Bool {
        while true {
            let left = (until - SystemClock.now()).nanosecondsClamped
            guard left > 0 else { return false }
            var poller = pollfd(fd: socket, events: events, revents: 0)
            let count = poll(&poller, 1, Int32(clamping: (left + 999_999) / 1_000_000))
            if count > 0 { return true }
            if count < 0, errno != EINTR { return false }
        }
    }

    private static func open(host: String, port: Int, until: Instant) -> Int32 {
        if host.isEmpty || host.hasPrefix("/") {
            let directories = host.isEmpty ? ["/var/run/postgresql", "/tmp"] : [host]
            for directory in directories {
                let socket = openLocal("\(directory)/.s.PGSQL.\(port)")
                if socket >= 0 { return socket }
            }
            return -1
        }
        var hints = addrinfo()
        hints.ai_flags = AI_NUMERICHOST
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, String(port), &hints, &list) == 0, let list else { return -1 }
        defer { freeaddrinfo(list) }
        let socket = make(list.pointee.ai_family)
        guard socket >= 0 else { return -1 }
        if connect(socket, list.pointee.ai_addr, list.pointee.ai_addrlen) != 0 {
            guard errno == EINPROGRESS, wait(socket, Int16(POLLOUT), until) else {
                close(socket)
                return -1
            }
            var code: Int32 = 0
            var length = socklen_t(MemoryLayout<Int32>.size)
            guard getsockopt(socket, SOL_SOCKET, SO_ERROR, &code, &length) == 0, code == 0 else {
                close(socket)
                return -1
            }
        }
        return socket
    }

    private static func openLocal(_ path: String) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return -1 }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let socket = make(AF_UNIX)
        guard socket >= 0 else { return -1 }
        let code = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard code == 0 else {
            close(socket)
            return -1
        }
        return socket
    }

    private static func make(_ family: Int32) -> Int32 {
        let descriptor = socket(family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
        return descriptor
    }
}
