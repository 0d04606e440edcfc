import ClusterModel
import HighAvailability

/// The jobs on PostgreSQL.
extension SimulatedCluster {
    typealias Later = (Duration, @escaping () -> Void) -> Void

    func stopServer(_ node: SimulatedMember, _ mode: StopMode) {
        guard let started = node.postgres.run?.started else { return }
        if mode == .fast { return cleanStop(node) {} }
        // A stopped process takes no SIGQUIT; the guard follows up with SIGKILL.
        after(node.isServerFrozen ? .milliseconds(500) : .milliseconds(10)) { [unowned self, unowned node] in
            guard node.postgres.run?.started == started else { return }
            if node.isServerFrozen, node.isGuardFrozen || !node.guardian.isUp { return }
            self.crash(node, exit: "ended by signal 3")
        }
    }

    private func crash(_ node: SimulatedMember, exit: String) {
        node.postgres.crash()
        silent(node, exit: exit)
    }

    private func cleanStop(_ node: SimulatedMember, _ done: @escaping () -> Void) {
        guard let started = node.postgres.run?.started else { return done() }
        if node.postgres.hangsInStop || node.isServerFrozen {
            // Only somebody else can end it.
            after(.milliseconds(20)) { [unowned self, unowned node] in
                if node.postgres.run?.started == started { self.cleanStop(node, done) } else { done() }
            }
            return
        }
        after(node.postgres.stopTakes) { [unowned self, unowned node] in
            guard node.postgres.run?.started == started else { return done() }
            if node.isServerFrozen || node.isHostPaused { return self.cleanStop(node, done) }
            node.postgres.beginCleanStop()
            self.replicate()
            node.postgres.endCleanStop()
            self.silent(node, exit: "exited with status 0")
            done()
        }
    }

    // MARK: - Jobs

    func end(_ node: SimulatedMember, _ id: EffectID, _ end: JobEnd) {
        guard let running = node.job, running.id == id, running.instance == node.instance else { return }
        node.job = nil
        deliverInOrder(node, .jobEnded(id, end))
    }

    func cancelJob(_ node: SimulatedMember, _ id: EffectID) {
        guard let running = node.job, running.id == id else { return }
        after(.milliseconds(5)) { [unowned self, unowned node] in
            guard let running = node.job, running.id == id else { return }
            self.end(node, id, .cancelled)
        }
    }

    func startJob(_ node: SimulatedMember, _ id: EffectID, _ job: Job, _ fault: Mishap?) {
        if node.job != nil { complain("\(node.name): \(job.name) while a job runs") }
        node.job = (id, job, node.instance)
        let instance = node.instance
        // What is still to come belongs to the cluster: it must not hold it.
        let later: Later = { [unowned self, unowned node] delay, action in
            self.after(delay) { [unowned node] in
                guard node.instance == instance, node.job?.id == id, !node.isHostDown else { return }
                action()
            }
        }
        if case .notSent? = fault {
            later(.milliseconds(20)) { [unowned self] in self.end(node, id, .failed("made to fail")) }
            return
        }
        judgeDestruction(node, job)
        switch job {
        case .bootstrap:
            later(.milliseconds(300)) { [unowned self] in
                node.postgres = self.fresh(node.postgres)
                node.postgres.identifier = "70000000000000\(self.random.next() % 100_000)"
                self.end(node, id, node.postgres.control.map(JobEnd.made) ?? .failed("no data"))
            }
        case .clone(let target, _): runCopy(node, id, target, .milliseconds(500), isRewind: false, later)
        case .rewind(let target): runCopy(node, id, target, .milliseconds(300), isRewind: true, later)
        case .start(let role): runStart(node, id, role, later)
        case .stop(let mode):
            later(.zero) { [unowned self] in
                if mode == .fast {
                    self.cleanStop(node) { later(.milliseconds(8)) { self.end(node, id, .done) } }
                } else {
                    self.stopServer(node, mode)
                    later(.milliseconds(30)) { self.end(node, id, .done) }
                }
            }
        case .prePromote:
            later(.milliseconds(50)) { [unowned self] in self.end(node, id, .done) }
        case .promote(let fence, _, let timeline): runPromote(node, id, fence, timeline, later)
        case .follow(let upstream):
            later(.milliseconds(5)) { [unowned self] in
                if node.isServerFrozen { return self.end(node, id, .failed("PostgreSQL does not answer")) }
                node.postgres.run?.upstream = upstream?.name
                self.end(node, id, .done)
            }
        case .restart(let role):
            later(.zero) { [unowned self] in
                self.cleanStop(node) { later(.milliseconds(10)) { self.runStart(node, id, role, later) } }
            }
        }
    }

