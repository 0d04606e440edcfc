import NIOPosix

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// Turns host names into addresses, on threads that may block.
enum HostResolver {

    /// The addresses of a host in the system's order, as texts; none when it is unknown or the time is up.
    static func addresses(of host: String, within: Duration) async -> [String] {
        if IPNetwork(host) != nil { return [host] }
        return await withDeadline(within) {
            await BlockingThreads.run { resolve(host) }
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

/// Threads for the few calls that block: names and certificates' files.
///
/// Threads of our own, not a Dispatch queue: on Linux the global and the concurrent queues share their threads with
/// Swift's tasks, and a blocked one would hold up every health check for a second.
enum BlockingThreads {
    private static let pool: NIOThreadPool = {
        let pool = NIOThreadPool(numberOfThreads: 2)
        pool.start()
        return pool
    }()

    static func run<Value: Sendable>(_ body: @escaping @Sendable () -> Value) async -> Value {
        await withCheckedContinuation { continuation in
            // The pool is never shut down: every item is run.
            pool.submit { _ in continuation.resume(returning: body()) }
        }
    }
}
