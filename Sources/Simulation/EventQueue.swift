import ClusterModel

/// What is to happen, by time and then by order of asking: a binary heap.
struct EventQueue {
    private struct Item {
        var at: Int64
        var number: UInt64
        var action: () -> Void

        func isBefore(_ other: Item) -> Bool { at != other.at ? at < other.at : number < other.number }
    }

    private var heap: [Item] = []
    private var count: UInt64 = 0

    var first: Instant? { heap.first.map { Instant(nanoseconds: $0.at) } }

    mutating func push(_ at: Instant, _ action: @escaping () -> Void) {
        count += 1
        heap.append(Item(at: at.nanoseconds, number: count, action: action))
        var child = heap.count - 1
        while child > 0, heap[child].isBefore(heap[(child - 1) / 2]) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    /// The next action, or nil when there is none.
    mutating func pop() -> (() -> Void)? {
        guard !heap.isEmpty else { return nil }
        heap.swapAt(0, heap.count - 1)
        let item = heap.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && heap[child].isBefore(heap[least])
            {
                least = child
            }
            if least == parent { break }
            heap.swapAt(parent, least)
            parent = least
        }
        return item.action
    }
}