    /// Invariant 6: nothing destructive on a holder, nor on what may be the last copy.
    private func judgeDestruction(_ node: SimulatedMember, _ job: Job) {
        guard job.isDataCopy else { return }
        if let leader = store.leader, leader.value.name == node.name, leader.value.session == node.session,
            node.session != nil, !isLeaderEntryPast(for: node)
        {
            complain("\(node.name): \(job.name) while it holds the lease")
        }
        if case .bootstrap = job, node.postgres.identifier != nil { complain("\(node.name): bootstrap over data") }
        if case .bootstrap = job { return }
        // A store that was emptied does not know the cluster; the data does.
        let identifier =
            store.initialize?.value ?? node.postgres.identifier ?? all.compactMap(\.postgres.identifier).first
        let others = all.filter { $0 !== node && $0.postgres.identifier == identifier }
        if others.isEmpty { complain("\(node.name): \(job.name) of what may be the last copy") }
    }

    private func runCopy(
        _ node: SimulatedMember, _ id: EffectID, _ target: UpstreamTarget, _ takes: Duration, isRewind: Bool,
        _ later: @escaping Later
    ) {
        later(takes) { [unowned self] in
            if isRewind, let planned = node.postgres.rewindEnd { return self.end(node, id, planned) }
            guard let source = self.member(target.name), source.postgres.run?.isReady == true, !source.isServerFrozen,
                self.reachable(node, source), !isRewind || source.postgres.isWritable
            else { return self.end(node, id, .failed("\(target.name) does not answer")) }
            if node.postgres.run != nil {
                self.complain("\(node.name): \(isRewind ? "rewind" : "clone") over a running server")
            }
            node.postgres.copy(source.postgres)
            self.end(node, id, node.postgres.control.map(JobEnd.made) ?? .failed("no data"))
        }
    }

    private func runStart(_ node: SimulatedMember, _ id: EffectID, _ role: StartRole, _ later: @escaping Later) {
        later(.milliseconds(10)) { [unowned self] in
            if node.postgres.run != nil { return self.end(node, id, .failed("a postmaster is running")) }
            guard node.guardian.isUp, !node.isGuardFrozen else {
                return later(.seconds(1)) { self.end(node, id, .failed("the guard does not answer")) }
            }
            if node.postgres.isDiskFull { return self.end(node, id, .failed("no space left on device")) }
            if node.postgres.startFailures > 0 {
                node.postgres.startFailures -= 1
                return self.end(node, id, .failed("could not start"))
            }
            let started = self.newBranch()
            if case .primary(let fence) = role {
                guard node.guardian.term == fence, node.guardian.deadlines != nil else {
                    return self.end(node, id, .failed("no deadline is armed for this term"))
                }
                if node.guardian.isFrozen {
                    return self.end(node, id, .failed("the deadline stands still"))
                }
                node.guardian.isEnforced = true
                node.guardian.posture = .primary
                node.postgres.run = .init(isPrimary: true, isReady: false, started: started)
                node.postgres.state = .inProduction
            } else {
                node.guardian.isEnforced = false
                node.guardian.posture = .replica
                node.postgres.run = .init(isPrimary: false, isReady: false, started: started)
                node.postgres.state = .inArchiveRecovery
            }
            if case .standby(let upstream) = role { node.postgres.run?.upstream = upstream?.name }
            self.deliverInOrder(node, .server(.running(pid: 1, isAdopted: false)))
            self.becomeReady(node, id, started, node.postgres.startTakes)
        }
    }

