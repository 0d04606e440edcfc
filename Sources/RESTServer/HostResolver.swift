import Dispatch

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// Turns host names into addresses, on threads that may block.
enum HostResolver {
    private static let queue = DispatchQueue(label: "matriarch.rest.resolver", attributes: .concurrent)

    /// The addresses of a host in the system's order, as texts; none when it is unknown or the time is up.
    static func addresses(of host: String, within: Duration) async -> [String] {
        if IPNetwork(host) != nil { return [host] }
        return await withDeadline(within) {
            await withCheckedContinuation { continuation in
                queue.async { continuation.resume(returning: resolve(host)) }
            }
        } ?? []
    }

    private static func resolve(_ host: String) -> [String] {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, nil, &hints, &list) == 0 else { return [] }
        defer { freeaddrinfo(list) }
        var result: [String] = []
        var next = list
        while let entry = next {
            var buffer = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            let code = getnameinfo(
                entry.pointee.ai_addr, entry.pointee.ai_addrlen, &buffer, socklen_t(buffer.count), nil, 0,
                NI_NUMERICHOST)
            if code == 0 {
                let text = String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
                if !result.contains(text) { result.append(text) }
            }
            next = entry.pointee.ai_next
        }
        return result
    }
}
