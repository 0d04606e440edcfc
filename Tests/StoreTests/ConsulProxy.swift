#if Consul
    import ClusterModel
    import Glibc
    import PluginInterfaces
    import StoreConformance
    import Synchronization

    /// A proxy before a server, which does to connections what networks do. Threads of its own, all ended by `stop`.
    final class ConsulProxy: Sendable {
        enum Mode: Hashable, Sendable {
            /// Both ways go on.
            case pass
            /// Connections are accepted and stay open; nothing goes through any more, either way.
            case stall
            /// Requests go through, answers do not, and the connection ends.
            case loseAnswers
            /// Requests are kept, while the client may give up, and go through when the mode is `pass` again.
            case holdRequests
            /// Answers are replaced by what is no HTTP.
            case garbage
            /// Answers come this many milliseconds late.
            case slow(Int32)
            /// New connections are closed at once, and the present ones.
            case cut
        }

        let port: Int
        private let target: Int
        private let listener: Int32
        private struct State {
            var mode = Mode.pass
            var isStopped = false
            var threads = 0
            var connections = 0
        }
        private let state = Mutex(State())

        init(to target: Int) throws {
            self.target = target
            (listener, port) = try ConsulFiles.listener(backlog: 64)
            spawn { [self] in accept() }
        }

        var address: String { "127.0.0.1:\(port)" }

        var mode: Mode {
            get { state.withLock { $0.mode } }
            set { state.withLock { $0.mode = newValue } }
        }

        /// How many connections there were so far.
        var connections: Int { state.withLock { $0.connections } }

        func stop() {
            state.withLock { $0.isStopped = true }
            let deadline = SystemClock.now() + .seconds(5)
            while state.withLock({ $0.threads > 0 }), SystemClock.now() < deadline { usleep(2000) }
            close(listener)
        }

        private var isStopped: Bool { state.withLock { $0.isStopped } }

        private func spawn(_ body: @escaping @Sendable () -> Void) {
            state.withLock { $0.threads += 1 }
            let box = Unmanaged.passRetained(
                Box { [self] in
                    body()
                    state.withLock { $0.threads -= 1 }
                })
            var thread = pthread_t()
            let code = pthread_create(
                &thread, nil,
                { pointer in
                    guard let pointer else { return nil }
                    Unmanaged<Box>.fromOpaque(pointer).takeRetainedValue().body()
                    return nil
                }, box.toOpaque())
            if code == 0 {
                pthread_detach(thread)
            } else {
                box.release()
                state.withLock { $0.threads -= 1 }
            }
        }

        private final class Box: Sendable {
            let body: @Sendable () -> Void
            init(_ body: @escaping @Sendable () -> Void) { self.body = body }
        }

        /// Whether there is something to read; false after 20 ms, so that a change of mode is seen.
        private static func isReadable(_ descriptor: Int32) -> Bool {
            var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            return poll(&entry, 1, 20) > 0
        }

        private func accept() {
            while !isStopped {
                guard Self.isReadable(listener) else { continue }
                let client = Glibc.accept(listener, nil, nil)
                guard client >= 0 else { continue }
                _ = fcntl(client, F_SETFD, FD_CLOEXEC)
                state.withLock { $0.connections += 1 }
                guard mode != .cut, let server = ConsulFiles.connect(port: target) else {
                    close(client)
                    continue
                }
                spawn { [self] in relay(client, server) }
            }
        }

        private func relay(_ client: Int32, _ server: Int32) {
            defer {
                close(client)
                close(server)
            }
            var buffer = [UInt8](repeating: 0, count: 65536)
            var held: [UInt8] = []
            // While requests are kept the client may go away; what it sent must arrive all the same.
            var isClientGone = false
            while !isStopped {
                let mode = self.mode
                if mode == .cut { return }
                if mode == .stall {
                    usleep(5000)
                    continue
                }
                if mode != .holdRequests, !held.isEmpty {
                    guard write(held, to: server) else { return }
                    held = []
                    if isClientGone {
                        // Long enough for the server to do it.
                        usleep(500_000)
                        return
                    }
                }
                var entries = [
                    pollfd(fd: isClientGone ? -1 : client, events: Int16(POLLIN), revents: 0),
                    pollfd(fd: server, events: Int16(POLLIN), revents: 0),
                ]
                guard poll(&entries, 2, 20) > 0 else { continue }
                if entries[0].revents != 0 {
                    let count = recv(client, &buffer, buffer.count, 0)
                    if count <= 0 {
                        guard !held.isEmpty else { return }
                        isClientGone = true
                    } else if self.mode == .holdRequests {
                        held += buffer.prefix(count)
                    } else if self.mode == .stall {
                        held += buffer.prefix(count)
                    } else {
                        guard write(Array(buffer.prefix(count)), to: server) else { return }
                    }
                }
                if entries[1].revents != 0 {
                    let count = recv(server, &buffer, buffer.count, 0)
                    if count <= 0 { return }
                    switch self.mode {
                    case .loseAnswers: return
                    case .garbage:
                        _ = write((0..<200).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ 11) }, to: client)
                        return
                    case .slow(let milliseconds): usleep(UInt32(milliseconds) * 1000)
                    case .pass, .stall, .holdRequests, .cut: break
                    }
                    guard isClientGone || write(Array(buffer.prefix(count)), to: client) else { return }
                }
            }
        }

        private func write(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
            var sent = 0
            while sent < bytes.count {
                let count = bytes.withUnsafeBytes { pointer in
                    send(
                        descriptor, pointer.baseAddress?.advanced(by: sent), bytes.count - sent,
                        Int32(truncatingIfNeeded: MSG_NOSIGNAL))
                }
                if count <= 0 { return false }
                sent += count
            }
            return true
        }
    }
#endif
