import ClusterModel

extension HAMachine {
    /// Does what a rule wants; true when another rule may have an answer now.
    mutating func perform(_ intention: Intention) -> Bool {
        switch intention {
        case .nothing:
            return false
        case .exit(let code, let why):
            emit(.exit(code, why))
            world.isLeaving = true
            return false
        case .leaveRunning:
            emit(.closeSession(abandon: true))
            emit(.exit(0, "left in pause; PostgreSQL keeps running"))
            world.isLeaving = true
            return false
        case .leave:
            emit(.closeSession(abandon: false))
            emit(.exit(0, "stopped"))
            world.isLeaving = true
            return false
        case .acquire(let request, let identifier):
            acquire(settling: request, systemIdentifier: identifier)
            return false
        case .retake:
            retake()
            return false
        case .release:
            release()
            return true
        case .endTerm(let mode, let reason):
            if case .held(let term) = world.lease { end(term, reason, mode) }
            return true
        case .startJob(let job):
            start(job)
            return false
        case .cancelJob:
            if let job = world.job, !job.isCancelling {
                world.job?.isCancelling = true
                emit(.cancelJob(job.id))
            }
            return false
        case .stopDiverged(let fence):
            world.divergedFrom = fence
            start(.stop(.fast))
            return false
        case .stopServer(let mode):
            // Asked once; the server's end is the answer. The guard escalates at its deadline.
            world.isStopAsked = true
            if world.lastStopMode != mode || world.now - world.lastStopAt > .seconds(2) {
                world.lastStopMode = mode
                world.lastStopAt = world.now
                emit(.stopServer(mode))
            }
            wake(at: world.now + .milliseconds(2100))
            return false
        case .registerAgain(let identifier):
            registerAgain(identifier)
            return false
        case .beginInitialize:
            if !isCommitting("initialize"), !world.isAwaitingBootstrapVersion {
                commit(ClusterChange(if: [.initializeAbsent], [.beginInitialize]), "initialize")
            }
            return false
        case .finishBootstrap(let control):
            finishBootstrap(control)
            return false
        case .abandonBootstrap:
            return false
        case .beginRace(let cause):
            world.race = Race(since: world.now, freeSince: world.now, askedAt: world.now, cause: cause)
            world.nextRenewAt = world.now
            world.nextSampleAt = world.now
            askPeers()
            return true
        case .askPeers:
            world.race?.askedAt = world.now
            world.race?.since = world.now
            world.nextSampleAt = world.now
            askPeers()
            return false
        case .yield:
            world.race?.yieldingSince = world.now
            return false
        case .runPrePromote(let fence):
            setPromotion(.hook(fence))
            start(.prePromote)
            return false
        case .beginPromotion(let fence, let timeline):
            prepare(fence, timeline)
            return false
        case .promote(let fence):
            guard case .preparing(_, let timeline, _, _) = world.promotion else { return false }
            setPromotion(.promoting(fence, timeline))
            world.isPromoteSignalled = true
            world.isMarkerUsed = true
            world.publishedRole = .promoted
            start(.promote(fence, from: world.sample?.timeline ?? timeline, to: timeline))
            return false
        case .beginHandover(let candidate, let isLeaving, let request):
            world.handover = Handover(
                phase: .choosing(since: world.now), candidate: candidate, candidates: [], isLeaving: isLeaving,
                request: request)
            askPeers()
            wake(at: world.now + HandoverRules.choosingLimit)
            return true
        case .handOver(let candidates):
            let id = newID()
            world.handover?.candidates = candidates
            world.handover?.phase = .checkpointing(id, since: world.now)
            emit(.checkpoint(id))
            return false
        case .cancelHandover(let why):
            if let handover = world.handover {
                settle(handover, OperatorAnswer(.conditionsNotMet, "Switchover failed: \(why)"))
                if handover.request != nil { clearFailover() }
            }
            world.handover = nil
            return false
        case .clearFailover(let why):
            settleSwitchover(OperatorAnswer(.conditionsNotMet, "Switchover failed: \(why)"))
            clearFailover()
            return false
        case .stopForHandover:
            stopForHandover()
            return false
        case .failPromotion(let why):
            failPromotion(why)
            return true
        case .confirmHandover(let final):
            world.handover?.phase = .confirming(final: final, since: world.now, askedAt: world.now)
            writeFinalStatus(final)
            askPeers(world.handover?.candidates)
            return true
        case .askCandidate:
            if case .confirming(let final, let since, _)? = world.handover?.phase {
                world.handover?.phase = .confirming(final: final, since: since, askedAt: world.now)
            }
            askPeers(world.handover?.candidates)
            return false
        case .releaseToCandidate(let final):
            writeFinalStatus(final)
            world.handover?.phase = .releasing
            release()
            return false
        }
    }

