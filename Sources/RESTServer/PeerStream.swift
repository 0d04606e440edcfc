import ClusterModel
import HighAvailability
import NIOCore
import Synchronization

/// Feeds one peer's stream for as long as both sides want it.
struct PeerStream: Sendable {
    var control: any AgentControl
    var now: @Sendable () -> Instant
    var open: OpenStreams

    /// Whether another stream may be opened.
    var isAdmitted: Bool { open.hasRoom }

    /// Writes lines until the caller goes, the server ends its streams, or the task is cancelled.
    func run(on channel: any Channel, write: (String) async throws -> Void) async throws {
        let (wakes, wake) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let ticket = open.add { wake.finish() }
        defer { open.remove(ticket) }
        let control = control
        let changes = Task {
            for await _ in control.statusChanges() { wake.yield() }
        }
        let beat = PeerBeat(now: now, look: { wake.yield() })
        channel.triggerUserOutboundEvent(beat, promise: nil)
        defer {
            changes.cancel()
            beat.end()
        }
        wake.yield()
        var pacer = PeerStreamPacer()
        for await _ in wakes {
            let now = now()
            let document = StatusDocument.make(status: control.status(), now: now)
            let isSent = pacer.shallSend(document, now: now)
            if isSent { try await write(JSONValue.object(document).serialized() + "\n") }
            beat.statusWasLookedAt(isSent: isSent, isBehind: pacer.isBehind, now: now)
        }
    }
}

/// One stream's clock. The connection's handler runs it on the event loop: a heartbeat each second to each peer has to
/// cost next to nothing, so it wakes no task and crosses no thread.
final class PeerBeat: Sendable {
    /// The line that only says: still here.
    static let line = "{\"heartbeat\":true}\n"

    private let rules = Mutex(PeerBeatRules())
    private let now: @Sendable () -> Instant
    private let look: @Sendable () -> Void

    init(now: @escaping @Sendable () -> Instant, look: @escaping @Sendable () -> Void) {
        self.now = now
        self.look = look
    }

    func statusWasLookedAt(isSent: Bool, isBehind: Bool, now: Instant) {
        rules.withLock { $0.statusWasLookedAt(isSent: isSent, isBehind: isBehind, now: now) }
    }

    /// Called before the answer's end is written; what the event loop does later, it does in silence.
    func end() {
        rules.withLock { $0.end() }
    }

    /// Each second. True: write the line.
    func beat() -> Bool {
        let now = now()
        switch rules.withLock({ $0.beat(now: now) }) {
        case .nothing: return false
        case .heartbeat: return true
        case .look:
            look()
            return false
        }
    }
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
