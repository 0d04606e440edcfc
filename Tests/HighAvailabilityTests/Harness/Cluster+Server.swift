import ClusterModel
import HighAvailability

/// The guard and the jobs on PostgreSQL.
extension Cluster {
    // MARK: - Guard

    func arm(_ node: Node, _ fence: Fence, _ deadlines: LeaseDeadlines) {
        let known = node.guardian
        func refuse(_ why: String) { deliver(node, .guardRefused(why), after: .milliseconds(1)) }
        guard known.isUp else { return }
        if fence <= known.over { return refuse("the term is over") }
        if let term = known.term, fence < term { return refuse("older than the one accepted") }
        if deadlines.quit <= now { return refuse("the deadline has passed") }
        if deadlines.end - now > deadlines.granted { return refuse("further away than granted") }
        if known.term == fence {
            if known.isFrozen { return }
            if let old = known.deadlines, deadlines.end < old.end { return refuse("it would shrink") }
        } else if node.postgres.run != nil, known.isEnforced, known.posture != .paused {
            return refuse("PostgreSQL still runs under another term")
        }
        let isFirst = known.term != fence || known.deadlines == nil
        node.guardian.term = fence
        node.guardian.deadlines = deadlines
        node.guardian.isFrozen = false
        node.guardian.graceUntil = nil
        if isFirst { deliver(node, .guardArmed(fence), after: .milliseconds(1)) }
        watch(node, deadlines)
    }

    private func watch(_ node: Node, _ deadlines: LeaseDeadlines) {
        after(max(.zero, deadlines.quit - now)) { [unowned self, unowned node] in
            guard node.guardian.deadlines == deadlines else { return }
            if node.guardian.posture == .paused {
                // Not in force, and not over.
                node.guardian.deadlines = nil
                return
            }
            node.guardian.over = max(node.guardian.over, node.guardian.term ?? node.guardian.over)
            node.guardian.deadlines = nil
            guard let run = node.postgres.run, node.guardian.isEnforced || run.isPrimary else { return }
            self.guardStops(node, "the deadline has passed")
        }
    }

    private func guardStops(_ node: Node, _ why: String) {
        guard node.postgres.run != nil, !node.isHostDown else { return }
        deliver(node, .guardStopping(why))
        node.postgres.crash()
        silent(node, exit: "ended by signal 3")
    }

    func endTerm(_ node: Node) {
        guard let term = node.guardian.term else { return }
        node.guardian.over = max(node.guardian.over, term)
        node.guardian.deadlines = nil
        if node.postgres.run != nil, node.guardian.isEnforced, node.guardian.posture != .paused {
            guardStops(node, "the term was ended")
        }
    }

    func setPosture(_ node: Node, _ posture: GuardPosture) {
        guard node.postgres.run != nil else { return }
        switch posture {
        case .replica:
            if node.postgres.run?.isPrimary == true { return }
            node.guardian.isEnforced = false
        case .primary:
            guard node.guardian.deadlines != nil else { return }
            node.guardian.isEnforced = true
        case .stopping: node.guardian.isFrozen = true
        case .paused: node.guardian.isEnforced = false
        case .resumed:
            guard node.guardian.posture == .paused else { return }
            let grace = now + ttl
            node.guardian.graceUntil = grace
            after(ttl) { [unowned self, unowned node] in
                guard node.guardian.graceUntil == grace, node.postgres.run?.isPrimary == true else { return }
                self.guardStops(node, "no term came in time")
            }
        }
        node.guardian.posture = posture
    }

    func stopServer(_ node: Node, _ mode: StopMode) {
        guard node.postgres.run != nil else { return }
        let started = node.postgres.run?.started
        if mode == .immediate {
            after(.milliseconds(10)) { [unowned self, unowned node] in
                guard node.postgres.run?.started == started, started != nil else { return }
                node.postgres.crash()
                self.silent(node, exit: "ended by signal 3")
            }
        } else {
            cleanStop(node) {}
        }
    }

    private func cleanStop(_ node: Node, _ done: @escaping () -> Void) {
        guard let started = node.postgres.run?.started else { return done() }
        if node.postgres.hangsInStop {
            // Only somebody else can end it.
            after(.milliseconds(20)) { [unowned self, unowned node] in
                if node.postgres.run?.started == started { self.cleanStop(node, done) } else { done() }
            }
            return
        }
        after(node.postgres.stopTakes) { [unowned self, unowned node] in
            guard node.postgres.run?.started == started else { return done() }
            node.postgres.beginCleanStop()
            self.replicate()
            node.postgres.endCleanStop()
            self.silent(node, exit: "exited with status 0")
            done()
        }
    }

    // MARK: - Jobs

    func end(_ node: Node, _ id: EffectID, _ end: JobEnd) {
        guard let running = node.job, running.id == id, running.instance == node.instance else { return }
        node.job = nil
        deliver(node, .jobEnded(id, end))
    }

