import ClusterModel

extension HAMachine {
    /// Takes an event into the world. No effects but those that cannot wait for a rule.
    mutating func absorb(_ event: Event) {
        switch event {
        case .wake: break
        case .started(let start): absorb(start)
        case .settings(let settings):
            let changedTTL = settings.ttl != world.settings.ttl
            world.settings = settings
            // The session's lifetime is fixed when it is opened. Only a member without a lease may change it at once.
            if changedTTL, case .none = world.lease, world.sessionFacts != nil, !world.isLeaderEntryOurs {
                emit(.closeSession(abandon: false))
                world.session = .none(retryAt: world.now)
                world.publishedMember = nil
                world.hasSavedSession = false
            }

        case .sessionOpened(let facts): absorb(session: facts)
        case .sessionFailed(let why):
            world.session = .none(retryAt: world.now + .milliseconds(1000))
            trouble(why)
        case .sessionLost(let why):
            world.session = .none(retryAt: world.now)
            world.publishedMember = nil
            world.hasSavedSession = false
            loseLease("the session is gone: \(why)", .immediate)
            world.readWanted = true
        case .storeChanged:
            world.readWanted = true
        case .storeConnected:
            world.readWanted = true
        case .storeDisconnected(let why):
            trouble(why)

        case .view(let id, let view):
            if world.readInFlight == id { world.readInFlight = nil }
            absorb(view: view)
        case .viewFailed(let id, let why):
            if world.readInFlight == id { world.readInFlight = nil }
            world.nextReadAt = world.now + .milliseconds(500)
            world.readWanted = true
            trouble(why)
        case .committed(let id, let outcome): absorb(commit: id, outcome)
        case .renewed(let id, let outcome): absorb(renewal: id, outcome)
        case .released(_, let outcome): absorb(release: outcome)

        case .guardReady(let isAdopting):
            world.isGuardReady = true
            world.isAdopting = isAdopting
            world.armedTerm = nil
            world.posture = nil
            if let term = world.term {
                emit(.arm(term.fence, term.deadlines))
                if term.isFrozen { emit(.posture(.stopping)) }
            }
        case .guardArmed(let fence):
            world.armedTerm = fence
        case .guardRefused(let why):
            record("guard.refused", .warning, "the guard refused: \(why)")
        case .guardStopping(let why):
            record("guard.stopping", .warning, "the guard stops PostgreSQL: \(why)")
            if case .held(let term) = world.lease, world.handover == nil {
                end(term, "the guard stopped PostgreSQL: \(why)")
            }
        case .guardSilent:
            world.isSilent = true
        case .guardLost(let why):
            world.isGuardReady = false
            world.armedTerm = nil
            world.posture = nil
            record("guard.lost", .warning, "the guard is gone: \(why)")

        case .server(let facts): absorb(server: facts)
        case .sample(let sample): absorb(sample: sample)
        case .sampleFailed:
            world.sampleInFlight = false
            world.failedSamples += 1
            // A server that does not answer keeps the role that it was seen in; only its position is not known any more.
            if world.failedSamples >= 3 { world.sample?.receiver = nil }
            world.nextSampleAt = world.now + .milliseconds(world.sample == nil ? 100 : 500)
        case .peer(let status):
            if let known = world.peers[status.name], known.askedAt > status.askedAt { break }
            world.peers[status.name] = status
            world.silentPeers[status.name] = nil
            if let leader = world.view?.leader, leader.name == status.name, let race = world.race, race.freeSince == nil
            {
                // The holder speaks again: it was a false alarm.
                world.race = nil
            }
            if let leader = world.view?.leader, leader.name == status.name {
                world.lastHolder?.fenceState = status.fenceState
                if status.role == .primary, let history = world.view?.history,
                    let timeline = status.timeline, history.currentTimeline != timeline
                {
                    world.readWanted = true
                }
            }
        case .peerSilent(let name, let why):
            world.silentPeers[name] = why
            if let leader = world.view?.leader, leader.name == name, world.race == nil, name != world.me,
                world.term == nil
            {
                suspect("\(name) fell silent: \(why)")
            }
        case .jobProgress(let id, let progress):
            if world.job?.id == id { world.job?.progress = progress }
        case .jobEnded(let id, let end): absorb(job: id, end)
        case .persisted(let id, let succeeded):
            if case .preparing(let fence, let timeline, marker: id, let intent) = world.promotion {
                if succeeded {
                    world.promotion = .preparing(fence, timeline, marker: nil, intent: intent)
                    world.marker = PromotionMarker(timeline: timeline, fence: fence)
                } else {
                    failPromotion("the promotion marker could not be written")
                }
            }
        case .checkpointed(let id, let succeeded):
            absorb(checkpoint: id, succeeded)
        case .localHistory(let id, let history):
            if world.historyInFlight == id {
                world.historyInFlight = nil
                world.localHistory = history
            }
        case .duplicateProbed(let isAlive):
            world.isProbingDuplicate = false
            world.hasProbedDuplicate = true
            world.isDuplicate = isAlive
        case .asked(let id, let request): absorb(request: id, request)
        case .stopAsked:
            if !world.isStopping {
                world.isStopping = true
                record("stop.asked", .action, "asked to stop")
            }
        }
    }