    /// It becomes ready whether the agent still waits for it or not.
    private func becomeReady(_ node: SimulatedMember, _ id: EffectID, _ started: Int, _ takes: Duration) {
        let instance = node.instance
        after(takes) { [unowned self, unowned node] in
            let isOurs = node.postgres.run?.started == started
            if isOurs, node.isServerFrozen || node.isHostPaused {
                return self.becomeReady(node, id, started, .milliseconds(100))
            }
            if isOurs { node.postgres.run?.isReady = true }
            guard node.instance == instance else { return }
            self.end(node, id, isOurs ? .done : .failed("it ended during its start"))
        }
    }

    private func runPromote(
        _ node: SimulatedMember, _ id: EffectID, _ fence: Fence, _ timeline: Timeline, _ later: @escaping Later
    ) {
        later(.milliseconds(2)) { [unowned self] in
            let guardian = node.guardian
            guard let run = node.postgres.run else { return self.end(node, id, .failed("no postmaster is running")) }
            guard guardian.isUp, !node.isGuardFrozen else {
                return later(.seconds(1)) { self.end(node, id, .failed("the guard does not answer")) }
            }
            guard guardian.term == fence, let deadlines = guardian.deadlines, !guardian.isFrozen else {
                return self.end(node, id, .failed("no deadline is armed for this term"))
            }
            guard deadlines.quit - node.local(self.now) >= deadlines.granted / 8 else {
                return self.end(node, id, .failed("too little of the lease is left"))
            }
            if run.isPrimary { self.complain("\(node.name): promoted twice") }
            if node.marker?.fence != fence { self.complain("\(node.name): promoted without a marker") }
            // Recorded, and lost with everything else, between then and now: nobody can help that.
            if self.now - self.exchangedAt > self.ttl,
                self.store.promotions?.value.records.values.contains(where: { $0.fence == fence }) != true
            {
                self.complain("\(node.name): promoted without its intent in the store")
            }
            node.guardian.isEnforced = true
            node.guardian.hasPromoted = true
            node.guardian.posture = .primary
            // From here on it happens whether the agent waits for it or not.
            let branch = ModelPostgres.Branch(timeline: timeline, number: self.newBranch())
            self.becomePrimary(node, id, run.started, branch, node.postgres.promoteTakes)
        }
    }

    private func becomePrimary(
        _ node: SimulatedMember, _ id: EffectID, _ started: Int, _ branch: ModelPostgres.Branch, _ takes: Duration
    ) {
        let instance = node.instance
        after(takes) { [unowned self, unowned node] in
            guard node.postgres.run?.started == started, node.postgres.run?.isPrimary == false else {
                // It ended, or an earlier instance's signal has promoted it: whoever waits sees what came of it.
                guard node.instance == instance else { return }
                let isPromoted = node.postgres.run?.started == started
                self.end(node, id, isPromoted ? .done : .failed("it ended during its promotion"))
                return
            }
            if node.isServerFrozen || node.isHostPaused {
                return self.becomePrimary(node, id, started, branch, .milliseconds(100))
            }
            self.judgePromotion(node)
            // A store that lost its records tells of no intents: then the terms of the two makings tell them apart.
            if let other = self.makers[branch.timeline], other != branch.number, self.exchangedAt == .distantPast {
                self.complain("\(node.name): timeline \(branch.timeline) is made a second time")
            }
            self.makers[branch.timeline] = branch.number
            node.postgres.promote(branchNumber: branch.number, to: branch.timeline)
            if node.instance == instance { self.end(node, id, .done) }
        }
    }

    private func fresh(_ before: ModelPostgres) -> ModelPostgres {
        var made = ModelPostgres()
        made.startTakes = before.startTakes
        made.stopTakes = before.stopTakes
        made.promoteTakes = before.promoteTakes
        made.synchronousNames = before.synchronousNames
        made.walKept = before.walKept
        made.branch.number = newBranch()
        return made
    }
}
