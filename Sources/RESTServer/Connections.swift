import NIOCore
import Synchronization

/// The connections that are open, and no more of them than the agent can afford: its descriptors are needed for
/// PostgreSQL and the store.
///
/// When there are too many, the one that has been without a request for longest makes room: clients that connect and
/// say nothing keep nobody out.
final class Connections: Sendable {
    private struct Entry {
        var channel: any Channel
        var isBusy: Bool
    }

    private struct State {
        var next: UInt64 = 0
        var entries: [UInt64: Entry] = [:]
    }

    let maximum: Int
    private let state = Mutex(State())

    init(maximum: Int) {
        self.maximum = maximum
    }

    /// nil: there is no room, and nobody who could make any.
    func admit(_ channel: any Channel) -> UInt64? {
        let (ticket, evicted) = state.withLock { state -> (UInt64?, (any Channel)?) in
            var evicted: (any Channel)?
            if state.entries.count >= maximum {
                guard let oldest = state.entries.filter({ !$0.value.isBusy }).keys.min() else { return (nil, nil) }
                evicted = state.entries.removeValue(forKey: oldest)?.channel
            }
            state.next += 1
            state.entries[state.next] = Entry(channel: channel, isBusy: false)
            return (state.next, evicted)
        }
        evicted?.close(promise: nil)
        return ticket
    }

    func set(_ ticket: UInt64, isBusy: Bool) {
        state.withLock { state in
            guard var entry = state.entries.removeValue(forKey: ticket) else { return }
            entry.isBusy = isBusy
            state.entries[ticket] = entry
        }
    }

    func remove(_ ticket: UInt64) {
        state.withLock { _ = $0.entries.removeValue(forKey: ticket) }
    }

    var count: Int { state.withLock { $0.entries.count } }
}
