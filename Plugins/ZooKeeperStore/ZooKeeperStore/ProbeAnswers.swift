#if ZooKeeper
    import Synchronization

    /// Answers of several servers, written from several threads.
    final class ProbeAnswers: Sendable {
        private let answers: Mutex<[ServerProbe?]>

        init(count: Int) {
            answers = Mutex(Array(repeating: nil, count: count))
        }

        var all: [ServerProbe?] { answers.withLock { $0 } }

        subscript(index: Int) -> ServerProbe? {
            get { answers.withLock { $0[index] } }
            set { answers.withLock { $0[index] = newValue } }
        }
    }
#endif
