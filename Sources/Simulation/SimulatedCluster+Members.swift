import ClusterModel
import HighAvailability

/// What can be done to a member from outside.
extension SimulatedCluster {
    package func startAll() {
        for member in all { start(member) }
    }

    /// Starts an agent: what runs is found running, a living guard is found with what it was told last.
    package func start(_ node: SimulatedMember, resume: Bool = false, marker: Bool = true) {
        guard node.machine == nil, !node.isHostDown else { return }
        node.instance += 1
        node.ids = []
        node.job = nil
        node.watches = []
        node.lastWord = nil
        node.exit = nil
        let identity = MemberIdentity(
            name: node.name, scope: "demo", connURL: "postgres://\(node.name)/postgres", apiURL: node.apiURL,
            nonce: UInt64(node.instance))
        node.hasMachine = true
        node.machine = HAMachine(
            identity: identity, settings: node.settings,
            at: Moment(now: node.local(now), wall: wall, random: random.next()))
        node.guardian.isUp = true
        node.home = node.recordedHome
        node.firstHome = node.home
        if !resume { node.sessions = [:] }
        node.isFrozen = false
        node.inbox = []
        let adopted = node.postgres.run?.isAdopted ?? false
        let server: ServerFacts =
            node.postgres.run == nil ? .down(node.postgres.data, exit: nil) : .running(pid: 1, isAdopted: adopted)
        let begin = InstanceStart(
            server: server, marker: marker ? node.marker : nil, cachedConfiguration: node.cachedConfiguration,
            hasSavedSession: resume, grants: grantFile(node), migration: record(of: node))
        deliverInOrder(node, .started(begin), after: .milliseconds(1))
        let guardian = node.guardian
        let armed =
            node.postgres.run != nil && guardian.deadlines != nil && !guardian.isFrozen ? guardian.term : nil
        deliverInOrder(
            node,
            .guardReady(
                isAdopting: adopted, isPaused: guardian.posture == .paused, armed: armed,
                isPromoting: node.postgres.run != nil && guardian.hasPromoted),
            after: .milliseconds(2))
    }

    /// The agent ends; guard and PostgreSQL go on.
    package func killAgent(_ node: SimulatedMember) {
        guard node.machine != nil else { return }
        node.machine = nil
        node.hasMachine = false
        node.instance += 1
        // Who asked hears that the connection ended.
        open = open.filter { $0.value.member != node.name }
        node.inbox = []
        if let job = node.job?.job {
            switch job {
            case .bootstrap, .clone, .rewind, .prePromote:
                // The work dies with the one who does it; a half-made directory is no data directory.
                node.job = nil
            default: break
            }
        }
        for other in all where other.name != node.name && other.watches.contains(node.name) {
            if reachable(other, node) {
                deliver(other, .peerSilent(node.name, "connection reset"), after: .milliseconds(2))
            }
        }
    }

    /// Everything of the host ends at once, without a word.
    package func killHost(_ node: SimulatedMember) {
        open = open.filter { $0.value.member != node.name }
        node.machine = nil
        node.hasMachine = false
        node.instance += 1
        node.inbox = []
        node.isHostDown = true
        node.job = nil
        node.isServerFrozen = false
        node.isGuardFrozen = false
        node.isHostPaused = false
        node.postgres.crash()
        node.guardian = ModelGuard()
        node.isBootedAnew = true
        noticeSilence(of: node) { $0.isHostDown }
    }

    package func startHost(_ node: SimulatedMember) {
        node.isHostDown = false
        start(node)
    }

    /// Those who watch a member find out after a while that nothing comes, if it still is so.
    func noticeSilence(of node: SimulatedMember, while holds: @escaping (SimulatedMember) -> Bool) {
        for other in all where other.watches.contains(node.name) {
            after(silenceTakes) { [unowned self, unowned node, unowned other] in
                guard holds(node) else { return }
                self.deliver(other, .peerSilent(node.name, "no heartbeat"))
            }
        }
    }

    package func crashPostgres(_ node: SimulatedMember) {
        guard node.postgres.run != nil else { return }
        node.isServerFrozen = false
        node.postgres.crash()
        silent(node, exit: "ended by signal 9")
    }

    /// Stops the agent's process.
    package func freeze(_ node: SimulatedMember) {
        node.isFrozen = true
        noticeSilence(of: node) { $0.isFrozen }
    }

    package func thaw(_ node: SimulatedMember) {
        guard node.isFrozen else { return }
        node.isFrozen = false
        awaken(node)
    }

