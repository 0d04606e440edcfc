import HighAvailability
import Synchronization

/// The events on their way to the machine, in order.
///
/// An `AsyncStream` would lead each of them over a thread of the shared pool and back.
final class EventQueue: Sendable {
    private struct State {
        var events: [Event] = []
        var reader: CheckedContinuation<[Event], Never>?
    }

    private let state = Mutex(State())

    func post(_ event: Event) {
        let reader = state.withLock { state -> CheckedContinuation<[Event], Never>? in
            defer { state.reader = nil }
            if state.reader == nil { state.events.append(event) }
            return state.reader
        }
        reader?.resume(returning: [event])
    }

    /// Everything that is there, as soon as there is something. One reader.
    func next(isolation: isolated (any Actor)? = #isolation) async -> [Event] {
        await withCheckedContinuation { continuation in
            let events = state.withLock { state -> [Event] in
                let events = state.events
                state.events = []
                if events.isEmpty { state.reader = continuation }
                return events
            }
            if !events.isEmpty { continuation.resume(returning: events) }
        }
    }
}
