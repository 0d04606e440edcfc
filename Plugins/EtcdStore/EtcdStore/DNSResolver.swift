#if Etcd
    import ClusterModel
    import Dispatch
    import Glibc
    import PluginInterfaces

    /// Where DNS is asked.
    struct NameServer: Hashable, Sendable {
        /// A numeric address.
        var address: String
        var port: UInt16 = 53
    }

    /// Asks name servers for SRV records, over UDP and where that is too small over TCP.
    ///
    /// The system's resolver library answers such questions as well, but blocks for as long as it likes and cannot be
    /// told whom to ask.
    struct DNSResolver: Sendable {
        private static let queue = DispatchQueue(label: "etcd.dns", attributes: .concurrent)
        /// How long one server may take before the next is asked.
        private static let patience = Duration.milliseconds(1500)

        var servers: [NameServer]

        /// What /etc/resolv.conf names; this host's own where it names none.
        static func system() -> DNSResolver {
            DNSResolver(servers: parse(readFile("/etc/resolv.conf") ?? ""))
        }

        static func parse(_ text: String) -> [NameServer] {
            let servers = text.split(whereSeparator: \.isNewline).compactMap { line -> NameServer? in
                let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
                guard words.count >= 2, words[0] == "nameserver" else { return nil }
                return NameServer(address: String(words[1]))
            }
            return servers.isEmpty ? [NameServer(address: "127.0.0.1")] : Array(servers.prefix(3))
        }

        /// The records of a name, best first; empty when there are none. An error says why nobody could tell.
        func services(_ name: String, until deadline: Instant) async throws(StoreError) -> [ServiceRecord] {
            let result = await withCheckedContinuation { continuation in
                Self.queue.async { continuation.resume(returning: ask(name, until: deadline)) }
            }
            return try result.get()
        }

        private func ask(_ name: String, until deadline: Instant) -> Result<[ServiceRecord], StoreError> {
            var why = "no name server is configured"
            for _ in 0..<2 {
                for server in servers {
                    let limit = min(deadline, SystemClock.now() + Self.patience)
                    guard SystemClock.now() < deadline else { break }
                    switch exchange(name, server, SOCK_DGRAM, limit) {
                    case .records(let records)?: return .success(records)
                    case .truncated?:
                        if case .records(let records)? = exchange(name, server, SOCK_STREAM, limit) {
                            return .success(records)
                        }
                        why = "\(server.address) gave no whole answer"
                    case .failed(let code)?: why = "\(server.address) answered with code \(code)"
                    case nil: why = "\(server.address) did not answer"
                    }
                }
            }
            return .failure(StoreError(.unreachable, "cannot look up \(name): \(why)"))
        }

        private func exchange(
            _ name: String, _ server: NameServer, _ kind: __socket_type, _ deadline: Instant
        ) -> DNSMessage.Answer? {
            let id = UInt16.random(in: 0 ... .max)
            guard let question = DNSMessage.query(name, id: id),
                let socket = DNSSocket(server, kind, deadline)
            else { return nil }
            let isStream = kind == SOCK_STREAM
            let prefix = isStream ? [UInt8(question.count >> 8), UInt8(question.count & 0xFF)] : []
            guard socket.send(prefix + question) else { return nil }
            while let bytes = isStream ? socket.receiveFramed() : socket.receive() {
                // Not ours: a late answer to an earlier question, or a forged one.
                if let answer = DNSMessage.answer(bytes, to: name, id: id) { return answer }
            }
            return nil
        }

        private static func readFile(_ path: String) -> String? {
            let descriptor = open(path, O_RDONLY | O_CLOEXEC)
            guard descriptor >= 0 else { return nil }
            defer { close(descriptor) }
            var buffer = [UInt8](repeating: 0, count: 1 << 16)
            let count = read(descriptor, &buffer, buffer.count)
            return count < 0 ? nil : String(decoding: buffer.prefix(count), as: UTF8.self)
        }
    }

    /// One socket to one name server. Blocks, up to its deadline.
    private final class DNSSocket {
        private let descriptor: Int32
        private let deadline: Instant

        init?(_ server: NameServer, _ kind: __socket_type, _ deadline: Instant) {
            self.deadline = deadline
            var hints = addrinfo()
            hints.ai_socktype = Int32(kind.rawValue)
            hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV
            var list: UnsafeMutablePointer<addrinfo>?
            guard getaddrinfo(server.address, String(server.port), &hints, &list) == 0, let found = list else {
                return nil
            }
            defer { freeaddrinfo(list) }
            let flags = Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
            descriptor = socket(found.pointee.ai_family, Int32(kind.rawValue) | flags, 0)
            guard descriptor >= 0 else { return nil }
            let code = connect(descriptor, found.pointee.ai_addr, found.pointee.ai_addrlen)
            guard code == 0 || errno == EINPROGRESS else {
                close(descriptor)
                return nil
            }
        }

        deinit {
            close(descriptor)
        }

        private func wait(_ events: Int32) -> Bool {
            while true {
                let left = (deadline - SystemClock.now()).milliseconds
                guard left > 0 else { return false }
                var poller = pollfd(fd: descriptor, events: Int16(events), revents: 0)
                let count = poll(&poller, 1, Int32(clamping: left))
                if count > 0 { return true }
                if count == 0 || errno != EINTR { return false }
            }
        }

        func send(_ bytes: [UInt8]) -> Bool {
            var rest = bytes[...]
            while !rest.isEmpty {
                guard wait(POLLOUT) else { return false }
                let count = rest.withUnsafeBytes {
                    Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(truncatingIfNeeded: MSG_NOSIGNAL))
                }
                guard count > 0 else { return false }
                rest = rest.dropFirst(count)
            }
            return true
        }

        /// One datagram, or a part of a stream; nil at its end and when the time is over.
        func receive() -> [UInt8]? {
            guard wait(POLLIN) else { return nil }
            var buffer = [UInt8](repeating: 0, count: 1 << 16)
            let count = recv(descriptor, &buffer, buffer.count, 0)
            return count > 0 ? Array(buffer.prefix(count)) : nil
        }

        /// One message of a stream, which its length precedes.
        func receiveFramed() -> [UInt8]? {
            var bytes: [UInt8] = []
            while true {
                if bytes.count >= 2 {
                    let length = Int(bytes[0]) << 8 | Int(bytes[1])
                    if bytes.count >= length + 2 { return Array(bytes[2..<length + 2]) }
                }
                guard let more = receive() else { return nil }
                bytes += more
            }
        }
    }
#endif