    /// What waited for the agent reaches it now.
    private func awaken(_ node: SimulatedMember) {
        guard node.machine != nil, !node.isFrozen, !node.isHostPaused else { return }
        let instance = node.instance
        after(.milliseconds(1) + node.turn) { [unowned self, unowned node] in
            if node.instance == instance { self.empty(inboxOf: node) }
        }
        deliver(node, .wake, after: .milliseconds(2))
        if let session = node.session, stores[node.home].sessions[session] == nil, answers(node, node.home) {
            node.session = nil
            tell(node, .sessionLost("it expired"), after: .milliseconds(5))
        }
        after(.milliseconds(5)) { [unowned self, unowned node] in self.greet(node) }
    }

    /// In the order in which it came; what comes meanwhile waits behind it.
    private func empty(inboxOf node: SimulatedMember) {
        let instance = node.instance
        while !node.isFrozen, !node.isHostPaused, node.instance == instance, let event = node.inbox.first {
            node.inbox.removeFirst()
            handle(node, event)
        }
    }

    // MARK: - Guard and server processes

    /// Stops the guard's process: its own timer ends it, and PostgreSQL with it, unless the agent is quicker.
    func freezeGuard(_ node: SimulatedMember) {
        guard node.guardian.isUp, !node.isGuardFrozen else { return }
        node.isGuardFrozen = true
        watchFrozenGuard(node)
    }

    /// The timer stands where the last round left it: 50 ms after the Q that was known then.
    private func watchFrozenGuard(_ node: SimulatedMember) {
        guard let deadlines = node.guardian.deadlines, node.guardian.isEnforced, node.guardian.posture != .paused else {
            return
        }
        let known = node.guardian.term
        at(node.global(deadlines.quit + .milliseconds(50))) { [unowned self, unowned node] in
            guard node.isGuardFrozen, node.guardian.term == known else { return }
            self.killGuard(node)
        }
        let patience = max(
            min(deadlines.granted / 8, .milliseconds(250)) + LeaseDeadlines.stoppingBudget(deadlines.granted) / 2,
            .milliseconds(750))
        after(patience + .milliseconds(250)) { [unowned self, unowned node] in
            guard node.isGuardFrozen, node.guardian.term == known, node.machine != nil, !node.isFrozen else { return }
            self.killGuard(node)
        }
    }

    func thawGuard(_ node: SimulatedMember) {
        guard node.isGuardFrozen else { return }
        node.isGuardFrozen = false
        if let unread = node.guardian.unread {
            node.guardian.unread = nil
            arm(node, unread.fence, unread.deadlines, succeeds: unread.succeeds)
        }
        catchUp(node)
    }

    /// The guard ends: the death signal ends PostgreSQL, and the agent launches another guard.
    func killGuard(_ node: SimulatedMember) {
        guard node.guardian.isUp, !node.isHostDown else { return }
        node.isGuardFrozen = false
        node.guardian = ModelGuard()
        node.guardian.isUp = false
        deliverInOrder(node, .guardLost("the connection ended"), after: .milliseconds(1))
        if node.postgres.run != nil {
            if node.isServerFrozen {
                // The signal waits for the thaw: one of the residual risks.
                node.isExcused = true
            } else {
                node.postgres.crash()
            }
        }
        let instance = node.instance
        after(.milliseconds(120)) { [unowned self, unowned node] in
            guard node.instance == instance, node.machine != nil, !node.guardian.isUp else { return }
            node.guardian.isUp = true
            let isAdopting = node.postgres.run != nil
            node.postgres.run?.isAdopted = true
            self.deliverInOrder(
                node, .server(isAdopting ? .running(pid: 1, isAdopted: true) : .down(node.postgres.data, exit: nil)))
            if !isAdopting { self.deliverInOrder(node, .guardSilent) }
            self.deliverInOrder(node, .guardReady(isAdopting: isAdopting), after: .milliseconds(1))
        }
    }

    /// Stops every process of PostgreSQL. The guard lives, and kills it at K.
    func freezeServer(_ node: SimulatedMember) {
        guard node.postgres.run != nil else { return }
        node.isServerFrozen = true
    }

    func thawServer(_ node: SimulatedMember) {
        guard node.isServerFrozen else { return }
        node.isServerFrozen = false
        if node.postgres.run != nil, !node.guardian.isUp, node.machine == nil || node.isExcused {
            // What the dead guard's signal waited for.
            after(.milliseconds(3)) { [unowned self, unowned node] in
                node.isExcused = false
                if node.postgres.run != nil { self.crashPostgres(node) }
            }
        }
        replicate()
    }

    /// The whole machine stands still: a virtual machine that is paused. What it acknowledges right after is a residual risk.
    func pauseHost(_ node: SimulatedMember) {
        guard !node.isHostDown else { return }
        node.isHostPaused = true
        node.isExcused = true
        noticeSilence(of: node) { $0.isHostPaused }
    }