    func startJob(_ node: Node, _ id: EffectID, _ job: Job, _ fault: Fault?) {
        if node.job != nil { complain("\(node.name): \(job.name) while a job runs") }
        node.job = (id, job, node.instance)
        let instance = node.instance
        func later(_ delay: Duration, _ action: @escaping () -> Void) {
            after(delay) { [unowned node] in
                guard node.instance == instance, node.job?.id == id, !node.isHostDown else { return }
                action()
            }
        }
        if case .notSent? = fault {
            later(.milliseconds(20)) { self.end(node, id, .failed("made to fail")) }
            return
        }
        switch job {
        case .bootstrap:
            later(.milliseconds(300)) {
                node.postgres = self.fresh(node.postgres)
                node.postgres.identifier = "70000000000000\(self.random.next() % 100_000)"
                self.end(node, id, node.postgres.control.map(JobEnd.made) ?? .failed("no data"))
            }
        case .clone(let target, _):
            later(.milliseconds(500)) {
                guard let source = self.nodes[target.name], source.postgres.run?.isReady == true,
                    self.reachable(node, source)
                else { return self.end(node, id, .failed("\(target.name) does not answer")) }
                if node.postgres.run != nil { self.complain("\(node.name): clone over a running server") }
                node.postgres.copy(source.postgres)
                self.end(node, id, node.postgres.control.map(JobEnd.made) ?? .failed("no data"))
            }
        case .rewind(let target):
            later(.milliseconds(300)) {
                if let planned = node.postgres.rewindEnd { return self.end(node, id, planned) }
                guard let source = self.nodes[target.name], source.postgres.isWritable, self.reachable(node, source)
                else {
                    return self.end(node, id, .failed("\(target.name) does not answer"))
                }
                if node.postgres.run != nil { self.complain("\(node.name): rewind of a running server") }
                node.postgres.copy(source.postgres)
                self.end(node, id, node.postgres.control.map(JobEnd.made) ?? .failed("no data"))
            }
        case .start(let role): runStart(node, id, role, later)
        case .stop(let mode):
            later(.zero) {
                if mode == .fast {
                    self.cleanStop(node) { later(.milliseconds(8)) { self.end(node, id, .done) } }
                } else {
                    self.stopServer(node, mode)
                    later(.milliseconds(30)) { self.end(node, id, .done) }
                }
            }
        case .prePromote:
            later(.milliseconds(50)) { self.end(node, id, .done) }
        case .promote(let fence): runPromote(node, id, fence, later)
        case .follow(let upstream):
            later(.milliseconds(5)) {
                node.postgres.run?.upstream = upstream?.name
                self.end(node, id, .done)
            }
        case .restart(let role):
            later(.zero) {
                self.cleanStop(node) { later(.milliseconds(10)) { self.runStart(node, id, role, later) } }
            }
        }
    }

    private func runStart(
        _ node: Node, _ id: EffectID, _ role: StartRole, _ later: @escaping (Duration, @escaping () -> Void) -> Void
    ) {
        later(.milliseconds(10)) {
            if node.postgres.run != nil { return self.end(node, id, .failed("a postmaster is running")) }
            if node.postgres.startFailures > 0 {
                node.postgres.startFailures -= 1
                return self.end(node, id, .failed("could not start"))
            }
            let started = self.newBranch()
            if case .primary(let fence) = role {
                guard node.guardian.term == fence, node.guardian.deadlines != nil else {
                    return self.end(node, id, .failed("no deadline is armed for this term"))
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
            self.deliver(node, .server(.running(pid: 1, isAdopted: false)))
            // It becomes ready whether the agent still waits for it or not.
            let instance = node.instance
            self.after(node.postgres.startTakes) { [unowned self, unowned node] in
                let isOurs = node.postgres.run?.started == started
                if isOurs { node.postgres.run?.isReady = true }
                guard node.instance == instance else { return }
                self.end(node, id, isOurs ? .done : .failed("it ended during its start"))
            }
        }
    }

    private func runPromote(
        _ node: Node, _ id: EffectID, _ fence: Fence, _ later: @escaping (Duration, @escaping () -> Void) -> Void
    ) {
        later(.milliseconds(2)) {
            let guardian = node.guardian
            guard let run = node.postgres.run else { return self.end(node, id, .failed("no postmaster is running")) }
            guard guardian.term == fence, let deadlines = guardian.deadlines, !guardian.isFrozen else {
                return self.end(node, id, .failed("no deadline is armed for this term"))
            }
            guard deadlines.quit - self.now >= deadlines.granted / 8 else {
                return self.end(node, id, .failed("too little of the lease is left"))
            }
            if run.isPrimary { self.complain("\(node.name): promoted twice") }
            if node.marker?.fence != fence { self.complain("\(node.name): promoted without a marker") }
            node.guardian.isEnforced = true
            node.guardian.posture = .primary
            // From here on it happens whether the agent waits for it or not.
            let branch = self.newBranch()
            let instance = node.instance
            self.after(node.postgres.promoteTakes) { [unowned self, unowned node] in
                guard node.postgres.run?.started == run.started, node.postgres.run?.isPrimary == false else { return }
                node.postgres.promote(branchNumber: branch)
                if node.instance == instance { self.end(node, id, .done) }
            }
        }
    }

    private func fresh(_ before: ModelPostgres) -> ModelPostgres {
        var made = ModelPostgres()
        made.startTakes = before.startTakes
        made.stopTakes = before.stopTakes
        made.promoteTakes = before.promoteTakes
        made.branch.number = newBranch()
        return made
    }
}