    // MARK: - Parts

    private mutating func absorb(_ start: InstanceStart) {
        world.marker = start.marker
        world.cachedConfiguration = start.cachedConfiguration
        world.hasSavedSession = start.hasSavedSession
        absorb(server: start.server)
        if case .running = start.server {
            // Until it is seen to be a standby it has to be taken for a primary.
            world.mayAcknowledge = true
            world.callbackRole = nil
        }
    }

    private mutating func absorb(session facts: SessionFacts) {
        world.session = .open(facts)
        world.storeTrouble = nil
        world.readWanted = true
        world.publishedMember = nil
        world.nextRenewAt = world.now
        if LeaseDeadlines.renewalInterval(granted: facts.granted, wished: facts.renewalInterval) == nil {
            record("lease.refused", .warning, LeaseDeadlines.refusal(granted: facts.granted))
            emit(.exit(1, LeaseDeadlines.refusal(granted: facts.granted)))
        }
        record(
            "store.session", .action, facts.isResumed ? "took up the earlier session again" : "opened a session",
            [
                Fact("session", facts.id.text), Fact("granted_ms", milliseconds: facts.granted),
                Fact("asked_ms", milliseconds: world.settings.ttl),
                Fact("renewal_ms", milliseconds: facts.renewalInterval),
            ])
    }

    /// Said once per change of state, not once per try.
    mutating func trouble(_ why: String) {
        if world.storeTrouble == nil {
            record("store.unreachable", .warning, "the store does not answer: \(why)")
        }
        world.storeTrouble = why
    }

    private mutating func absorb(view: ClusterView) {
        if let old = world.view, view.revision < old.revision { return }
        if world.storeTrouble != nil {
            record("store.reachable", .action, "the store answers again")
            world.storeTrouble = nil
        }
        world.storeLastSeen = world.wall
        world.storeLastSeenAt = world.now
        if view.problems != world.view?.problems ?? [], !view.problems.isEmpty {
            record(
                "store.unreadable", .warning, "the store holds what cannot be read; it is left out",
                [Fact("problems", .array(view.problems.map(JSONValue.string)))])
        }
        let before = world.view
        world.view = view
        if let configuration = view.configuration { world.cachedConfiguration = configuration }
        notePause(view)
        noteLeader(view, before: before)
        noteMember(view)
        settleAcquire(view)
        if let handover = world.handover, case .releasing = handover.phase, !world.isLeaderEntryOurs {
            world.handover = nil
        }
    }

