#if Consul
    import ClusterModel
    import PluginInterfaces
    import Synchronization

    /// Hears of changes below the cluster's root by blocking queries, one after the other.
    ///
    /// Only names are asked for: the answer is a hint, whoever hears it reads for himself. A query is answered at a change,
    /// or when its time is over, which the servers prolong by up to a sixteenth at random. A connection on which nothing
    /// comes by then is dead: so that is noticed within `longestSilence`; sooner where another call was not answered either.
    final class ChangeWatch: Sendable {
        /// How long the servers hold a query that has no news.
        static let patience = Duration.seconds(10)
        static let longestSilence = patience + patience / 16 + .seconds(2)
        static let shortestPause = Duration.milliseconds(100)
        static let longestPause = Duration.seconds(1)
        /// A server that has not heard from its leader for longer is not asked about news.
        static let oldestContact = Duration.seconds(5)

        /// The tree's index and paths.
        typealias Answer = Result<(index: UInt64, paths: Set<String>), StoreError>

        let mailbox = SignalMailbox()
        private let client: ConsulClient
        private let place: KeyPlace
        private let refusals: ConsulRefusals
        private let consistency: ConsulConsistency
        private struct State {
            var task: Task<Void, Never>?
            var isStopped = false
        }
        private let state = Mutex(State())
        private let waiting = WaitingQuery()

        init(client: ConsulClient, place: KeyPlace, refusals: ConsulRefusals, consistency: ConsulConsistency) {
            self.client = client
            self.place = place
            self.refusals = refusals
            self.consistency = consistency
        }

        deinit {
            state.withLock { $0.task }?.cancel()
        }

        /// Begins to watch, once; `look` is told the tree's paths after each answer.
        func start(_ look: @escaping @Sendable (Set<String>) async -> Void) {
            let loop = Loop(
                client: client, place: place, refusals: refusals, consistency: consistency, mailbox: mailbox,
                waiting: waiting, look: look
            )
            state.withLock { state in
                guard state.task == nil, !state.isStopped else { return }
                state.task = Task { await loop.run() }
            }
        }

        /// A host has left a call without an answer: a query that waits there may wait for ever. It is asked again at once.
        func doubt() { waiting.cancel() }

        /// Ends the watch and the stream of signals.
        func stop() async {
            let task = state.withLock { state in
                state.isStopped = true
                return state.task
            }
            task?.cancel()
            mailbox.close()
            await task?.value
        }

        private struct Loop: Sendable {
            let client: ConsulClient
            let place: KeyPlace
            let refusals: ConsulRefusals
            let consistency: ConsulConsistency
            let mailbox: SignalMailbox
            let waiting: WaitingQuery
            let look: @Sendable (Set<String>) async -> Void

            func run() async {
                var progress = WatchProgress()
                while !Task.isCancelled {
                    let began = SystemClock.now()
                    let event: WatchProgress.Event
                    let index = progress.index
                    switch await waiting.run({ await query(after: index) }) {
                    case nil:
                        if Task.isCancelled { return }
                        progress.doubt()
                        continue
                    case .success(let (index, paths)):
                        event = .answer(index: index, after: SystemClock.now() - began)
                        await look(paths)
                    case .failure(let error): event = .failure(error.message)
                    }
                    if Task.isCancelled { return }
                    let (signal, pause) = progress.take(event)
                    if let signal { mailbox.post(signal) }
                    if pause > .zero {
                        do { try await Task.sleep(for: pause, clock: .continuous) } catch { return }
                    }
                }
            }

            private func query(after index: UInt64) async -> Answer {
                let purpose = "watch the cluster"
                var query: [(name: String, value: String?)] = [("keys", nil)]
                if let flag = consistency.flag { query.append((flag, nil)) }
                if index > 0 {
                    query.append(("index", String(index)))
                    query.append(("wait", GoDuration.text(ChangeWatch.patience)))
                }
                let limit = index > 0 ? ChangeWatch.longestSilence : .seconds(5)
                var call = ConsulCall.get(place.tree, query, for: purpose)
                call.isWatch = true
                switch await client.call(call, within: limit) {
                case .failure(let failure): return .failure(failure.error)
                case .success(let answer):
                    guard answer.status == 200 || answer.status == 404, let index = answer.index else {
                        return .failure(
                            answer.status == 200
                                ? refusals.malformed(purpose, at: client.endpoint)
                                : refusals.error(answer, purpose, at: client.endpoint))
                    }
                    if answer.knowsLeader == false {
                        return .failure(StoreError(.unreachable, "\(client.endpoint): Consul's servers have no leader"))
                    }
                    if let contact = answer.lastContact, contact > ChangeWatch.oldestContact {
                        return .failure(
                            StoreError(
                                .unreachable,
                                "\(client.endpoint): its server has not heard from its leader for \(contact.milliseconds) ms"
                            ))
                    }
                    guard let paths = answer.status == 404 ? [] : ConsulReply.keys(answer.body) else {
                        return .failure(refusals.malformed(purpose, at: client.endpoint))
                    }
                    return .success((index, Set(paths)))
                }
            }
        }
    }

    /// The query that waits for news; what it was asked is no answer any more once it is cancelled.
    private final class WaitingQuery: Sendable {
        private let task = Mutex<Task<ChangeWatch.Answer, Never>?>(nil)

        /// Nil when the query was cancelled.
        func run(_ query: @escaping @Sendable () async -> ChangeWatch.Answer) async -> ChangeWatch.Answer? {
            let running = Task { await query() }
            task.withLock { $0 = running }
            let answer = await withTaskCancellationHandler {
                await running.value
            } onCancel: {
                running.cancel()
            }
            task.withLock { $0 = nil }
            return running.isCancelled ? nil : answer
        }

        func cancel() { task.withLock { $0 }?.cancel() }
    }

    /// What follows from a watch's answers. Pure.
    struct WatchProgress: Hashable, Sendable {
        enum Event: Hashable, Sendable {
            case answer(index: UInt64, after: Duration)
            case failure(String)
        }

        /// What to wait beyond; 0: to be answered at once.
        private(set) var index: UInt64 = 0
        /// The last answer's, while the connection is up.
        private var known: UInt64?
        private var hasFailed = false
        private var pause = ChangeWatch.shortestPause

        /// The query that waited is given up: the next one is answered at once.
        mutating func doubt() { index = 0 }

        /// What to say, and how long to wait before the next query.
        mutating func take(_ event: Event) -> (StoreSignal?, pause: Duration) {
            switch event {
            case .failure(let why):
                let signal: StoreSignal? = known != nil || !hasFailed ? .disconnected(why) : nil
                (known, hasFailed, index) = (nil, true, 0)
                return (signal, nextPause())
            case .answer(let answered, let after):
                let (before, wasWaiting) = (known, index > 0)
                known = answered
                hasFailed = false
                // Consul asks for that: never less than 1.
                index = max(answered, 1)
                guard let before else {
                    pause = ChangeWatch.shortestPause
                    return (.connected, .zero)
                }
                if answered > before {
                    pause = ChangeWatch.shortestPause
                    return (.changed(StoreRevision(number: answered)), .zero)
                }
                // Back by the reaping of tombstones, or by another state of the servers.
                if answered < before { return (.changed(nil), .zero) }
                if wasWaiting, after < ChangeWatch.patience - .milliseconds(500) {
                    // Answered without news before its time: so queries end on servers that are given another state, with
                    // the old one's answer. Asked from the start, they tell what is now.
                    index = 0
                    return (nil, nextPause())
                }
                return (nil, .zero)
            }
        }

        private mutating func nextPause() -> Duration {
            defer { pause = min(pause * 2, ChangeWatch.longestPause) }
            return pause
        }
    }
#endif
