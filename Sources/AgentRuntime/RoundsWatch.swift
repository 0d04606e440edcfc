import ClusterModel
import Dispatch
import Glibc
import Synchronization

/// Repeats a look, each time after the pause that the last look asked for.
///
/// On a thread of its own that waits in the kernel: a look costs one wake-up where a task's sleep costs half a dozen,
/// and it comes in time even when every other thread of the process is busy.
final class RoundsWatch: Sendable {
    enum Next: Sendable {
        case after(Duration)
        /// Not before `lookNow` is called.
        case whenToldSo
        case over
    }

    private let bell = Bell()
    private let isOver = Atomic(false)

    init(_ look: @escaping @Sendable () -> Next) {
        guard bell.isUsable else {
            // No descriptor was left: the same by a timer, which needs none.
            poll(look, after: .zero)
            return
        }
        DispatchQueue(label: "matriarch.guard-rounds").async { [self] in
            while !isOver.load(ordering: .acquiring) {
                switch look() {
                case .after(let pause): bell.wait(atMost: pause)
                case .whenToldSo: bell.wait(atMost: nil)
                case .over: return
                }
            }
        }
    }

    /// Looks at once.
    func lookNow() {
        bell.ring()
    }

    /// No look begins after this.
    func end() {
        isOver.store(true, ordering: .releasing)
        bell.ring()
    }

    private func poll(_ look: @escaping @Sendable () -> Next, after pause: Duration) {
        DispatchQueue.global().asyncAfter(deadline: .now() + .nanoseconds(Int(pause.nanosecondsClamped))) { [self] in
            guard !isOver.load(ordering: .acquiring) else { return }
            switch look() {
            case .after(let pause): poll(look, after: pause)
            case .whenToldSo: poll(look, after: .milliseconds(250))
            case .over: break
            }
        }
    }
}

/// Wakes one waiting thread. A pipe: its wait goes by a clock that nobody sets, which semaphores do not promise.
private final class Bell: Sendable {
    private let ends: (read: Int32, write: Int32)

    init() {
        var descriptors: [Int32] = [-1, -1]
        guard pipe(&descriptors) == 0 else {
            ends = (-1, -1)
            return
        }
        for descriptor in descriptors {
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
            _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
        }
        ends = (descriptors[0], descriptors[1])
    }

    deinit {
        guard isUsable else { return }
        close(ends.read)
        close(ends.write)
    }

    var isUsable: Bool { ends.read >= 0 }

    func ring() {
        guard isUsable else { return }
        var byte: UInt8 = 1
        _ = write(ends.write, &byte, 1)
    }

    /// Until it rings, or the time is up.
    func wait(atMost limit: Duration?) {
        var descriptor = pollfd(fd: ends.read, events: Int16(POLLIN), revents: 0)
        // Rounded up: woken too early, the look would only be repeated.
        let milliseconds = limit.map { Int32(clamping: max(0, $0.milliseconds) + 1) } ?? -1
        guard Glibc.poll(&descriptor, 1, milliseconds) > 0 else { return }
        var bytes: (UInt64, UInt64) = (0, 0)
        while read(ends.read, &bytes, 16) == 16 {}
    }
}
