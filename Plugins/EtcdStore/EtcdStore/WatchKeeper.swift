#if Etcd
    import ClusterModel
    import Logging
    import PluginInterfaces
    import Synchronization

    /// Keeps one watch of everything below the cluster's root, on whichever endpoint serves it, and signals what it tells.
    ///
    /// A stream goes on from the revision after the last one told, so that nothing is lost between two of them. Where the
    /// servers have compacted that, everything counts as changed. A member without a leader ends its watches (`hasleader`).
    /// A connection that has silently gone dead is found out by what is read besides: see `WatchMirror`.
    final class WatchKeeper: Sendable {
        private struct State {
            var task: Task<Void, Never>?
            var isStopped = false
            /// The stream there is, and where.
            var current: (endpoint: Endpoint, task: Task<End, Never>)?
            var mirror: WatchMirror?
            /// What was signalled last.
            var isUp: Bool?
            /// Whether the stream has begun.
            var isServing = false
            /// The newest disagreement that waits to be looked at again.
            var doubt: WatchMirror.Summary?
            /// When something was last held against the mirror.
            var lastAudit: Instant?
        }

        /// How a stream ended.
        private enum End: Sendable {
            case failed(GatewayFailure)
            /// Something that it should have told has been compacted, or it cannot be trusted: begin anew.
            case resync(String)
        }

        private let cluster: EtcdCluster
        private let post: @Sendable (StoreSignal) -> Void
        private let state = Mutex(State())

        /// What a watch may be behind a read before it counts as dead.
        static let lag = Duration.milliseconds(500)
        /// How often it sees whether a look is due, and how long after the last one that is: a session's proofs are looks.
        static let interval = Duration.seconds(10)
        static let patience = Duration.seconds(45)
        private static let start = Duration.seconds(3)
        private static let longestPause = Duration.seconds(1)
        private static let maximumLine = 64 << 20

        init(_ cluster: EtcdCluster, post: @escaping @Sendable (StoreSignal) -> Void) {
            self.cluster = cluster
            self.post = post
        }

        /// Begins, once.
        func start() {
            state.withLock { state in
                guard state.task == nil, !state.isStopped else { return }
                state.task = Task { [weak self] in
                    await withTaskGroup(of: Void.self) { group in
                        group.addTask { [weak self] in await Self.keep(self) }
                        group.addTask { [weak self] in await Self.lookNowAndThen(self) }
                    }
                }
            }
        }

        func stop() {
            let (task, stream) = state.withLock { state in
                state.isStopped = true
                return (state.task, state.current?.task)
            }
            task?.cancel()
            stream?.cancel()
        }

        // MARK: Following

        private static func keep(_ keeper: WatchKeeper?) async {
            guard let keeper else { return }
            var pause = Duration.milliseconds(50)
            while !Task.isCancelled {
                if await keeper.round() { pause = .milliseconds(50) }
                if Task.isCancelled { return }
                guard (try? await Task.sleep(for: pause, tolerance: .milliseconds(10), clock: .continuous)) != nil
                else { return }
                pause = min(Self.longestPause, pause * 2)
            }
        }

        /// Follows on one endpoint after the other; true if one of them served a watch.
        private func round() async -> Bool {
            let limit = SystemClock.now() + .seconds(5)
            await cluster.lookForMembers(olderThan: .seconds(2), until: limit)
            let endpoints: [Endpoint]
            do throws(StoreError) {
                endpoints = try await cluster.known(until: limit)
            } catch {
                report(down: error.message)
                return false
            }
            var why = "no server is known"
            for endpoint in endpoints {
                if Task.isCancelled { return false }
                let stream = Task { [self] in await follow(endpoint) }
                let isStopped = state.withLock { state in
                    state.current = (endpoint, stream)
                    state.isServing = false
                    return state.isStopped
                }
                if isStopped { stream.cancel() }
                let end = await withTaskCancellationHandler {
                    await stream.value
                } onCancel: {
                    stream.cancel()
                }
                let hasServed = state.withLock { state in
                    state.current = nil
                    return state.isServing
                }
                switch end {
                case .resync(let reason):
                    cluster.logger.debug("etcd's watch at \(endpoint) begins anew: \(reason)")
                    state.withLock { $0.mirror = nil }
                    return true
                case .failed(let failure):
                    cluster.logger.debug("etcd's watch at \(endpoint) has ended: \(failure.message)")
                    why = failure.message
                    if !Task.isCancelled { cluster.failed(endpoint) }
                }
                // First another look at who there is.
                if hasServed { return true }
            }
            if !Task.isCancelled { report(down: why) }
            return false
        }

        private func report(down why: String) {
            let isNews = state.withLock { state in
                defer { state.isUp = false }
                return state.isUp != false
            }
            if isNews { post(.disconnected(why)) }
        }

        private func report(up revision: UInt64, isAnew: Bool) {
            let (wasUp, era) = state.withLock { state in
                defer {
                    state.isUp = true
                    state.isServing = true
                }
                return (state.isUp, state.mirror?.era ?? 0)
            }
            if wasUp != true {
                post(.connected)
            } else if isAnew {
                post(.changed(StoreRevision(era: era, number: revision)))
            }
        }

        private func follow(_ endpoint: Endpoint) async -> End {
            let deadline = SystemClock.now() + Self.start
            let isAnew: Bool
            let mirror: WatchMirror
            do throws(GatewayFailure) {
                let known = state.withLock { $0.mirror }
                if let known, known.era == cluster.era {
                    (mirror, isAnew) = (known, false)
                } else {
                    (mirror, isAnew) = (try await look(endpoint, deadline), true)
                    state.withLock { $0.mirror = mirror }
                }
                let token = try await cluster.token(at: endpoint, until: deadline)
                let keys = cluster.keys
                let body: JSONValue = [
                    "create_request": [
                        "key": .string(keys.encodedRoot), "range_end": .string(keys.encodedEnd),
                        "start_revision": .string(String(mirror.revision + 1)), "progress_notify": true,
                    ]
                ]
                let outcome = Mutex<End?>(nil)
                let lines = Mutex(LineAssembler(limit: Self.maximumLine))
                let failure = await cluster.http.stream(
                    "/v3/watch", body, at: endpoint, token: token, headers: [("Grpc-Metadata-hasleader", "true")],
                    start: Self.start
                ) { [self] piece in
                    guard let whole = lines.withLock({ $0.add(piece) }) else {
                        outcome.withLock { $0 = .resync("a message is too long") }
                        return false
                    }
                    for line in whole {
                        if let end = receive(line, endpoint, isAnew: isAnew) {
                            outcome.withLock { $0 = end }
                            return false
                        }
                    }
                    return true
                }
                if failure.refusal?.kind == .tokenRefused { cluster.forget(token) }
                return outcome.withLock { $0 } ?? .failed(failure)
            } catch {
                if error.refusal?.kind == .compacted { return .resync("compacted") }
                return .failed(error)
            }
        }

        /// One message; an end when the stream is of no use any more.
        private func receive(_ line: [UInt8], _ endpoint: Endpoint, isAnew: Bool) -> End? {
            guard let value = try? JSONValue.parse(line), let object = value.object else {
                return .failed(GatewayFailure(stage: .malformed, message: "\(endpoint) sent a watch that is no JSON"))
            }
            if let refusal = GatewayClient.refusal(200, object) {
                return .failed(
                    GatewayFailure(stage: .refused(refusal), message: "\(endpoint) says: \(refusal.message)"))
            }
            guard let message = WatchMessage(value) else {
                return .failed(
                    GatewayFailure(stage: .malformed, message: "\(endpoint) sent a watch that cannot be read"))
            }
            if let id = cluster.clusterID, id != message.header.cluster {
                return .failed(EtcdCluster.unfit("\(endpoint) belongs to another cluster than the one seen before"))
            }
            if let compacted = message.compacted { return .resync("compacted up to \(compacted)") }
            if message.isCancelled {
                let reason = message.reason ?? "no reason given"
                let refusal = Refusal(status: 200, code: nil, message: reason)
                // The server keeps the connection open after this.
                return .failed(
                    GatewayFailure(stage: .refused(refusal), message: "\(endpoint) cancelled the watch: \(reason)"))
            }
            if message.isCreation {
                cluster.succeeded(endpoint)
                report(up: message.header.revision, isAnew: isAnew)
            }
            guard !message.events.isEmpty else {
                // A word of progress: all up to there has been told.
                if !message.isCreation { state.withLock { $0.mirror?.progressed(to: message.header.revision) } }
                return nil
            }
            let (isOrdered, era) = state.withLock { state -> (Bool, UInt32) in
                guard var mirror = state.mirror else { return (false, 0) }
                // A server that was set back would tell what lies behind us.
                let isOrdered = message.events.allSatisfy { $0.revision >= mirror.revision }
                mirror.apply(message.events)
                state.mirror = mirror
                return (isOrdered, mirror.era)
            }
            guard isOrdered else { return .resync("it tells of what was told before") }
            let isNews = message.events.contains { event in
                cluster.keys.key(event.key).map { !EtcdKeys.isFence($0) } ?? false
            }
            if isNews {
                post(.changed(StoreRevision(era: era, number: message.events.map(\.revision).max() ?? 0)))
            }
            return nil
        }

        /// What there is now: where a watch begins.
        private func look(_ endpoint: Endpoint, _ deadline: Instant) async throws(GatewayFailure) -> WatchMirror {
            let before = cluster.before
            let body: JSONValue = [
                "key": .string(cluster.keys.encodedRoot), "range_end": .string(cluster.keys.encodedEnd),
                "keys_only": true,
            ]
            let answer = try await cluster.call("/v3/kv/range", body, at: endpoint, until: deadline)
            guard let found = GatewayAnswer.keyValues(.object(answer.body)) else {
                throw EtcdReader.malformed(endpoint)
            }
            do throws(GatewayFailure) {
                try cluster.admit(answer.header, from: endpoint, isCurrent: true, before: before)
            } catch {
                // One that was merely overtaken will do: the watch tells the rest.
                guard answer.header.cluster == cluster.clusterID, answer.header.revision >= before.revision else {
                    throw error
                }
            }
            return WatchMirror(found, revision: answer.header.revision, era: cluster.era)
        }

        // MARK: Doubting

        /// An endpoint has let a request time out: a watch there may be as dead.
        func suspect(_ endpoint: Endpoint) {
            let stream = state.withLock { $0.current?.endpoint == endpoint ? $0.current?.task : nil }
            stream?.cancel()
        }

        /// Begins anew where it stands, with the connections and the login of now.
        func restart() {
            state.withLock { $0.current?.task }?.cancel()
        }

        /// Holds what a linearizable read showed against what the watch has told; ends the stream if it stays behind.
        func audit(_ summary: WatchMirror.Summary) {
            let isNew = state.withLock { state in
                state.lastAudit = SystemClock.now()
                guard let mirror = state.mirror, state.isServing, !mirror.agrees(with: summary) else { return false }
                defer { state.doubt = summary }
                return state.doubt == nil
            }
            guard isNew else { return }
            Task { [weak self] in
                try? await Task.sleep(for: Self.lag, tolerance: .milliseconds(10), clock: .continuous)
                self?.settleDoubt()
            }
        }

        private func settleDoubt() {
            let stream = state.withLock { state -> Task<End, Never>? in
                defer { state.doubt = nil }
                guard let doubt = state.doubt, let mirror = state.mirror, !mirror.agrees(with: doubt) else {
                    return nil
                }
                // What it did not tell is not known: all begins anew.
                state.mirror = nil
                return state.current?.task
            }
            guard let stream else { return }
            cluster.logger.notice("etcd's watch has fallen silent; it is begun anew")
            stream.cancel()
        }

        private static func lookNowAndThen(_ keeper: WatchKeeper?) async {
            guard let keeper else { return }
            var sinceMembers = SystemClock.now()
            while !Task.isCancelled {
                let interval = min(Self.interval, keeper.cluster.settings.memberInterval)
                guard (try? await Task.sleep(for: interval, tolerance: .milliseconds(100), clock: .continuous)) != nil
                else { return }
                let now = SystemClock.now()
                let limit = now + .seconds(5)
                if now - sinceMembers >= keeper.cluster.settings.memberInterval {
                    sinceMembers = now
                    await keeper.cluster.lookForMembers(olderThan: .seconds(1), until: limit)
                }
                await keeper.lookIfNobodyElseDoes(until: limit)
            }
        }

        /// When a renewal last looked, so that no look of our own is needed.
        private func lookIfNobodyElseDoes(until deadline: Instant) async {
            let isNeeded = state.withLock { state in
                guard state.current != nil, state.mirror != nil else { return false }
                guard let last = state.lastAudit else { return true }
                return SystemClock.now() - last >= Self.patience
            }
            guard isNeeded else { return }
            let cluster = cluster
            let body = JSONValue.object(WatchMirror.Summary.range(cluster.keys))
            let answer = await cluster.race("see what etcd's watch should have told", until: deadline) { endpoint in
                do throws(GatewayFailure) {
                    let before = cluster.before
                    let answer = try await cluster.call("/v3/kv/range", body, at: endpoint, until: deadline)
                    try cluster.admit(answer.header, from: endpoint, isCurrent: true, before: before)
                    guard let newest = GatewayAnswer.keyValues(.object(answer.body)) else {
                        throw EtcdReader.malformed(endpoint)
                    }
                    return .success(
                        WatchMirror.Summary(
                            count: Int(clamping: answer.body["count"]?.signed ?? 0),
                            newest: newest.first?.modified ?? 0,
                            revision: answer.header.revision, era: before.era))
                } catch {
                    return .failure(error)
                }
            }
            if case .success(let summary) = answer { audit(summary) }
        }
    }
#endif
