#if Etcd
    import ClusterModel
    import Glibc
    import PluginInterfaces
    import StoreConformance
    import Synchronization

    @testable import EtcdStore

    /// A TCP proxy before a server, for what `FaultProxy` does not do: answers that are HTTP and yet no JSON, answers in
    /// pieces of a few bytes, a connection that is cut at the very answer.
    final class EtcdProxy: Sendable {
        enum Mode: Hashable, Sendable {
            case pass
            /// Takes connections and bytes, hands on nothing: half-open, for whoever speaks through it.
            case stall
            /// Requests arrive, answers do not.
            case holdAnswers
            /// Requests arrive, and the connection is cut when the answer comes.
            case cutAnswers
            /// Answers are not of this world.
            case garbage
            /// Answers come so much later, in milliseconds.
            case slow(Int)
            /// Answers come in pieces of some bytes.
            case crumbs(Int)
            /// The connection is cut before a byte of it goes on.
            case refuse
        }

        private struct State {
            var mode = Mode.pass
            /// Raised to cut every connection there is.
            var generation = 0
            var isStopped = false
            var requests = 0
        }

        private let listener: Int32
        let port: Int
        private let target: Int
        private let state = Mutex(State())

        init(to target: Endpoint) throws {
            self.target = target.port
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            guard descriptor >= 0, bindLoopback(descriptor, port: 0), listen(descriptor, 64) == 0,
                let port = boundPort(descriptor)
            else { throw CaseFailure("no proxy") }
            listener = descriptor
            self.port = port
            EtcdBench.Box { [self] in accept() }.start()
        }

        var endpoint: Endpoint { Endpoint(isSecure: false, host: "127.0.0.1", port: port) }

        func set(_ mode: Mode) { state.withLock { $0.mode = mode } }
        func cut() { state.withLock { $0.generation += 1 } }
        /// How many pieces of requests have come.
        var requests: Int { state.withLock { $0.requests } }

        func stop() {
            state.withLock { $0.isStopped = true }
            shutdown(listener, Int32(SHUT_RDWR))
        }

        private var snapshot: (Mode, Int, Bool) { state.withLock { ($0.mode, $0.generation, $0.isStopped) } }

        private func accept() {
            while true {
                let client = Glibc.accept(listener, nil, nil)
                let (mode, generation, isStopped) = snapshot
                if client < 0 {
                    if errno == EINTR, !isStopped { continue }
                    break
                }
                if isStopped || mode == .refuse {
                    close(client)
                    if isStopped { break }
                    continue
                }
                EtcdBench.Box { [self] in serve(client, generation) }.start()
            }
            close(listener)
        }

        private func serve(_ client: Int32, _ generation: Int) {
            let server = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            defer {
                close(client)
                if server >= 0 { close(server) }
            }
            guard server >= 0, withLoopback(target, { connect(server, $0, $1) == 0 }) else { return }
            var buffer = [UInt8](repeating: 0, count: 1 << 16)
            var pendingAnswer = false
            while true {
                let (mode, now, isStopped) = snapshot
                if isStopped || now != generation { return }
                if mode == .stall {
                    usleep(5000)
                    continue
                }
                var polls = [pollfd(fd: client, events: Int16(POLLIN), revents: 0)]
                if mode != .holdAnswers { polls.append(pollfd(fd: server, events: Int16(POLLIN), revents: 0)) }
                guard poll(&polls, nfds_t(polls.count), 10) > 0 else { continue }
                // What arrived while the mode was changed waits for the new one.
                if snapshot.0 != mode { continue }
                if polls[0].revents != 0 {
                    let count = recv(client, &buffer, buffer.count, 0)
                    guard count > 0 else {
                        // The server is not to learn that nobody waits any more: it would drop what it has.
                        if pendingAnswer { usleep(500_000) }
                        return
                    }
                    pendingAnswer = true
                    state.withLock { $0.requests += 1 }
                    guard send(buffer[..<count], to: server) else { return }
                }
                if polls.count > 1, polls[1].revents != 0 {
                    let count = recv(server, &buffer, buffer.count, 0)
                    guard count > 0 else { return }
                    pendingAnswer = false
                    switch mode {
                    case .cutAnswers: return
                    case .garbage:
                        _ = send(
                            Array("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\":[}]\n".utf8)[...], to: client)
                        return
                    case .slow(let milliseconds):
                        usleep(UInt32(milliseconds) * 1000)
                        guard send(buffer[..<count], to: client) else { return }
                    case .crumbs(let size):
                        var rest = buffer[..<count]
                        while !rest.isEmpty {
                            guard send(rest.prefix(size), to: client) else { return }
                            rest = rest.dropFirst(size)
                            usleep(200)
                        }
                    default:
                        guard send(buffer[..<count], to: client) else { return }
                    }
                }
            }
        }

        private func send(_ bytes: ArraySlice<UInt8>, to descriptor: Int32) -> Bool {
            var rest = bytes
            while !rest.isEmpty {
                let count = rest.withUnsafeBytes {
                    Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(truncatingIfNeeded: MSG_NOSIGNAL))
                }
                guard count > 0 else { return false }
                rest = rest.dropFirst(count)
            }
            return true
        }
    }
#endif
