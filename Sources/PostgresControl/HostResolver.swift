import ClusterModel
import Dispatch
import Glibc
import PluginInterfaces
import Synchronization

/// Resolves host names off the connection's queue, so that a name server that does not answer costs no more than the
/// deadline.
enum HostResolver {
    /// libpq's `hostaddr` for a host; nil when there is nothing to resolve (a socket, an address, a list of hosts).
    static func addresses(of host: String?, until: Instant) async throws(PostgresError) -> String? {
        guard let host, !host.isEmpty, !host.hasPrefix("/"), !host.hasPrefix("@"), !host.contains(","),
            !isAddress(host)
        else { return nil }
        let answer = Once<Result<String, PostgresError>>()
        DispatchQueue(label: "matriarch.postgres.names").async { answer.finish(resolve(host)) }
        let left = max(0, (until - SystemClock.now()).milliseconds)
        DispatchQueue.global().asyncAfter(deadline: .now() + .milliseconds(Int(clamping: left))) {
            answer.finish(.failure(PostgresError(.timedOut, "the name \(host) could not be resolved in time")))
        }
        return try await answer.value.get()
    }

    static func isAddress(_ host: String) -> Bool {
        var four = in_addr()
        var six = in6_addr()
        return inet_pton(AF_INET, host, &four) == 1 || inet_pton(AF_INET6, host, &six) == 1
    }

    /// All addresses, in the resolver's order: libpq tries one after the other (`localhost` may be `::1` first).
    private static func resolve(_ host: String) -> Result<String, PostgresError> {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(host, nil, &hints, &list)
        defer { if let list { freeaddrinfo(list) } }
        guard code == 0 else {
            return .failure(
                PostgresError(.unreachable, "the name \(host) has no address: \(String(cString: gai_strerror(code)))"))
        }
        var found: [String] = []
        var entry = list
        while let current = entry {
            var buffer = [UInt8](repeating: 0, count: 64)
            let named = buffer.withUnsafeMutableBytes { bytes in
                getnameinfo(
                    current.pointee.ai_addr, current.pointee.ai_addrlen,
                    bytes.baseAddress?.assumingMemoryBound(to: CChar.self), socklen_t(bytes.count), nil, 0,
                    NI_NUMERICHOST)
            }
            if named == 0 {
                let text = String(decoding: buffer.prefix { $0 != 0 }, as: UTF8.self)
                if !found.contains(text) { found.append(text) }
            }
            entry = current.pointee.ai_next
        }
        return found.isEmpty
            ? .failure(PostgresError(.unreachable, "the name \(host) has no address"))
            : .success(found.joined(separator: ","))
    }
}

/// A value that is given once, by whoever is first, and waited for by one task.
final class Once<Value: Sendable>: Sendable {
    private enum State {
        case empty
        case waiting(CheckedContinuation<Value, Never>)
        case given(Value)
    }

    private let state = Mutex<State>(.empty)

    func finish(_ value: Value) {
        let waiter = state.withLock { state -> CheckedContinuation<Value, Never>? in
            switch state {
            case .empty:
                state = .given(value)
                return nil
            case .waiting(let waiter):
                state = .given(value)
                return waiter
            case .given: return nil
            }
        }
        waiter?.resume(returning: value)
    }

    var value: Value {
        get async {
            await withCheckedContinuation { waiter in
                let given = state.withLock { state -> Value? in
                    if case .given(let value) = state { return value }
                    state = .waiting(waiter)
                    return nil
                }
                if let given { waiter.resume(returning: given) }
            }
        }
    }
}
