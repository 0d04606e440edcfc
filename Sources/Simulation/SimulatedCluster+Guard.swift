import ClusterModel
import HighAvailability

/// What the guard of a member does (safety rules, section 4).
extension SimulatedCluster {
    func arm(
        _ node: SimulatedMember, _ fence: Fence, _ deadlines: LeaseDeadlines, succeeds: Bool = false
    ) {
        judgeDeadline(node, fence, deadlines)
        let known = node.guardian
        let local = node.local(now)
        func refuse(_ why: String) {
            deliverInOrder(
                node, .guardRefused(why, armed: known.deadlines == nil ? nil : known.term), after: .milliseconds(1))
        }
        guard known.isUp else { return }
        if node.isGuardFrozen {
            // The page is written; who would read it stands still.
            node.guardian.unread = (fence, deadlines, succeeds)
            return
        }
        if fence <= known.over { return refuse("the term is over") }
        if let term = known.term, fence < term { return refuse("older than the one accepted") }
        if deadlines.quit <= local { return refuse("the deadline has passed") }
        if deadlines.end - local > deadlines.granted { return refuse("further away than granted") }
        if known.term == fence {
            if known.isFrozen { return }
            if let old = known.deadlines, deadlines.end < old.end { return refuse("it would shrink") }
        } else if succeeds, known.isArmed, !known.isFrozen {
            if let old = known.deadlines, deadlines.end < old.end { return refuse("it would shrink") }
        } else if node.postgres.run != nil, known.isEnforced, known.posture != .paused, known.posture != .failsafe {
            if known.isArmed, !known.isFrozen, let machine = node.machine, machine.world.term?.fence == fence,
                machine.world.movedTo != nil
            {
                complain("\(node.name): the guard is not told that the term goes on as \(fence) in another store")
            }
            return refuse("PostgreSQL still runs under another term")
        }
        let isFirst = known.term != fence || known.deadlines == nil
        node.guardian.term = fence
        node.guardian.deadlines = deadlines
        node.guardian.isFrozen = false
        node.guardian.graceUntil = nil
        // After a pause a deadline is in force as soon as there is one.
        if known.posture == .resumed { node.guardian.isEnforced = true }
        if isFirst { deliverInOrder(node, .guardArmed(fence), after: .milliseconds(1)) }
        at(node.global(deadlines.quit)) { [unowned self, unowned node] in
            guard node.guardian.deadlines == deadlines, !node.isGuardFrozen, !node.isHostPaused else { return }
            self.deadlinePassed(node)
        }
    }

    /// Q has come.
    private func deadlinePassed(_ node: SimulatedMember) {
        guard let deadlines = node.guardian.deadlines else { return }
        if node.guardian.posture == .paused {
            // Not in force, and not over.
            node.guardian.deadlines = nil
            return
        }
        node.guardian.over = max(node.guardian.over, node.guardian.term ?? node.guardian.over)
        node.guardian.deadlines = nil
        guard let run = node.postgres.run, node.guardian.isEnforced || run.isPrimary else { return }
        guardStops(node, "the deadline has passed", kill: deadlines.kill)
    }

    /// What a guard that stood still, or its host, has missed.
    func catchUp(_ node: SimulatedMember) {
        if let deadlines = node.guardian.deadlines, deadlines.quit <= node.local(now) { deadlinePassed(node) }
        if let grace = node.guardian.graceUntil, grace <= now { graceEnded(node, grace) }
    }

    /// SIGQUIT now, and SIGKILL to everything at K, which ends a stopped process too.
    func guardStops(_ node: SimulatedMember, _ why: String, kill: Instant? = nil) {
        guard let run = node.postgres.run, !node.isHostDown else { return }
        deliverInOrder(node, .guardStopping(why))
        if node.isServerFrozen {
            let until = kill.map { node.global($0) } ?? now + .milliseconds(250)
            at(until) { [unowned self, unowned node] in
                guard node.postgres.run?.started == run.started else { return }
                self.crashPostgres(node)
            }
            return
        }
        node.postgres.crash()
        silent(node, exit: "ended by signal 3")
    }

    func endTerm(_ node: SimulatedMember) {
        guard let term = node.guardian.term, !node.isGuardFrozen else { return }
        node.guardian.over = max(node.guardian.over, term)
        node.guardian.deadlines = nil
        if node.postgres.run != nil, node.guardian.isEnforced, node.guardian.posture != .paused {
            guardStops(node, "the term was ended")
        }
    }

    func setPosture(_ node: SimulatedMember, _ posture: GuardPosture) {
        guard node.postgres.run != nil else { return }
        if node.isGuardFrozen || !node.guardian.isUp {
            deliverInOrder(node, .postureRefused(posture, "the guard does not answer"), after: .seconds(1))
            return
        }
        switch posture {
        case .replica:
            if node.postgres.run?.isPrimary == true || node.guardian.hasPromoted {
                deliverInOrder(node, .postureRefused(posture, "it is promoted"), after: .milliseconds(1))
                return
            }
            node.guardian.isEnforced = false
        case .primary, .failsafe:
            guard node.guardian.deadlines != nil else {
                deliverInOrder(node, .postureRefused(posture, "no deadline is armed"), after: .milliseconds(1))
                return
            }
            node.guardian.isEnforced = true
        case .stopping: node.guardian.isFrozen = true
        case .paused: node.guardian.isEnforced = false
        case .resumed:
            guard node.guardian.posture == .paused else {
                deliverInOrder(node, .postureRefused(posture, "it is not paused"), after: .milliseconds(1))
                return
            }
            let grace = now + ttl
            node.guardian.isEnforced = node.guardian.deadlines != nil
            node.guardian.graceUntil = grace
            at(grace) { [unowned self, unowned node] in
                if !node.isGuardFrozen, !node.isHostPaused { self.graceEnded(node, grace) }
            }
        }
        node.guardian.posture = posture
    }

    private func graceEnded(_ node: SimulatedMember, _ grace: Instant) {
        guard node.guardian.graceUntil == grace, node.postgres.run?.isPrimary == true else { return }
        guardStops(node, "no term came in time")
    }
}
