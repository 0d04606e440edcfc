#if ZooKeeper
    import ClusterModel
    import Dispatch
    import PluginInterfaces
    import Synchronization

    /// One handle, hence one session of ZooKeeper, from its first attempt to connect to its end.
    ///
    /// The library's thread tells it what happens; it keeps what that means and lets nothing be sent while there is no
    /// connection. Whatever can block (names, probes, opening and closing) runs on a queue of its own.
    final class ZooKeeperConnection: Sendable {
        enum Phase: Hashable, Sendable {
            /// Never connected so far.
            case opening
            /// The number counts connections of this handle.
            case connected(Int)
            case disconnected
            case dead(Death)
            case closed
        }

        /// Why a handle cannot be used any more.
        enum Death: Hashable, Sendable {
            case expired
            case authenticationFailed
            /// The servers know less than this client has seen: they refuse it for ever.
            case setBack
        }

        struct State {
            var phase = Phase.opening
            var generation = 0
            var handle: ZooKeeperHandle?
            var identity: ClientIdentity?
            var server: ServerAddress?
            var role = ServerRole.follower
            var isRoleKnown = false
            var isProbing = false
            var lastSuspicion = Instant.distantPast
            var tick: Duration?
            var ledger: ProofLedger?
            var waiters: [PendingReply<Bool>] = []
            var leader = TrackedNode()
            var member = TrackedNode()
            var isRenewing = false
            /// Numeric addresses, and those that the library was last given.
            var servers: [ServerAddress] = []
            var offered: [ServerAddress] = []
            /// The servers were changed while the library could keep its connection: its own list is still the old one.
            var mayMeetStrangers = false
            var trouble: String?
            /// Whether its session was handed out: then its end is signalled.
            var isSession = false
            /// Whether a `sync` was answered since this handle was opened.
            var isSynced = false
            /// Since when the servers are seen to know less than this client.
            var behindSince: Instant?
        }

        let settings: ZooKeeperSettings
        let route: ServerRoute
        let paths: KeyPaths
        /// The lifetime asked for.
        let asked: Duration
        let resume: ClientIdentity?
        let openedAt: Instant
        let state = Mutex(State())
        private let signal: @Sendable (StoreSignal) -> Void
        /// The newest transaction that was seen, by whatever connection.
        private let newest: @Sendable () -> UInt64
        private let onSetBack: @Sendable () -> Void
        private let queue = DispatchQueue(label: "zookeeper.connection")

        init(
            settings: ZooKeeperSettings, route: ServerRoute, paths: KeyPaths, asked: Duration, resume: ClientIdentity?,
            newest: @escaping @Sendable () -> UInt64, onSetBack: @escaping @Sendable () -> Void,
            signal: @escaping @Sendable (StoreSignal) -> Void
        ) {
            self.newest = newest
            self.onSetBack = onSetBack
            self.settings = settings
            self.route = route
            self.paths = paths
            self.asked = asked
            self.resume = resume
            self.signal = signal
            openedAt = SystemClock.now()
        }

        /// Begins to connect; returns at once.
        func start() {
            queue.async { self.open() }
        }

        var phase: Phase { state.withLock { $0.phase } }
        var identity: ClientIdentity? { state.withLock { $0.identity } }
        var granted: Duration? { state.withLock { $0.ledger?.lifetime } }

        // MARK: Opening

        private func open() {
            guard phase == .opening, state.withLock({ $0.handle == nil }) else { return }
            let servers = route.addresses()
            guard !servers.isEmpty else {
                let trouble = "none of these names can be resolved"
                state.withLock { $0.trouble = trouble }
                queue.asyncAfter(deadline: .now() + .seconds(1)) { self.open() }
                return
            }
            // A server that hangs would hold up the library for two thirds of the lifetime: ask who answers first.
            let answers = servers.count > 1 ? ServerProbe.askAll(servers, within: route.probeLimit) : [nil]
            let ordered = ServerProbe.order(servers, answers)
            let handle = ZooKeeperHandle(
                servers: ordered, lifetime: asked, resume: resume, credentials: settings.credentials,
                accessList: settings.accessList, events: { [weak self] event in self?.receive(event) })
            let (isWanted, waiters) = state.withLock { state -> (Bool, [PendingReply<Bool>]) in
                state.servers = ordered
                state.offered = ordered
                if handle == nil { state.trouble = "ZooKeeper's client library refused to start" }
                guard state.phase != .closed else { return (false, []) }
                state.handle = handle
                // Events may have come before.
                guard handle != nil, state.phase != .opening else { return (true, []) }
                defer { state.waiters = [] }
                return (true, state.waiters)
            }
            for waiter in waiters { waiter.finish(.success(true)) }
            guard let handle else {
                queue.asyncAfter(deadline: .now() + .seconds(1)) { self.open() }
                return
            }
            if !isWanted {
                handle.close(abandon: true)
                return
            }
            watchOver(generation: 0)
        }

        /// While unconnected, sees to it that the library does not hang on a server that accepts but never answers.
        private func watchOver(generation: Int) {
            let delay = max(route.connectTimeout, .milliseconds(100))
            queue.asyncAfter(deadline: .now() + .nanoseconds(Int(delay.nanosecondsClamped))) { [weak self] in
                guard let self else { return }
                let handle = state.withLock { state -> ZooKeeperHandle? in
                    guard state.generation == generation else { return nil }
                    switch state.phase {
                    case .opening, .disconnected: return state.handle
                    case .connected, .dead, .closed: return nil
                    }
                }
                guard let handle else { return }
                offerServers(handle)
                if !noteSetBack() { watchOver(generation: generation) }
            }
        }

        /// Servers that were emptied, or given an older state, refuse a client that has seen more, and the library never
        /// says so. Twice in a row a majority of them has to serve and to know less; true when the handle is given up.
        private func noteSetBack() -> Bool {
            let servers = state.withLock { $0.servers }
            let seen = newest()
            guard seen > 0, !settings.isBehindProxy, !servers.isEmpty else { return false }
            let serving = ServerProbe.askAll(servers, within: route.probeLimit).compactMap { $0 }
                .filter { $0.role != nil }
            let isBehind =
                serving.count * 2 > servers.count && serving.allSatisfy { ($0.newest ?? .max) < seen }
            let now = SystemClock.now()
            let isCertain = state.withLock { state in
                guard isBehind else {
                    state.behindSince = nil
                    return false
                }
                let since = state.behindSince ?? now
                state.behindSince = since
                return now - since >= .milliseconds(500)
            }
            guard isCertain else { return false }
            onSetBack()
            die(.setBack)
            return true
        }

        /// Gives the library the servers that answer, the leader first; all of them when none does.
        private func offerServers(_ handle: ZooKeeperHandle) {
            let resolved = route.addresses()
            let servers = resolved.isEmpty ? state.withLock { $0.servers } : resolved
            guard servers.count > 1 || servers != state.withLock({ $0.offered }) else { return }
            let (ordered, offer) = choose(servers)
            let isNew = state.withLock { state in
                state.servers = ordered
                guard Set(state.offered) != Set(offer) || state.mayMeetStrangers else { return false }
                state.offered = offer
                switch state.phase {
                case .opening, .disconnected:
                    state.mayMeetStrangers = false
                    return true
                case .connected, .dead, .closed: return false
                }
            }
            if isNew { handle.setServers(offer) }
        }

        /// All servers in the order to try them, and those of them that answer.
        private func choose(_ servers: [ServerAddress]) -> (ordered: [ServerAddress], alive: [ServerAddress]) {
            let answers = ServerProbe.askAll(servers, within: route.probeLimit)
            let ordered = ServerProbe.order(servers, answers)
            let alive = ordered.prefix(answers.count { $0 != nil })
            return (ordered, alive.isEmpty ? ordered : Array(alive))
        }

        /// The route leads to other servers now. A connection to one of them is kept (the library would shuffle it); one
        /// to a server that is none of them any more is dropped, and the session goes on with another.
        func serversChanged() {
            queue.async { [self] in
                let servers = route.addresses()
                let (handle, isKept) = state.withLock { state -> (ZooKeeperHandle?, Bool) in
                    // Names that cannot be resolved now are again when the connection is lost.
                    guard !servers.isEmpty else { return (nil, true) }
                    state.servers = servers
                    state.mayMeetStrangers = true
                    if case .connected = state.phase, let server = state.server, servers.contains(server) {
                        return (nil, true)
                    }
                    return (state.handle, false)
                }
                if let handle, !isKept { move(handle) }
            }
        }

        /// Makes the library leave its server for one that it should use.
        private func move(_ handle: ZooKeeperHandle) {
            let servers = state.withLock { $0.servers }
            let (ordered, offer) = choose(servers)
            let isWanted = state.withLock { state in
                state.servers = ordered
                state.offered = offer
                state.mayMeetStrangers = false
                switch state.phase {
                case .opening, .connected, .disconnected: return true
                case .dead, .closed: return false
                }
            }
            if isWanted { handle.setServers(offer) }
        }

        // MARK: What the library tells, on its thread

        func receive(_ event: HandleEvent) {
            switch event {
            case .connected(let identity, let negotiated, let server):
                let (waiters, generation, stray) = state.withLock {
                    state -> ([PendingReply<Bool>], Int?, ZooKeeperHandle?) in
                    switch state.phase {
                    case .dead, .closed: return ([], nil, nil)
                    case .opening, .connected, .disconnected: break
                    }
                    state.generation += 1
                    state.phase = .connected(state.generation)
                    state.identity = identity
                    state.server = server
                    state.role = .follower
                    state.isRoleKnown = false
                    state.trouble = nil
                    if state.ledger?.lifetime == negotiated {
                        state.ledger?.restart()
                    } else {
                        state.ledger = makeLedger(negotiated, tick: settings.tick ?? state.tick)
                    }
                    // The library knew a server that was taken from the list meanwhile.
                    let isStray = state.mayMeetStrangers && server.map { !state.servers.contains($0) } ?? false
                    defer { state.waiters = [] }
                    return (state.waiters, state.generation, isStray ? state.handle : nil)
                }
                guard let generation else { return }
                if let stray { queue.async { self.move(stray) } }
                askRole(generation)
                for waiter in waiters { waiter.finish(.success(true)) }
                signal(.connected)
            case .disconnected:
                let lost = state.withLock { state -> (ServerAddress?, Int)? in
                    guard case .connected = state.phase else { return nil }
                    state.phase = .disconnected
                    return (state.server, state.generation)
                }
                guard let (server, generation) = lost else { return }
                signal(
                    .disconnected(
                        "the connection to ZooKeeper\(server.map { " at \(route.shown($0))" } ?? "") was lost"))
                queue.async {
                    // The list may have been cut down to who answered last time.
                    if let handle = self.state.withLock({ $0.handle }) { self.offerServers(handle) }
                }
                watchOver(generation: generation)
            case .expired: die(.expired)
            case .authenticationFailed: die(.authenticationFailed)
            case .watch(let path, _):
                guard phase != .closed, paths.contains(path) else { return }
                signal(.changed(nil))
            }
        }

        private func makeLedger(_ negotiated: Duration, tick: Duration?) -> ProofLedger {
            ProofLedger(lifetime: negotiated, asked: asked, tick: tick, syncLimit: settings.syncLimit)
        }

        private func die(_ death: Death) {
            let (waiters, isSession) = state.withLock { state -> ([PendingReply<Bool>], Bool?) in
                switch state.phase {
                case .dead, .closed: return ([], nil)
                case .opening, .connected, .disconnected: break
                }
                state.phase = .dead(death)
                defer { state.waiters = [] }
                return (state.waiters, state.isSession)
            }
            for waiter in waiters { waiter.finish(.success(true)) }
            guard let isSession else { return }
            switch death {
            case .expired, .setBack:
                signal(isSession ? .sessionLost : .disconnected("ZooKeeper let the connection's session expire"))
            case .authenticationFailed:
                signal(.disconnected("ZooKeeper refused the credentials in zookeeper.auth_data"))
                // Whether it lives on or not, nobody can renew it any more through this handle.
                if isSession { signal(.sessionLost) }
            }
        }

        /// From now on the session's end is signalled; returns how it ended already, if it did.
        func handOut() -> Death? {
            state.withLock { state in
                if case .dead(let death) = state.phase { return death }
                state.isSession = true
                return nil
            }
        }

        // MARK: The server's role

        /// Asks the connected server whether it is the leader, on a connection of its own; once per connection, and
        /// again for as long as it does not answer.
        func askRole(_ generation: Int) {
            guard !settings.isBehindProxy else { return }
            let ask = state.withLock { state -> (ServerAddress, Bool)? in
                guard state.phase == .connected(generation), !state.isRoleKnown, !state.isProbing,
                    let server = state.server
                else { return nil }
                state.isProbing = true
                return (server, settings.tick == nil && state.tick == nil)
            }
            guard let (server, wantsTick) = ask else { return }
            queue.async { [self] in
                let limit = min(route.probeLimit, (granted ?? .seconds(4)) / 4)
                let probe = ServerProbe.ask(server, within: limit, tick: wantsTick)
                state.withLock { state in
                    state.isProbing = false
                    // A role change closes the connection: what a server says holds for the connection it is about.
                    guard state.phase == .connected(generation), let probe, let role = probe.role else { return }
                    state.role = role
                    state.isRoleKnown = true
                    if let tick = probe.tick, settings.tick == nil, state.tick == nil, let ledger = state.ledger {
                        state.tick = tick
                        var better = makeLedger(ledger.lifetime, tick: tick)
                        for proof in ledger.proofs { better.acknowledge(sent: proof) }
                        state.ledger = better
                    }
                }
                // Connected again in between: its probe was held back by this one.
                if case .connected(let now) = phase, now != generation { askRole(now) }
            }
        }

        /// Whether the connected server was asked for its role and answered; waits a little for that.
        func settleRole(until deadline: Instant) async {
            while !settings.isBehindProxy, SystemClock.now() < deadline {
                let isSettled = state.withLock { state in
                    if case .connected = state.phase { return state.isRoleKnown || !state.isProbing }
                    return true
                }
                if isSettled { return }
                try? await Task.sleep(for: .milliseconds(2))
                if Task.isCancelled { return }
            }
        }

        /// A request got no answer in time: if the server is the only one that keeps silent, another is tried.
        func suspectServer(_ generation: Int) {
            let suspect = state.withLock { state -> (ServerAddress, [ServerAddress])? in
                guard state.phase == .connected(generation), state.servers.count > 1, let server = state.server,
                    SystemClock.now() - state.lastSuspicion > .seconds(1)
                else { return nil }
                state.lastSuspicion = SystemClock.now()
                return (server, state.servers)
            }
            guard let (server, servers) = suspect, servers.contains(server) else { return }
            queue.async { [self] in
                let answers = ServerProbe.askAll(servers, within: route.probeLimit)
                let answering = Set(zip(servers, answers).filter { $0.1?.role != nil }.map(\.0))
                guard !answering.isEmpty, !answering.contains(server), phase == .connected(generation),
                    let handle = state.withLock({ $0.handle })
                else { return }
                _ = handle.cut(server)
            }
        }

        // MARK: Use

        /// The handle while it is connected; else why not. Waits for the very first connection only; the patient (who
        /// open a session) for any.
        func ready(until deadline: Instant, patient: Bool = false) async throws(StoreError) -> Live {
            while true {
                let (live, waiter) = try state.withLock {
                    state throws(StoreError) -> (Live?, PendingReply<Bool>?) in
                    switch state.phase {
                    case .connected(let generation):
                        guard let handle = state.handle, let identity = state.identity else {
                            // The library was faster than the call that made the handle: that one wakes us.
                            let waiter = PendingReply<Bool>()
                            state.waiters.append(waiter)
                            return (nil, waiter)
                        }
                        return (Live(handle: handle, generation: generation, session: identity.session), nil)
                    case .opening:
                        let waiter = PendingReply<Bool>()
                        state.waiters.append(waiter)
                        return (nil, waiter)
                    case .disconnected where patient && SystemClock.now() < deadline:
                        let waiter = PendingReply<Bool>()
                        state.waiters.append(waiter)
                        return (nil, waiter)
                    case .disconnected:
                        throw unreachable(state)
                    case .dead(let death): throw error(of: death)
                    case .closed: throw StoreError(.closed, "the connection to ZooKeeper was closed")
                    }
                }
                if let live { return live }
                // Callers other than `openSession` are not held up for long by servers that are down.
                let limit = openedAt + route.connectTimeout + .seconds(1)
                _ = await waiter?.wait(until: patient ? deadline : min(deadline, limit))
                let problem = state.withLock { state -> StoreError? in
                    state.waiters.removeAll { $0 === waiter }
                    switch state.phase {
                    case .opening: return unreachable(state)
                    case .connected: return state.handle == nil ? unreachable(state) : nil
                    case .disconnected, .dead, .closed: return nil
                    }
                }
                if let problem { throw problem }
            }
        }

        private func unreachable(_ state: borrowing State) -> StoreError {
            let why = state.trouble ?? route.trouble ?? "no server answers"
            return StoreError(
                .unreachable,
                "cannot reach ZooKeeper at \(route.hosts): \(why); check that it runs, and zookeeper.hosts")
        }

        func error(of death: Death) -> StoreError {
            switch death {
            case .setBack:
                StoreError(
                    .sessionLost,
                    "ZooKeeper was set back to an older state, or emptied: the session of before is not to be had")
            case .expired:
                StoreError(.sessionLost, "ZooKeeper ended the session: it heard nothing from here for its lifetime")
            case .authenticationFailed:
                StoreError(
                    .notAuthorized,
                    "ZooKeeper refused to authenticate; check zookeeper.auth_data, and that the servers know its "
                        + "schemes (\(settings.credentials.map(\.scheme).joined(separator: ", ")))")
            }
        }

        /// Begins to end the handle, and the session too unless abandoned.
        @discardableResult
        func shut(abandon: Bool) -> PendingReply<Bool> {
            let (handle, waiters) = state.withLock { state -> (ZooKeeperHandle?, [PendingReply<Bool>]) in
                state.phase = .closed
                defer {
                    state.handle = nil
                    state.waiters = []
                }
                return (state.handle, state.waiters)
            }
            for waiter in waiters { waiter.finish(.success(true)) }
            let done = PendingReply<Bool>()
            guard let handle else {
                done.finish(.success(true))
                return done
            }
            // A serial queue has a thread of its own; the global queues share theirs with Swift's tasks.
            DispatchQueue(label: "zookeeper.close").async {
                handle.close(abandon: abandon)
                done.finish(.success(true))
            }
            return done
        }

        /// Ends the handle, and waits a bounded time for the library: a frozen server holds it up.
        func close(abandon: Bool) async {
            _ = await shut(abandon: abandon).wait(until: SystemClock.now() + .seconds(3))
        }
    }

    /// A connection that is up, as a call found it.
    struct Live: Sendable {
        var handle: ZooKeeperHandle
        var generation: Int
        var session: SessionID
    }
#endif
