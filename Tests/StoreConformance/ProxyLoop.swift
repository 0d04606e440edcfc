import ClusterModel
import Glibc
import PluginInterfaces
import Synchronization

/// The thread of a `FaultProxy`: all of its sockets, in one `poll`.
final class ProxyLoop: @unchecked Sendable {
    // Touched by the proxy's thread alone once that runs.
    private let listener: Int32
    private let target: sockaddr_in
    private let shared: FaultProxy.Shared
    private var connections: [Connection] = []
    private var fault = FaultProxy.Fault.none
    private var noise = SystemRandomNumberGenerator()
    private var buffer = [UInt8](repeating: 0, count: 64 * 1024)

    private static let mostWaiting = 256 * 1024

    /// What goes one way.
    private struct Lane {
        var pieces: [(due: Instant, bytes: [UInt8])] = []
        var waiting = 0
        /// Nothing more comes.
        var isEnded = false
        /// And the other side was told.
        var isShut = false
    }

    private struct Connection {
        let client: Int32
        let server: Int32
        var requests = Lane()
        var answers = Lane()
        /// Lost or got something that no stream loses or gets: of no use once the fault ends.
        var isTainted = false
    }

    init(listener: Int32, target: sockaddr_in, shared: FaultProxy.Shared) {
        self.listener = listener
        self.target = target
        self.shared = shared
    }

    func run() {
        while takeFault() {
            var polled = [
                pollfd(fd: shared.wake, events: Int16(POLLIN), revents: 0),
                pollfd(fd: listener, events: Int16(POLLIN), revents: 0),
            ]
            let now = SystemClock.now()
            for connection in connections {
                polled.append(request(connection.client, reads: connection.requests, writes: connection.answers, now))
                polled.append(request(connection.server, reads: connection.answers, writes: connection.requests, now))
            }
            guard poll(&polled, nfds_t(polled.count), timeout(now)) >= 0 || errno == EINTR else { break }
            if polled[0].revents != 0 {
                var bells = [UInt8](repeating: 0, count: 64)
                _ = read(shared.wake, &bells, bells.count)
            }
            move(polled.dropFirst(2).map(\.revents))
            if polled[1].revents != 0 { accept() }
            shared.state.withLock { $0.connections = connections.count }
        }
        for connection in connections { end(connection, reset: false) }
        Glibc.close(listener)
        let waiters = shared.state.withLock { state in
            state.isClosed = true
            state.connections = 0
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume() }
    }

    /// Puts the fault asked for in force; false once the proxy is closed.
    private func takeFault() -> Bool {
        let (wanted, isClosed, waiters) = shared.state.withLock { state in
            defer { state.waiters = [] }
            return (state.fault, state.isClosed, state.waiters)
        }
        defer { for waiter in waiters { waiter.resume() } }
        if isClosed { return false }
        if wanted != fault {
            for connection in connections where connection.isTainted { end(connection, reset: true) }
            connections.removeAll(where: \.isTainted)
            fault = wanted
        }
        if fault == .cut || fault == .reset {
            for connection in connections { end(connection, reset: fault == .reset) }
            connections = []
        }
        shared.state.withLock { $0.connections = connections.count }
        return true
    }

    private func request(_ socket: Int32, reads: Lane, writes: Lane, _ now: Instant) -> pollfd {
        var events: Int32 = 0
        if fault != .stalled {
            if !reads.isEnded, reads.waiting < Self.mostWaiting { events |= POLLIN }
            if let first = writes.pieces.first, first.due <= now { events |= POLLOUT }
        }
        // Without interest it is left out: a hang-up would wake the thread over and over.
        return pollfd(fd: events == 0 ? -1 : socket, events: Int16(events), revents: 0)
    }

    private func timeout(_ now: Instant) -> Int32 {
        guard fault != .stalled else { return -1 }
        let due = connections.flatMap { [$0.requests.pieces.first?.due, $0.answers.pieces.first?.due] }.compactMap(
            \.self)
        guard let next = due.min() else { return -1 }
        return Int32(clamping: max(0, (next - now).milliseconds) + (next > now ? 1 : 0))
    }