    // MARK: - Parts

    mutating func askPeers(_ names: [String]? = nil) {
        let peers = world.peerAddresses.filter { names?.contains($0.name) ?? true }
        if !peers.isEmpty { emit(.queryPeers(peers, within: .seconds(2))) }
    }

    mutating func start(_ job: Job) {
        guard world.job == nil else { return }
        let id = newID()
        world.job = RunningJob(id: id, job: job, since: world.now)
        switch job {
        case .start(.primary), .promote, .restart(.primary):
            world.mayAcknowledge = true
        case .start(.standby), .restart(.standby):
            if world.publishedRole != .uninitialized { world.publishedRole = .replica }
        case .clone:
            world.publishedRole = .uninitialized
        default: break
        }
        emit(.startJob(id, job))
    }

    private mutating func acquire(settling request: FailoverRequest?, systemIdentifier: String?) {
        guard let view = world.view, world.sessionFacts != nil, case .none = world.lease else { return }
        let id = newID()
        world.lease = .acquiring(id)
        world.earlyProof = nil
        emit(.commit(id, acquisition(view, settling: request, systemIdentifier: systemIdentifier)))
    }

    /// The transaction that takes the leader entry, as a view shows the rest.
    mutating func acquisition(
        _ view: ClusterView, settling request: FailoverRequest?, systemIdentifier: String?
    ) -> ClusterChange {
        // The position in the store is the one that was raced with: an answer that was long on its way may be older than
        // another's whole term.
        var conditions: [ClusterCondition] = [
            .leaderAbsent, .statusVersion(view.statusVersion), .migrationVersion(view.migrationVersion),
        ]
        var writes: [ClusterWrite] = [.acquireLeader]
        // With the entry a migration of the holder before is over; its cut-over compares the key.
        if view.migration?.state == .leaving { writes.append(.putMigration(nil)) }
        if view.syncVersion != nil { conditions.append(.syncVersion(view.syncVersion)) }
        if let request, view.failover == request {
            conditions.append(.failoverVersion(view.failoverVersion))
            if world.isPaused {
                // In pause it is the reason why this member is promoted at all: cleared once it is.
                writes.append(.putFailover(FailoverRequest(candidate: request.candidate)))
            } else {
                writes.append(.putFailover(nil))
            }
        }
        // A store that lost the cluster is told of it by whoever takes the lead.
        let isLost = view.initialize == .absent && world.storeReturn != nil
        if let systemIdentifier = systemIdentifier ?? (isLost ? world.systemIdentifier : nil) {
            if case .absent = view.initialize { conditions.append(.initializeAbsent) }
            writes.append(.putInitialize(systemIdentifier))
            if view.configuration == nil, let configuration = firstConfiguration {
                conditions.append(.configurationVersion(view.configurationVersion))
                writes.append(.putConfiguration(configuration))
            }
        }
        if let era = eraToWrite(view) {
            world.triedEra = era
            conditions.append(.eraVersion(view.eraVersion))
            writes.append(.putEra(era))
        }
        // Which timelines were made comes back with the lead: this agent may end before it could write them afterwards, and
        // nobody else may remember.
        if let back = world.storeReturn, let promotions = lostPromotions(back, view) {
            writes.append(.putPromotions(promotions))
        }
        return ClusterChange(if: conditions, writes)
    }