    private mutating func notePause(_ view: ClusterView) {
        let isPaused = view.isPaused
        if isPaused != world.wasPaused {
            record(
                isPaused ? "pause.begin" : "pause.end", .action,
                isPaused ? "PAUSE: nothing is started or stopped from now on" : "the pause is over")
            if !isPaused, view.leader == nil, let holder = world.lastHolder, holder.wasPaused {
                world.unfencedHolder = holder.name
            }
            world.wasPaused = isPaused
            world.publishedMember = nil
        }
    }

    private mutating func noteLeader(_ view: ClusterView, before: ClusterView?) {
        if let leader = view.leader {
            if before?.leader?.fence != leader.fence {
                record(
                    "leader.changed", leader.name == world.me ? .routine : .action,
                    "\(leader.name) holds the leader entry",
                    [Fact("leader", leader.name), Fact("fence", leader.fence), Fact("before", before?.leader?.name)])
                world.sitOutUntil = .distantPast
                world.leaderSince = world.now
                world.jobFailures = 0
                world.nextJobAt = .distantPast
            }
            world.lastLockedView = view
            let member = view.member(leader.name)
            let fence = world.peers[leader.name]?.fenceState ?? member?.fenceState
            world.lastHolder = LastHolder(
                name: leader.name, fence: leader.fence, fenceState: fence, wasPaused: view.isPaused)
            if let race = world.race, race.freeSince != nil || leader.fence != before?.leader?.fence {
                world.race = nil
            }
            world.unfencedHolder = nil
            // The entry went to somebody else, or vanished and came back: this term is over whatever its deadline says.
            if case .held(let term) = world.lease,
                leader.name != world.me || leader.session != world.sessionFacts?.id || leader.fence != term.fence,
                view.requestedAt >= term.since
            {
                loseLease("the leader entry is not ours any more", .immediate)
            }
        } else {
            if case .held(let term) = world.lease, view.requestedAt >= term.since {
                loseLease("the leader entry vanished", .immediate)
            }
            if before?.leader != nil || before == nil {
                record(
                    "leader.none", .action, "nobody holds the leader entry",
                    [Fact("before", before?.leader?.name ?? world.lastHolder?.name)])
            }
            if world.race != nil, world.race?.freeSince == nil { world.race?.freeSince = world.now }
        }
    }

    private mutating func noteMember(_ view: ClusterView) {
        guard let facts = world.sessionFacts else { return }
        let mine = view.member(world.me)
        if world.publishInFlight == nil, mine == nil || mine?.session != facts.id { world.publishedMember = nil }
    }

    /// The acquire's end, seen in the store: the entry is ours or it is not.
    private mutating func settleAcquire(_ view: ClusterView) {
        switch world.lease {
        case .acquiring, .unresolved:
            guard case .unresolved = world.lease else { return }
            if world.isLeaderEntryOurs, let leader = view.leader {
                beginProving(leader.fence)
            } else {
                world.lease = .none
                record(
                    "lease.refused", .action, "the leader entry did not become ours",
                    [Fact("leader", view.leader?.name)])
            }
        case .none:
            // A session taken up again still holds the entry: go on where the earlier instance ended.
            if world.isLeaderEntryOurs, let leader = view.leader, !world.endedTerms.contains(leader.fence),
                view.member(world.me)?.session == world.sessionFacts?.id, world.publishedMember != nil
            {
                record(
                    "lease.resumed", .action, "the leader entry is ours by the session taken up again",
                    [Fact("fence", leader.fence)])
                beginProving(leader.fence)
            }
        case .releasing:
            if !world.isLeaderEntryOurs { world.lease = .none }
        case .proving, .held, .ending: break
        }
    }

    mutating func beginProving(_ fence: Fence) {
        world.lease = .proving(fence, since: world.now)
        world.race = nil
        world.nextRenewAt = world.now
    }