    private func accept() {
        while true {
            let client = Glibc.accept(listener, nil, nil)
            guard client >= 0 else { return }
            _ = fcntl(client, F_SETFD, FD_CLOEXEC)
            _ = fcntl(client, F_SETFL, O_NONBLOCK)
            shared.state.withLock { $0.accepted += 1 }
            if fault == .cut || fault == .reset {
                close(client, reset: fault == .reset)
                continue
            }
            let server = socket(AF_INET, FaultProxy.streamKind, 0)
            var address = target
            let code = withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    connect(server, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            guard server >= 0, code == 0 || errno == EINPROGRESS else {
                if server >= 0 { Glibc.close(server) }
                Glibc.close(client)
                continue
            }
            for descriptor in [client, server] {
                var on: Int32 = 1
                setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
            }
            connections.append(Connection(client: client, server: server))
        }
    }

    /// Moves what can be moved, given what `poll` said of each connection's two sockets.
    private func move(_ events: [Int16]) {
        var kept: [Connection] = []
        for (index, var connection) in connections.enumerated() {
            let ofClient = Int32(events[index * 2])
            let ofServer = Int32(events[index * 2 + 1])
            let isAlive =
                take(connection.client, ofClient, &connection.requests, &connection.isTainted, isAnswer: false)
                && take(connection.server, ofServer, &connection.answers, &connection.isTainted, isAnswer: true)
                && give(connection.server, &connection.requests) && give(connection.client, &connection.answers)
            if isAlive, !(connection.requests.isShut && connection.answers.isShut) {
                kept.append(connection)
            } else {
                end(connection, reset: !isAlive)
            }
        }
        connections = kept
    }

    /// Reads from a socket; false when its connection is broken.
    private func take(
        _ socket: Int32, _ events: Int32, _ lane: inout Lane, _ isTainted: inout Bool, isAnswer: Bool
    ) -> Bool {
        guard events & (POLLIN | POLLHUP | POLLERR) != 0, !lane.isEnded, fault != .stalled else { return true }
        let count = recv(socket, &buffer, buffer.count, 0)
        if count < 0 { return errno == EAGAIN || errno == EINTR }
        if count == 0 {
            lane.isEnded = true
            return true
        }
        var bytes = Array(buffer.prefix(count))
        var due = Instant.distantPast
        switch fault {
        case .answersLost where isAnswer, .requestsLost where !isAnswer:
            isTainted = true
            return true
        case .garbage where isAnswer:
            isTainted = true
            for index in bytes.indices { bytes[index] = .random(in: 0...255, using: &noise) }
        case .slow(let delay): due = SystemClock.now() + delay
        case .none, .cut, .reset, .stalled, .answersLost, .requestsLost, .garbage: break
        }
        lane.pieces.append((due, bytes))
        lane.waiting += count
        return true
    }

    /// Writes what is due to a socket; false when its connection is broken.
    private func give(_ socket: Int32, _ lane: inout Lane) -> Bool {
        guard fault != .stalled else { return true }
        let now = SystemClock.now()
        while let first = lane.pieces.first, first.due <= now {
            let count = send(socket, first.bytes, first.bytes.count, Int32(truncatingIfNeeded: MSG_NOSIGNAL))
            // Not connected so far counts as full.
            if count < 0 { return errno == EAGAIN || errno == EINTR || errno == ENOTCONN }
            lane.waiting -= count
            if count < first.bytes.count {
                lane.pieces[0].bytes.removeFirst(count)
                return true
            }
            lane.pieces.removeFirst()
        }
        if lane.isEnded, lane.pieces.isEmpty, !lane.isShut {
            lane.isShut = true
            shutdown(socket, Int32(SHUT_WR))
        }
        return true
    }

    private func end(_ connection: Connection, reset: Bool) {
        close(connection.client, reset: reset)
        close(connection.server, reset: reset)
    }

    private func close(_ descriptor: Int32, reset: Bool) {
        if reset {
            var now = linger(l_onoff: 1, l_linger: 0)
            setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &now, socklen_t(MemoryLayout<linger>.size))
        }
        Glibc.close(descriptor)
    }
}