    func resumeHost(_ node: SimulatedMember) {
        guard node.isHostPaused else { return }
        node.isHostPaused = false
        // Milliseconds until the guard runs: the backends may be first.
        after(.milliseconds(4)) { [unowned self, unowned node] in
            self.catchUp(node)
            node.isExcused = false
        }
        awaken(node)
    }

    // MARK: - Network

    package func cutStore(_ node: SimulatedMember) {
        guard !node.isStoreCut else { return }
        node.isStoreCut = true
        node.proofs = [:]
        tell(node, .storeDisconnected("connection lost"), after: .milliseconds(5))
    }

    package func joinStore(_ node: SimulatedMember) {
        node.isStoreCut = false
        node.cutFrom = []
        guard answers(node, node.home) else { return }
        let number = node.home
        if stores[number].expire(at: now) { expired(number) }
        if let session = node.session, stores[number].sessions[session] == nil {
            node.session = nil
            tell(node, .sessionLost("it expired"), after: .milliseconds(5))
        } else if let session = node.session {
            if stores[number].model.beatsByItself { _ = stores[number].touch(session, at: now) }
            tell(node, .storeConnected, after: .milliseconds(5))
        }
    }

    /// The ensemble stops answering; its sessions run out at the end unless a new leader begins them anew.
    package func stopStore() {
        if !isStoreStopped { stoppedAt = now }
        isStoreStopped = true
        for member in all where member.storeReachable {
            member.proofs = [:]
            let instance = member.instance
            after(Self.outageNoticed) { [unowned self, unowned member] in
                guard member.instance == instance else { return }
                self.tell(member, .storeDisconnected("no server answers"))
                // Noticed late, when it is back already: what is told last is how it stands.
                if !self.isStoreStopped, member.storeReachable {
                    self.tell(member, .storeConnected, after: .milliseconds(1))
                }
            }
        }
    }

    package func startStore(electsLeader: Bool) {
        guard isStoreStopped else { return }
        isStoreStopped = false
        for number in stores.indices {
            if electsLeader { stores[number].renewAll(at: now) }
            if stores[number].expire(at: now) { expired(number) }
        }
        for member in all where member.storeReachable { joinStore(member) }
    }

    func reachable(_ a: SimulatedMember, _ b: SimulatedMember) -> Bool {
        !a.isHostDown && !b.isHostDown && !a.isolated.contains(b.name) && !b.isolated.contains(a.name)
            && !a.deafTo.contains(b.name) && !b.deafTo.contains(a.name) && !a.isHostPaused && !b.isHostPaused
    }

    /// Whether what one sends on an open connection gets through, whatever becomes of the answer.
    func arrives(from sender: SimulatedMember, at receiver: SimulatedMember) -> Bool {
        !sender.isHostDown && !receiver.isHostDown && !sender.isolated.contains(receiver.name)
            && !receiver.isolated.contains(sender.name) && !receiver.deafTo.contains(sender.name)
    }

    /// Cuts a member from others, both ways or deaf only.
    package func cut(_ node: SimulatedMember, from others: [SimulatedMember], oneWay: Bool) {
        for other in others where other !== node {
            if oneWay { node.deafTo.insert(other.name) } else { node.isolated.insert(other.name) }
            let pairs = oneWay ? [(node, other)] : [(node, other), (other, node)]
            for (hearer, silent) in pairs where hearer.watches.contains(silent.name) {
                after(silenceTakes) { [unowned self, unowned hearer, unowned silent] in
                    guard !self.arrives(from: silent, at: hearer) else { return }
                    self.deliver(hearer, .peerSilent(silent.name, "no heartbeat"))
                }
            }
        }
    }

    func join(_ node: SimulatedMember) {
        node.isolated = []
        node.deafTo = []
        for other in all where other !== node { other.isolated.remove(node.name); other.deafTo.remove(node.name) }
        after(.milliseconds(10)) { [unowned self, unowned node] in
            for member in self.all where member === node || node.watches.contains(member.name) { self.greet(member) }
        }
    }

    // MARK: - For stories

    /// A client writes to whoever takes it.
    @discardableResult
    package func write(_ bytes: UInt64 = 100_000) -> String? {
        guard let node = all.first(where: { $0.postgres.isWritable && !$0.isHostDown }) else { return nil }
        node.postgres.lsn = LSN(node.postgres.lsn.bytes + bytes)
        replicate()
        return node.name
    }

    package func isHealthy(_ count: Int) -> Bool {
        guard let leader, primary == leader else { return false }
        return all.filter { $0.postgres.isStreaming && $0.postgres.run?.upstream == leader }.count == count - 1
            && store.members.count >= count
    }
}