    /// The dynamic configuration to begin with: the last that was seen, else what `bootstrap.dcs` says.
    var firstConfiguration: JSONObject? { world.cachedConfiguration ?? world.settings.bootstrapConfiguration }

    private mutating func finishBootstrap(_ control: ControlData) {
        guard let version = world.bootstrapVersion, let view = world.view else { return }
        var writes: [ClusterWrite] = [.putInitialize(control.systemIdentifier)]
        var conditions: [ClusterCondition] = [.initializeVersion(version), .leaderAbsent]
        if view.configuration == nil {
            conditions.append(.configurationVersion(view.configurationVersion))
            writes.append(.putConfiguration(world.settings.bootstrapConfiguration ?? JSONObject()))
        }
        writes.append(.acquireLeader)
        if let era = eraToWrite(view) {
            world.triedEra = era
            conditions.append(.eraVersion(view.eraVersion))
            writes.append(.putEra(era))
        }
        let id = newID()
        world.lease = .acquiring(id)
        world.earlyProof = nil
        emit(.commit(id, ClusterChange(if: conditions, writes)))
    }

    mutating func release() {
        // Never before it is silent, whoever asks.
        guard !world.mayAcknowledge else { return }
        setPromotion(.none)
        let fence: Fence
        switch world.lease {
        case .held(let term), .ending(let term, _): fence = term.fence
        case .none:
            guard let leader = world.view?.leader else { return }
            fence = leader.fence
        case .proving(let held, _): fence = held
        case .acquiring, .unresolved, .releasing: return
        }
        noteEnded(fence)
        dropUnusedMarker(fence)
        world.armedTerm = nil
        emit(.endTerm)
        guard world.sessionFacts != nil, world.isLeaderEntryOurs else {
            world.lease = .none
            world.readWanted = true
            // Nothing is to be released, so no answer will end it.
            if case .releasing? = world.handover?.phase { world.handover = nil }
            return
        }
        world.lease = .releasing(fence)
        world.publishedMember = nil
        emit(.release(newID()))
    }

    private mutating func prepare(_ fence: Fence, _ timeline: Timeline) {
        let marker = newID()
        var records = world.view?.promotions ?? PromotionRecords()
        records.records[timeline] = PromotionRecords.Record(leader: world.me, fence: fence)
        emit(.persistMarker(marker, PromotionMarker(timeline: timeline, fence: fence)))
        // An intent of an earlier term under the same session may still be on its way: it must not come over this one.
        let intent = commit(ClusterChange(if: leaderIsOurs(fence), [.putPromotions(records)]), "intent")
        setPromotion(.preparing(fence, timeline, marker: marker, intent: intent))
        if world.armedTerm != fence, case .held(let term) = world.lease { emit(.arm(fence, term.deadlines)) }
    }

    private mutating func stopForHandover() {
        guard var term = world.term else { return }
        switch world.handover?.phase {
        case .checkpointing: break
        default: return
        }
        term.isFrozen = true
        world.lease = .held(term)
        world.handover?.phase = .stopping(since: world.now)
        world.posture = .stopping
        world.isStopAsked = true
        world.isStoppedForHandover = true
        emit(.posture(.stopping))
        start(.stop(.fast))
    }

    private mutating func writeFinalStatus(_ final: LSN) {
        guard world.isLeaderEntryOurs else { return }
        var status = world.view?.status ?? ClusterStatus()
        if status.optime == final || isCommitting("final status") { return }
        status.optime = final
        world.view?.status = status
        commit(ClusterChange(if: [.leaderIsOurs], [.putStatus(status)]), "final status")
    }

    mutating func clearFailover() {
        guard let view = world.view, view.failover != nil, !isCommitting("failover") else { return }
        commit(
            ClusterChange(if: [.failoverVersion(view.failoverVersion)], [.putFailover(nil)]), "failover")
        world.view?.failover = nil
    }
}
