import ClusterModel
import HighAvailability
import Synchronization

/// Feeds one peer's stream for as long as both sides want it.
struct PeerStream: Sendable {
    var control: any AgentControl
    var now: @Sendable () -> Instant
    var open: OpenStreams

    /// Whether another stream may be opened.
    var isAdmitted: Bool { open.hasRoom }

    /// Writes lines until the caller goes, the server ends its streams, or the task is cancelled.
    func run(write: (String) async throws -> Void) async throws {
        let (wakes, wake) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let ticket = open.add { wake.finish() }
        defer { open.remove(ticket) }
        let control = control
        let isChanged = Flag()
        // Two sources of one wake-up; both end with the stream.
        let changes = Task {
            for await _ in control.statusChanges() {
                isChanged.set()
                wake.yield()
            }
        }
        let seconds = Task {
            while !Task.isCancelled {
                try? await Task.sleep(
                    for: PeerStreamPacer.interval, tolerance: .milliseconds(10), clock: .continuous)
                wake.yield()
            }
        }
        defer {
            changes.cancel()
            seconds.cancel()
        }
        wake.yield()
        var pacer = PeerStreamPacer()
        for await _ in wakes {
            let now = now()
            let word: PeerStreamPacer.Word?
            if isChanged.take() || pacer.wantsLook(now: now) {
                word = pacer.word(for: StatusDocument.make(status: control.status(), now: now), now: now)
            } else {
                // The common case, each second for each peer, costs next to nothing.
                word = pacer.wordWithoutLook(now: now)
            }
            switch word {
            case .status(let document): try await write(JSONValue.object(document).serialized() + "\n")
            case .heartbeat: try await write(PeerStreamPacer.heartbeatLine)
            case nil: break
            }
        }
    }
}

/// A flag that two tasks share.
private final class Flag: Sendable {
    private let value = Atomic(false)

    func set() { value.store(true, ordering: .releasing) }

    func take() -> Bool { value.exchange(false, ordering: .acquiringAndReleasing) }
}

/// The streams that are open, so that they can be ended together.
final class OpenStreams: Sendable {
    private struct State {
        var next: UInt64 = 0
        var ends: [UInt64: @Sendable () -> Void] = [:]
    }

    private let maximum: Int
    private let state = Mutex(State())

    init(maximum: Int) {
        self.maximum = maximum
    }

    var hasRoom: Bool { state.withLock { $0.ends.count < maximum } }

    func add(_ end: @escaping @Sendable () -> Void) -> UInt64 {
        state.withLock { state in
            state.next += 1
            state.ends[state.next] = end
            return state.next
        }
    }

    func remove(_ ticket: UInt64) {
        state.withLock { _ = $0.ends.removeValue(forKey: ticket) }
    }

    func endAll() {
        let ends = state.withLock { Array($0.ends.values) }
        for end in ends { end() }
    }
}
