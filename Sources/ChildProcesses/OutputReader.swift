import Dispatch
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// Reads one stream of a child from a pipe, on a queue of the child's.
///
/// The pipe may outlive the child: what a script leaves running in the background keeps its end. Such a pipe is emptied
/// further (bytes are dropped), for a daemon that writes to a pipe without a reader dies of it.
final class OutputReader: Sendable {
    private enum Phase {
        case delivering, discarding, closed
    }

    private struct State {
        var phase = Phase.delivering
        var source: SourceHandle?
    }

    /// Sound because libdispatch's objects lock for themselves: here the source is only cancelled, from any thread.
    private struct SourceHandle: @unchecked Sendable {
        let source: any DispatchSourceRead
    }

    private let descriptor: Int32
    private let queue: DispatchQueue
    private let deliver: @Sendable (ArraySlice<UInt8>) -> Void
    private let state = Mutex(State())

    /// `queue` must be serial, `descriptor` not blocking; it belongs to the reader from here on.
    init(descriptor: Int32, queue: DispatchQueue, deliver: @escaping @Sendable (ArraySlice<UInt8>) -> Void) {
        self.descriptor = descriptor
        self.queue = queue
        self.deliver = deliver
    }

    func start() {
        let source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: queue)
        let descriptor = descriptor
        source.setEventHandler { self.read(atMost: 16) }
        source.setCancelHandler { close(descriptor) }
        let handle = SourceHandle(source: source)
        state.withLock { $0.source = handle }
        source.resume()
    }

    /// After the child's end: delivers what it left in the pipe, nothing after. The pipe is closed, or emptied further
    /// by itself while somebody else keeps it and `mayLinger` allows it.
    func settle(mayLinger: Bool) async {
        await withCheckedContinuation { continuation in
            queue.async {
                // Bounded: another writer may fill the pipe faster than it is emptied.
                self.read(atMost: 64)
                let isOpen = self.state.withLock { state in
                    if state.phase == .delivering { state.phase = .discarding }
                    return state.phase != .closed
                }
                if isOpen {
                    if mayLinger { LingeringPipes.add(self) } else { self.end() }
                }
                continuation.resume()
            }
        }
    }

    /// Stops reading and closes the pipe; more than once is harmless.
    func end() {
        let handle = state.withLock { state -> SourceHandle? in
            state.phase = .closed
            defer { state.source = nil }
            return state.source
        }
        handle?.source.cancel()
    }

    private func read(atMost rounds: Int) {
        var buffer = [UInt8](repeating: 0, count: 65_536)
        for _ in 0..<rounds {
            guard let phase = currentPhase() else { return }
            #if canImport(Glibc)
                let count = Glibc.read(descriptor, &buffer, buffer.count)
            #else
                let count = Musl.read(descriptor, &buffer, buffer.count)
            #endif
            if count > 0 {
                if phase == .delivering { deliver(buffer[..<count]) }
            } else if count < 0, errno == EAGAIN || errno == EINTR {
                return
            } else {
                end()
                LingeringPipes.remove(self)
                return
            }
        }
    }

    /// Nil once closed: the descriptor's number may mean something else by then.
    private func currentPhase() -> Phase? {
        state.withLock { $0.phase == .closed ? nil : $0.phase }
    }
}

/// The pipes that processes left in the background still write to: few, and never more than the limit.
enum LingeringPipes {
    static let limit = 16
    private static let readers = Mutex<[OutputReader]>([])

    static func add(_ reader: OutputReader) {
        let oldest = readers.withLock { readers -> OutputReader? in
            readers.append(reader)
            return readers.count > limit ? readers.removeFirst() : nil
        }
        oldest?.end()
    }

    static func remove(_ reader: OutputReader) {
        readers.withLock { $0.removeAll { $0 === reader } }
    }

    static var count: Int { readers.withLock { $0.count } }
}
