#if ZooKeeper
    import Glibc

    /// A server's numeric address, or a name to be resolved to some.
    struct ServerAddress: Hashable, Sendable, CustomStringConvertible {
        /// A name or a numeric address, without brackets.
        var host: String
        var port: Int

        init(host: String, port: Int) {
            self.host = host
            self.port = port
        }

        /// The form that the C client reads: the last colon separates the port, also after an IPv6 address.
        var description: String { "\(host):\(port)" }

        /// The numeric addresses behind the name, in the resolver's order; blocks on the resolver.
        func resolved() -> [ServerAddress] {
            var hints = addrinfo()
            hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
            var list: UnsafeMutablePointer<addrinfo>?
            guard getaddrinfo(host, String(port), &hints, &list) == 0 else { return [] }
            defer { freeaddrinfo(list) }
            var addresses: [ServerAddress] = []
            var next = list
            while let entry = next {
                if let address = ServerAddress(entry.pointee.ai_addr, entry.pointee.ai_addrlen),
                    !addresses.contains(address)
                {
                    addresses.append(address)
                }
                next = entry.pointee.ai_next
            }
            return addresses
        }

        /// The numeric form of a socket address; nil for anything but TCP's.
        init?(_ address: UnsafePointer<sockaddr>?, _ length: socklen_t) {
            guard let address else { return nil }
            let family = Int32(address.pointee.sa_family)
            guard family == AF_INET || family == AF_INET6 else { return nil }
            var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            var service = [CChar](repeating: 0, count: Int(NI_MAXSERV))
            guard
                getnameinfo(
                    address, length, &host, socklen_t(host.count), &service, socklen_t(service.count),
                    NI_NUMERICHOST | NI_NUMERICSERV) == 0,
                let port = Int(Self.text(service))
            else { return nil }
            self.init(host: Self.text(host), port: port)
        }

        private static func text(_ characters: [CChar]) -> String {
            String(decoding: characters.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }

        /// Asks for a peer's address through a function like `getpeername`.
        static func connected(
            _ ask: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Bool
        ) -> ServerAddress? {
            var storage = sockaddr_storage()
            var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
            return withUnsafeMutablePointer(to: &storage) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                    ask(address, &length) ? ServerAddress(address, length) : nil
                }
            }
        }

        /// A socket's own end.
        static func own(of descriptor: Int32) -> ServerAddress? {
            connected { getsockname(descriptor, $0, $1) == 0 }
        }

        /// Whether a host is a numeric address rather than a name.
        static func isNumeric(_ host: String) -> Bool {
            var bytes = [UInt8](repeating: 0, count: 16)
            return inet_pton(AF_INET, host, &bytes) == 1 || inet_pton(AF_INET6, host, &bytes) == 1
        }

        /// Whom a socket is connected to.
        static func peer(of descriptor: Int32) -> ServerAddress? {
            connected { getpeername(descriptor, $0, $1) == 0 }
        }
    }
#endif