    private mutating func absorb(server facts: ServerFacts) {
        switch facts {
        case .running(let pid, let isAdopted):
            world.server = .up(isAdopted: isAdopted, since: world.now)
            world.isSilent = false
            world.posture = nil
            world.samplesCountFrom = world.now
            world.sample = nil
            world.failedSamples = 0
            world.nextSampleAt = world.now
            record(
                "postgres.running", .routine, isAdopted ? "PostgreSQL was found running" : "PostgreSQL runs",
                [Fact("pid", .integer(Int64(pid)))])
        case .down(let data, let exit):
            let wasUp = world.isServerUp
            let wasWritable = world.mayAcknowledge
            world.server = .down(data)
            world.mayAcknowledge = false
            world.sample = nil
            world.lastExit = exit
            world.upstream = nil
            world.checkpointInFlight = nil
            world.historyInFlight = nil
            if wasUp {
                var facts = [Fact("exit", exit)]
                if case .initialized(let control) = data {
                    facts += [Fact("state", control.state.rawValue), Fact("timeline", control.timeline)]
                }
                let isPlanned = world.handover != nil || world.isStopping || isStopJob(world.job?.job)
                record(
                    isPlanned ? "postgres.stopped" : "postgres.exited", isPlanned ? .action : .warning,
                    isPlanned ? "PostgreSQL is down" : "PostgreSQL is down without being asked", facts)
                if !isPlanned, wasWritable, world.crashedSince == nil { world.crashedSince = world.now }
            }
            if case .promoting = world.promotion { world.promotion = .none }
        }
    }

    private func isStopJob(_ job: Job?) -> Bool {
        switch job {
        case .stop?, .restart?, .rewind?, .clone?, .bootstrap?: true
        default: false
        }
    }

    private mutating func absorb(sample: PostgresSample) {
        world.sampleInFlight = false
        guard world.isServerUp else { return }
        guard sample.takenAt >= world.samplesCountFrom else {
            world.nextSampleAt = world.now
            return
        }
        world.failedSamples = 0
        let before = world.sample
        world.sample = sample
        world.nextSampleAt = world.now + world.settings.loopWait
        if sample.isInRecovery {
            // Only what we did not set on its way to be a primary is known to be a standby.
            var isBecomingPrimary = false
            switch world.job?.job {
            case .promote?, .start(.primary)?, .restart(.primary)?: isBecomingPrimary = true
            default: break
            }
            if !isBecomingPrimary { world.mayAcknowledge = false }
            if before?.receiver?.status == "streaming", sample.receiver == nil, world.race == nil,
                world.view?.leader != nil, world.term == nil,
                world.upstream?.flatMap({ $0.name }) == world.view?.leader?.name
            {
                suspect("the WAL receiver ended")
            }
        } else {
            world.mayAcknowledge = true
            world.crashedSince = nil
            if world.publishedRole != .primary, world.term != nil { world.publishedRole = .primary }
        }
    }

    private mutating func absorb(job id: EffectID, _ end: JobEnd) {
        guard let running = world.job, running.id == id else { return }
        world.job = nil
        world.nextSampleAt = world.now
        for index in world.pending.indices where world.pending[index].job == id {
            let succeeded: Bool
            switch end {
            case .done, .made: succeeded = true
            case .failed, .cancelled, .needsClone: succeeded = false
            }
            answer(
                world.pending[index].id,
                succeeded
                    ? OperatorAnswer(.done, "restarted successfully") : OperatorAnswer(.unavailable, "restart failed"))
        }
        let name = running.job.name
        let took = Fact("took_ms", milliseconds: world.now - running.since)
        switch end {
        case .done, .made:
            world.jobFailures = 0
            world.lastJobFailure = nil
            world.stateAfterFailure = nil
            record("job.done", .action, "done: \(name)", [took])
        case .cancelled:
            record("job.cancelled", .action, "cancelled: \(name)", [took])
        case .failed(let why), .needsClone(let why):
            world.jobFailures += 1
            world.lastJobFailure = why
            let exponent = min(world.jobFailures - 1, 4)
            world.nextJobAt = world.now + min(.milliseconds(500 << exponent), world.settings.loopWait)
            record("job.failed", .warning, "failed: \(name): \(why)", [took])
        }
        finish(running.job, end)
    }

