import Glibc
import Synchronization

/// A connection's way that can be cut where there are no networks: forwards a port of loopback to another.
///
/// While a direction is cut its bytes lie where they are, as they do in a network that drops packets, and go on when it
/// heals; a connection that is new meanwhile is heard by nobody until then.
final class LinkProxy: Sendable {
    /// Which way bytes go.
    enum Direction: Sendable {
        case toServer, toClient
    }

    private struct State {
        var cut: Set<Direction> = []
        var isClosed = false
        /// How long an answer lies before it goes on, in seconds.
        var delay = 0.0
    }

    let port: Int
    private let listener: Int32
    private let target: Int
    private let state = Mutex(State())

    init(to target: Int) throws {
        self.target = target
        port = try LocalPorts.take()
        listener = try listenOnLoopback(port)
        do {
            try startThread { [self] in accept() }
        } catch {
            Glibc.close(listener)
            throw error
        }
    }

    /// Cuts these directions, and heals the others.
    func cut(_ directions: Set<Direction>) { state.withLock { $0.cut = directions } }

    func delayAnswers(by seconds: Double) { state.withLock { $0.delay = seconds } }

    func close() { state.withLock { $0.isClosed = true } }

    private var isClosed: Bool { state.withLock { $0.isClosed } }

    private func isCut(_ direction: Direction?) -> Bool {
        state.withLock { state in direction.map { state.cut.contains($0) } ?? !state.cut.isEmpty }
    }

    private func accept() {
        defer { Glibc.close(listener) }
        while !isClosed {
            guard !isCut(nil), hasInput(listener) else {
                pauseFor(0.01)
                continue
            }
            let client = Glibc.accept(listener, nil, nil)
            guard client >= 0 else { continue }
            _ = fcntl(client, F_SETFD, FD_CLOEXEC)
            guard let server = try? LocalConnection(port: target, within: 2).release() else {
                Glibc.close(client)
                continue
            }
            let ends = Ends(client, server)
            do {
                try startThread { [self] in pump(ends, .toServer) }
                try startThread { [self] in pump(ends, .toClient) }
            } catch {
                ends.shut()
            }
        }
    }

    /// Moves one direction's bytes until either side ends.
    private func pump(_ ends: Ends, _ direction: Direction) {
        let (from, to) = direction == .toServer ? (ends.client, ends.server) : (ends.server, ends.client)
        var buffer = [UInt8](repeating: 0, count: 65536)
        moving: while !isClosed {
            guard !isCut(direction), hasInput(from) else {
                if isCut(direction) { pauseFor(0.01) }
                continue
            }
            let count = recv(from, &buffer, buffer.count, 0)
            guard count > 0 else { break }
            if direction == .toClient, let delay = Optional(state.withLock { $0.delay }), delay > 0 { pauseFor(delay) }
            var rest = buffer[..<count]
            while !rest.isEmpty {
                let sent = rest.withUnsafeBytes { send(to, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
                guard sent > 0 else { break moving }
                rest = rest.dropFirst(sent)
            }
        }
        ends.shut()
    }

    private func hasInput(_ descriptor: Int32) -> Bool {
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&entry, 1, 50) > 0
    }

    /// A connection's two sockets, closed when both directions have let go of them.
    private final class Ends: Sendable {
        let client: Int32
        let server: Int32

        init(_ client: Int32, _ server: Int32) {
            self.client = client
            self.server = server
        }

        func shut() {
            shutdown(client, Int32(SHUT_RDWR))
            shutdown(server, Int32(SHUT_RDWR))
        }

        deinit {
            Glibc.close(client)
            Glibc.close(server)
        }
    }
}
