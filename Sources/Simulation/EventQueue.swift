import ClusterModel

/// What is to happen, by time and then by order of asking: a binary heap of plain numbers, the actions beside it.
struct EventQueue {
    private struct Item {
        var at: Int64
        var number: UInt64
        var slot: Int

        func isBefore(_ other: Item) -> Bool { at != other.at ? at < other.at : number < other.number }
    }

    private var heap: [Item] = []
    private var actions: [(() -> Void)?] = []
    private var freeSlots: [Int] = []
    private var count: UInt64 = 0

    var first: Instant? { heap.first.map { Instant(nanoseconds: $0.at) } }

    mutating func push(_ at: Instant, _ action: @escaping () -> Void) {
        count += 1
        let slot: Int
        if let free = freeSlots.popLast() {
            slot = free
            actions[slot] = action
        } else {
            slot = actions.count
            actions.append(action)
        }
        heap.append(Item(at: at.nanoseconds, number: count, slot: slot))
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
            let left = 2 * parent + 1
            if left < heap.count, heap[left].isBefore(heap[least]) { least = left }
            if left + 1 < heap.count, heap[left + 1].isBefore(heap[least]) { least = left + 1 }
            if least == parent { break }
            heap.swapAt(parent, least)
            parent = least
        }
        let action = actions[item.slot]
        actions[item.slot] = nil
        freeSlots.append(item.slot)
        return action
    }
}