    private mutating func finish(_ job: Job, _ end: JobEnd) {
        switch (job, end) {
        case (.bootstrap, .made(let control)):
            world.bootstrapped = control
            world.server = .down(.initialized(control))
        case (.bootstrap, _):
            world.stateAfterFailure = .initdbFailed
            let why = world.lastJobFailure ?? "cancelled"
            record("bootstrap.failed", .warning, "the bootstrap failed: \(why)")
            if let version = world.bootstrapVersion {
                commit(ClusterChange(if: [.initializeVersion(version)], [.removeInitialize]), "abandon bootstrap")
            }
            world.bootstrapVersion = nil
            if !world.isStopping { emit(.exit(1, "the bootstrap failed: \(why)")) }
        case (.clone, .made(let control)), (.rewind, .made(let control)):
            if case .rewind = job { world.rewoundTo = world.view?.leader?.fence }
            world.needsClone = nil
            world.stopForClone = false
            world.bootstrapped = nil
            world.marker = nil
            world.crashedSince = nil
            world.server = .down(.initialized(control))
        case (.rewind, .needsClone(let why)), (.rewind, .failed(let why)):
            world.needsClone = "rewinding is not possible: \(why)"
        case (.start(let role), .done), (.restart(let role), .done):
            if case .standby(let upstream) = role { world.upstream = .some(upstream) }
            if case .primary = role { world.crashedSince = nil }
            let isRestart = if case .restart = job { true } else { false }
            announceStart(role, isRestart: isRestart)
        case (.start, _), (.restart, _):
            world.stateAfterFailure = .startFailed
        case (.follow(let upstream), .done):
            world.upstream = .some(upstream)
        case (.prePromote, .done):
            break
        case (.prePromote, _):
            world.promotion = .none
            world.sitOutUntil = world.now + world.settings.ttl
            if case .held(let term) = world.lease { self.end(term, "pre_promote failed") }
        case (.promote(let fence), .done):
            world.promotion = .none
            world.publishedRole = .primary
            // What was seen before is a standby; nothing may be decided from it any more.
            world.sample = nil
            world.samplesCountFrom = world.now
            world.checkpointPending = true
            world.localHistory = nil
            world.crashedSince = nil
            record("promote.done", .action, "promoted: writes are possible", [Fact("fence", fence)])
            world.callbackRole = .primary
            emit(.callback(.onRoleChange, .primary, fence))
            world.publishedMember = nil
        case (.promote, _):
            failPromotion(world.lastJobFailure ?? "cancelled")
        case (.stop, .failed):
            world.stateAfterFailure = .stopFailed
        default:
            break
        }
    }

    private mutating func announceStart(_ role: StartRole, isRestart: Bool) {
        let new: MemberRole
        if case .primary = role { new = .primary } else { new = .replica }
        let fence = world.term?.fence
        if let before = world.callbackRole, before != new, !isRestart {
            emit(.callback(.onRoleChange, new, fence))
        } else {
            emit(.callback(isRestart ? .onRestart : .onStart, new, fence))
        }
        world.callbackRole = new
        world.publishedRole = new
    }

    mutating func failPromotion(_ why: String) {
        world.promotion = .none
        record("promote.failed", .warning, "the promotion failed: \(why)")
        world.sitOutUntil = world.now + world.settings.ttl
        if case .held(let term) = world.lease { end(term, "the promotion failed") }
    }

    private mutating func absorb(checkpoint id: EffectID, _ succeeded: Bool) {
        if world.checkpointInFlight == id {
            world.checkpointInFlight = nil
            if succeeded {
                world.checkpointPending = false
            } else {
                world.nextUpkeepAt = world.now + .seconds(1)
            }
        }
        if case .checkpointing(id, _)? = world.handover?.phase {
            _ = perform(.stopForHandover)
        }
    }
}
