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
        var interval = Self.interval(control.status())
        // Time alone changes what a status says only while nothing tells whether the view of the store is still true.
        let look: @Sendable () -> Void = { if control.status().storeSilentSince != nil { wake.yield() } }
        var beat = PeerBeat(interval: interval, now: now, look: look)
        channel.triggerUserOutboundEvent(beat, promise: nil)
        defer {
            changes.cancel()
            beat.end()
        }
        wake.yield()
        var pacer = PeerStreamPacer()
        var isFirst = true
        for await _ in wakes {
            let now = now()
            let status = control.status()
            let document = StatusDocument.make(status: status, now: now)
            let isSent = pacer.shallSend(document, now: now)
            if isSent { try await write(JSONValue.object(document).serialized() + "\n") }
            beat.statusWasLookedAt(isSent: isSent, now: now)
            if pacer.isBehind {
                // What waits for its second is looked at again then; a look too many does no harm.
                channel.eventLoop.scheduleTask(in: TimeAmount(PeerStreamPacer.interval)) { wake.yield() }
            }
            let wanted = Self.interval(status)
            if isFirst || wanted != interval {
                // How long we may be silent from now on is told before we are.
                isFirst = false
                interval = wanted
                beat.end()
                try await write(PeerBeat.line(interval))
                beat = PeerBeat(interval: interval, now: self.now, look: look)
                beat.statusWasLookedAt(isSent: true, now: now)
                channel.triggerUserOutboundEvent(beat, promise: nil)
            }
        }
    }

    private static func interval(_ status: AgentStatus) -> Duration {
        PeerBeatRules.interval(ttl: status.ttl, isLeading: status.leaderUntil != nil)
    }
}

/// One stream's clock. The connection's handler runs it on the event loop: a heartbeat now and then to each peer has to
/// cost next to nothing, so it wakes no task and crosses no thread.
final class PeerBeat: Sendable {
    let interval: Duration
    /// The line that only says: still here, and another word will come in this time.
    let line: String
    private let rules = Mutex(PeerBeatRules())
    private let now: @Sendable () -> Instant
    private let look: @Sendable () -> Void

    init(interval: Duration, now: @escaping @Sendable () -> Instant, look: @escaping @Sendable () -> Void) {
        self.interval = interval
        self.line = Self.line(interval)
        self.now = now
        self.look = look
    }

    static func line(_ interval: Duration) -> String { "{\"heartbeat\":true,\"next_ms\":\(interval.milliseconds)}\n" }

    func statusWasLookedAt(isSent: Bool, now: Instant) {
        rules.withLock { $0.statusWasLookedAt(isSent: isSent, now: now) }
    }

    /// Called before the answer's end is written; what the event loop does later, it does in silence.
    func end() {
        rules.withLock { $0.end() }
    }

    /// Once in the interval. True: write the line.
    func beat() -> Bool {
        let now = now()
        let action = rules.withLock { $0.beat(now: now, interval: interval) }
        if action.looks { look() }
        return action.saysSo
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
