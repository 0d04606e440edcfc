import ClusterModel

extension HAMachine {
    /// Between a renewal that failed and the next try.
    static let renewalPause: Duration = .milliseconds(50)

    /// A session is wanted from the start on, and again whenever it was lost.
    mutating func keepSession() {
        keepLeaving()
        guard world.server != .unknown, !world.isLeaving else { return }
        // A session's lifetime is fixed when it is opened: a member that holds nothing changes it when the setting does.
        if world.sessionFacts != nil, world.sessionLifetime != world.settings.ttl, case .none = world.lease,
            world.race == nil, !world.isLeaderEntryOurs, !world.isPaused, world.view?.leader != nil
        {
            emit(.closeSession(abandon: false))
            forgetSession(retryAt: world.now)
            world.needsResolving = false
        }
        // Never over a lease that is held: what holds it must be known to be gone first.
        guard case .none(let retryAt) = world.session, world.term == nil || world.failsafe.leaseLost != nil else {
            return
        }
        if world.now >= retryAt {
            let id = newID()
            world.session = .opening(id, since: world.now)
            world.sessionLifetime = world.settings.ttl
            emit(.openSession(id, lifetime: world.settings.ttl, resume: world.hasSavedSession))
        } else {
            wake(at: retryAt)
        }
    }

    /// Who was asked to stop waits for nobody for ever.
    private mutating func keepLeaving() {
        guard world.isStopping else { return }
        switch world.server {
        case .unknown:
            wake(at: world.stopAskedAt + StoppingRules.patience)
        case .down where world.job == nil:
            let since = world.settlingSince ?? world.now
            world.settlingSince = since
            wake(at: since + StoppingRules.settlingLimit)
        case .down, .up:
            world.settlingSince = nil
        }
    }

    /// Nothing of the session counts any more: what comes back of it is of an earlier one.
    mutating func forgetSession(retryAt: Instant) {
        world.session = .none(retryAt: retryAt)
        world.hasSavedSession = false
        world.publishedMember = nil
        world.renewInFlight = nil
        world.renewalFence = nil
        world.earlyProof = nil
        world.doubtsSession = false
        world.viewsCountFrom = world.now
        world.readWanted = true
    }

    /// A lease without a guard that enforces it lets nobody write: after a while it is left to others. A guard that has
    /// ended the term by its deadline never takes it up again, whatever a resumed session says.
    private mutating func keepArmed() {
        guard case .held(let term) = world.lease, world.settings.requiresGuard, world.armedTerm != term.fence,
            !world.isPaused
        else {
            world.unarmedSince = nil
            return
        }
        let since = world.unarmedSince ?? world.now
        world.unarmedSince = since
        let patience =
            world.isGuardReady
            ? max(term.deadlines.granted / 2, .seconds(1)) : max(term.deadlines.granted, .seconds(5))
        if world.now - since < patience { return wake(at: since + patience) }
        record(
            "lease.unguarded", .warning, "the guard does not take the deadline of this term: giving the lease up",
            [Fact("fence", term.fence), Fact("guard_ready", .bool(world.isGuardReady))])
        world.unarmedSince = nil
        end(term, "no guard enforces it")
    }

    /// Renews when it is due, and ends the term at F when no renewal came.
    mutating func keepLease() {
        keepPosture()
        keepArmed()
        if case .held(let term) = world.lease, !term.isFrozen {
            let deadlines = world.deadlines(of: term)
            if world.now >= deadlines.finish {
                var facts = [
                    Fact("fence", term.fence), Fact("late_ms", milliseconds: world.now - deadlines.finish),
                    Fact("trouble", world.storeTrouble),
                ]
                for (name, why) in world.failsafe.missing.sorted(by: { $0.key < $1.key }) {
                    facts.append(Fact("failsafe_\(name)", why))
                }
                if world.isPaused {
                    // Suspended, not over: should the entry still be ours when the store answers, the term goes on.
                    record(
                        "lease.expiredInPause", .warning,
                        "PAUSE: the lease was not renewed in time; PostgreSQL keeps running", facts)
                    // The guard keeps what it was armed with.
                    let armed = world.armedTerm
                    drop(term)
                    world.armedTerm = armed
                    world.readWanted = true
                } else {
                    record("lease.deadline", .warning, "no renewal was proven in time: stopping PostgreSQL", facts)
                    // After a long sleep Q has passed too: then another may lead already.
                    let mode: StopMode = world.now >= deadlines.quit ? .immediate : .fast
                    end(term, "no renewal was proven in time", mode)
                }
                return
            }
            wake(at: deadlines.finish)
        }
        if case .proving(let fence, let since) = world.lease, let facts = world.sessionFacts,
            world.now - since > facts.granted
        {
            record(
                "lease.unproven", .warning, "the lease could not be proven: giving the entry up", [Fact("fence", fence)]
            )
            if !world.isPaused { noteEnded(fence) }
            world.lease = .none
            world.readWanted = true
        }
        if world.now < world.nextLeaseTryAt { wake(at: world.nextLeaseTryAt) }
        guard let facts = world.sessionFacts, let holding = renewalKind else { return }
        if world.renewInFlight == nil {
            if world.now >= world.nextRenewAt {
                let id = newID()
                world.renewInFlight = id
                world.renewSentAt = world.now
                world.renewalFence = heldFence
                world.isRenewalHolding = holding
                // Given up a little before the next is due: two may fail in a row, and a third is still sent before F.
                let within = max(interval(facts) - Self.renewalPause, .milliseconds(100))
                emit(.renew(id, holding: holding, within: within))
            } else {
                wake(at: world.nextRenewAt)
            }
        }
    }

    /// The entry's number, while the entry is known to be ours.
    private var heldFence: Fence? {
        switch world.lease {
        case .held(let term):
            // Taken again after the store had lost it: another number, until it is proven.
            if case .proving(let fence, _) = world.failsafe.retake { fence } else { term.fence }
        case .proving(let fence, _): fence
        case .none, .acquiring, .unresolved, .ending, .releasing: nil
        }
    }

    /// Whether to renew: as the holder, as one who suspects the holder (and wants proofs before the entry is free), or not.
    private var renewalKind: Bool? {
        switch world.lease {
        case .held(let term): renewalKind(of: term)
        case .proving, .unresolved: true
        case .none:
            (world.race != nil && world.publishedMember != nil && !world.settings.tags.isNoFailover)
                || world.sessionFacts?.needsIdleRenewal == true || world.doubtsSession ? false : nil
        case .acquiring, .ending, .releasing: world.sessionFacts?.needsIdleRenewal == true ? false : nil
        }
    }

    private func renewalKind(of term: Term) -> Bool? {
        let isIdle = world.sessionFacts?.needsIdleRenewal == true
        guard world.failsafe.leaseLost != nil else { return term.isFrozen && !isIdle ? nil : true }
        switch world.failsafe.retake {
        case .proving: return true
        case .none where world.isLeaderEntryOurs && world.view?.leader?.fence == term.fence && world.isViewFresh:
            return true
        case .none, .committing, .unresolved: return isIdle || world.doubtsSession ? false : nil
        }
    }

    private func interval(_ facts: SessionFacts) -> Duration {
        renewalInterval(facts) ?? facts.renewalInterval
    }

    /// How often to renew this session; nil when its lifetime is too short for any.
    func renewalInterval(_ facts: SessionFacts) -> Duration? {
        LeaseDeadlines.renewalInterval(
            granted: facts.granted, wished: facts.renewalInterval, intervalsBehind: facts.intervalsBehind)
    }

    /// What the guard is to enforce follows from the lease and the pause.
    private mutating func keepPosture() {
        guard world.isGuardReady, world.isServerUp, world.job?.job != .bootstrap else { return }
        let wanted: GuardPosture
        if let handover = world.handover, isSilencing(handover) {
            return
        } else if let view = world.view, view.isPaused {
            // A promotion or start under way is enforced to its end, in pause as well.
            if isBecomingPrimary || world.promotion != .none { return }
            wanted = .paused
        } else if world.posture == .paused {
            // Lease or not: from now on the guard wants a renewal within T.
            wanted = world.mayAcknowledge ? .resumed : .replica
        } else if case .held(let term) = world.lease {
            if term.isFrozen {
                wanted = .stopping
            } else if isBecomingPrimary {
                // The start or the promote command sets what is enforced; it is told again once it is a primary.
                return
            } else {
                if world.isRunningPrimary, world.armedTerm != term.fence { return }
                wanted = world.isRunningPrimary ? world.failsafe.isActive ? .failsafe : .primary : .replica
            }
            if wanted == .replica, world.sample == nil { return }
        } else if world.mayAcknowledge {
            // Found running, or still to be silenced: the deadline that the guard knows stands.
            return
        } else {
            wanted = .replica
        }
        if world.posture != wanted {
            if world.now < world.nextPostureAt {
                wake(at: world.nextPostureAt)
                return
            }
            world.posture = wanted
            emit(.posture(wanted))
        }
    }

    private var isBecomingPrimary: Bool {
        switch world.job?.job {
        case .promote?, .start(.primary)?, .restart(.primary)?: true
        default: false
        }
    }

    mutating func absorb(renewal id: EffectID, _ outcome: RenewalOutcome) {
        guard world.renewInFlight == id else { return }
        world.renewInFlight = nil
        let wasFor = world.renewalFence
        world.renewalFence = nil
        guard let facts = world.sessionFacts else { return }
        switch outcome {
        case .proven(let sent, let notExpiredBefore):
            world.nextRenewAt = sent + interval(facts)
            world.doubtsSession = false
            storeAnswered()
            // Of the session alone, while the entry is known to be lost.
            if case .held = world.lease, !world.isRenewalHolding { return }
            let deadlines = LeaseDeadlines(notExpiredBefore: notExpiredBefore, granted: facts.granted)
            if case .held(let term) = world.lease, case .proving(let fence, _) = world.failsafe.retake {
                if wasFor == fence, world.now < deadlines.finish { begin(retaken: fence, deadlines, after: term) }
                return
            }
            renewed(sent: sent, deadlines)
        case .gone(let why):
            world.nextRenewAt = world.now + interval(facts)
            world.readWanted = true
            // Said of an earlier holding: no word about this one.
            if let fence = heldFence, fence != wasFor { return }
            if !world.isRenewalHolding, world.failsafe.leaseLost != nil || world.lease == .none {
                // Of the session itself: gone, or taken over by another instance, to which it is left.
                record("store.sessionUnusable", .warning, "the session is of no use any more: \(why)")
                emit(.closeSession(abandon: true))
                forgetSession(retryAt: world.now + .seconds(1))
                return
            }
            // The entry is lost; whether the session is as well is found out when nothing is held any more.
            world.doubtsSession = true
            world.nextRenewAt = world.now + Self.renewalPause
            loseLease("the store says that it is not ours: \(why)", .immediate)
        case .unknown(let why):
            if case .held = world.lease {
                if world.renewSentAt >= world.storeLastSeenAt { trouble(why) }
                // By grants the term may go on for long: the store is asked less often then.
                world.nextRenewAt = world.now + (world.failsafe.isActive ? .milliseconds(500) : Self.renewalPause)
            } else if case .none = world.lease {
                world.nextRenewAt = world.now + interval(facts)
            } else {
                world.nextRenewAt = world.now + .milliseconds(20)
            }
        }
    }

    private mutating func renewed(sent: Instant, _ deadlines: LeaseDeadlines) {
        switch world.lease {
        case .held(var term):
            if term.isFrozen { return }
            // One sent after F or answered after Q never counts.
            let standing = world.deadlines(of: term)
            if sent > standing.finish || world.now > standing.quit {
                record(
                    "lease.tooLate", .warning, "a renewal came too late to count: the lease is over",
                    [Fact("fence", term.fence)])
                end(term, "a renewal came too late", .immediate)
                return
            }
            world.failsafe.provenAt = sent
            if world.failsafe.lastRound > 0 { endFailsafe("the store answers, and the lease is ours") }
            world.migration?.heldBack = deadlines
            let deadlines = allowed(deadlines)
            guard deadlines.end > term.deadlines.end, deadlines.covers(term.deadlines) else { return }
            term.deadlines = deadlines
            world.lease = .held(term)
            emit(armed(term))
        case .unresolved:
            world.earlyProof = deadlines
        case .proving(let fence, _):
            guard world.now < deadlines.finish else { return }
            begin(Term(fence: fence, deadlines: deadlines, since: world.now))
        case .none, .acquiring, .ending, .releasing:
            break
        }
    }

    mutating func begin(_ term: Term) {
        world.earlyProof = nil
        world.lease = .held(term)
        world.race = nil
        world.isSilent = false
        emit(armed(term))
        record(
            "lease.acquired", .action, "the lease is ours",
            [
                Fact("fence", term.fence), Fact("granted_ms", milliseconds: term.deadlines.granted),
                Fact("left_ms", milliseconds: term.deadlines.end - world.now),
            ])
        world.publishedMember = nil
        world.failsafe.provenAt = world.now
        world.newestFence = max(world.newestFence, term.fence)
        forgetGrant()
        world.sitOutUntil = .distantPast
        world.nextSampleAt = min(world.nextSampleAt, world.now + .milliseconds(20))
    }

    /// The lease is not ours any more, whatever phase it was in.
    mutating func loseLease(_ reason: String, _ mode: StopMode) {
        world.earlyProof = nil
        switch world.lease {
        case .held(let term):
            if !survives(lossOf: term, reason) { lose(term, reason, mode) }
        case .proving(let fence, _):
            record("lease.lost", .warning, "the leader entry is lost: \(reason)", [Fact("fence", fence)])
            noteEnded(fence)
            world.lease = .none
        case .acquiring, .unresolved:
            world.lease = .none
            world.readWanted = true
        case .none, .ending, .releasing:
            break
        }
    }

    mutating func lose(_ term: Term, _ reason: String, _ mode: StopMode) {
        if let handover = world.handover, isSilencing(handover) {
            // PostgreSQL is being stopped or is silent already: the hand-over ends as if it had been released.
            if world.mayAcknowledge {
                end(term, reason, .immediate)
            } else {
                noteEnded(term.fence)
                drop(term)
                emit(.endTerm)
            }
            world.handover = nil
            return
        }
        record("lease.lost", .warning, "the lease is lost: \(reason)", [Fact("fence", term.fence)])
        if world.isPaused, !world.isPromoteSignalled || world.isRunningPrimary {
            noteEnded(term.fence)
            drop(term)
        } else {
            end(term, reason, mode)
        }
    }

    private func isSilencing(_ handover: Handover) -> Bool {
        switch handover.phase {
        case .stopping, .confirming, .releasing: true
        case .choosing, .checkpointing: false
        }
    }

    /// Ends a term: PostgreSQL is silenced, then the entry is given up.
    mutating func end(_ term: Term, _ reason: String, _ mode: StopMode = .immediate) {
        noteEnded(term.fence)
        world.armedTerm = nil
        setPromotion(.none)
        dropUnusedMarker(term.fence)
        if let handover = world.handover {
            settle(handover, OperatorAnswer(.unavailable, "Switchover failed: \(reason)"))
            world.handover = nil
        }
        world.lease = .ending(term, reason: reason)
        world.endingMode = mode
        world.publishedRole = .demoted
        world.publishedMember = nil
        // Ending the term makes the guard stop PostgreSQL at once; with a fast stop its last deadline stands instead.
        if mode == .immediate { emit(.endTerm) }
        if let job = world.job, !job.isCancelling {
            switch job.job {
            case .start, .promote, .restart, .prePromote, .follow:
                world.job?.isCancelling = true
                emit(.cancelJob(job.id))
            case .stop, .bootstrap, .clone, .rewind:
                break
            }
        }
        if world.mayAcknowledge { _ = perform(.stopServer(mode)) }
    }

    mutating func noteEnded(_ fence: Fence) {
        world.endedTerms.insert(fence)
        if world.endedTerms.count > 64, let oldest = world.endedTerms.min() { world.endedTerms.remove(oldest) }
    }

    /// Leaves a term without anything to be stopped.
    private mutating func drop(_ term: Term) {
        world.lease = .none
        world.armedTerm = nil
        setPromotion(.none)
        dropUnusedMarker(term.fence)
        if let handover = world.handover {
            settle(handover, OperatorAnswer(.unavailable, "Switchover failed: the lease was lost"))
            world.handover = nil
        }
    }

    mutating func setPromotion(_ phase: PromotionPhase) {
        if world.promotion != phase { world.promotionSince = world.now }
        world.promotion = phase
    }

    /// A marker whose promotion was never signalled says nothing of our data: it must not be taken for a twin later.
    mutating func dropUnusedMarker(_ fence: Fence) {
        guard let marker = world.marker, marker.fence == fence, !world.isMarkerUsed else { return }
        clearMarker()
    }

    /// Timeline 0 stands for none.
    mutating func clearMarker() {
        guard let marker = world.marker else { return }
        world.marker = nil
        emit(.persistMarker(newID(), PromotionMarker(timeline: Timeline(0), fence: marker.fence)))
    }

    mutating func absorb(release outcome: ChangeOutcome) {
        guard case .releasing(let fence) = world.lease else { return }
        world.lease = .none
        noteEnded(fence)
        world.viewsCountFrom = world.now
        world.readWanted = true
        world.handover = nil
        switch outcome {
        case .committed, .refused:
            // The view is of before the release: what it says of the leader must not be believed again.
            world.view?.leader = nil
            record("lease.released", .action, "the leader entry is released", [Fact("fence", fence)])
        case .notSent(let why):
            world.nextLeaseTryAt = world.now + .milliseconds(500)
            trouble(why)
        case .unknown(let why):
            world.needsResolving = true
            world.nextLeaseTryAt = world.now + .milliseconds(100)
            record("lease.releaseUnknown", .warning, "whether the leader entry was released is not known: \(why)")
        }
    }

    /// The holder may be gone: prove our session and learn the others' positions before its entry vanishes.
    mutating func suspect(_ cause: String) {
        guard let leader = world.view?.leader, leader.name != world.me else { return }
        world.race = Race(since: world.now, freeSince: nil, askedAt: world.now, cause: cause)
        world.nextRenewAt = world.now
        world.nextSampleAt = world.now
        world.readWanted = true
        record("leader.suspected", .action, cause, [Fact("leader", world.view?.leader?.name)])
        let peers = world.peerAddresses
        if !peers.isEmpty { emit(.queryPeers(peers, within: .seconds(2))) }
    }

    // MARK: - Commits

    /// Commits a change; one of each label at a time.
    @discardableResult
    mutating func commit(_ change: ClusterChange, _ label: String) -> EffectID {
        let id = newID()
        world.commits[id] = label
        emit(.commit(id, change))
        return id
    }

    /// That we hold the entry, in this very term: a write of an earlier one under the same session may still be on its way.
    func leaderIsOurs(_ fence: Fence?) -> [ClusterCondition] {
        guard let fence, let leader = world.view?.leader, world.isLeaderEntryOurs, leader.fence == fence else {
            return [.leaderIsOurs]
        }
        return [.leaderIsOurs, .leaderVersion(leader.version)]
    }

    func isCommitting(_ label: String) -> Bool { world.commits.values.contains(label) }

    mutating func absorb(commit id: EffectID, _ outcome: ChangeOutcome) {
        if absorb(retake: id, outcome) { return }
        let label = world.commits.removeValue(forKey: id)
        var isCommitted = false
        if case .committed = outcome { isCommitted = true }
        if label == "cut" { return absorb(cut: outcome) }
        if label == "revoke" { return absorb(revocation: outcome) }
        if label == "announce" { noteAnnounced(id, outcome) }
        if case .acquiring(id) = world.lease {
            switch outcome {
            case .committed, .unknown:
                // Committed: the entry's number is read with the entry. Unknown: the same read tells whose it is.
                world.lease = .unresolved
                world.readWanted = true
                world.viewsCountFrom = world.now
                world.nextReadAt = world.now
                world.nextRenewAt = world.now
                if case .unknown(let why) = outcome {
                    world.needsResolving = true
                    record("lease.unknown", .warning, "whether the leader entry became ours is not known: \(why)")
                }
            case .refused(let why):
                world.lease = .none
                world.readWanted = true
                world.viewsCountFrom = world.now
                // Consul's lock delay refuses for seconds.
                world.nextLeaseTryAt = world.now + .milliseconds(100)
                record("lease.refused", .action, "the leader entry was not to be had: \(why)")
            case .notSent(let why):
                world.lease = .none
                world.nextLeaseTryAt = world.now + .milliseconds(200)
                trouble(why)
            }
            return
        }
        if world.publishInFlight == id {
            world.publishInFlight = nil
            if !isCommitted {
                world.publishedMember = nil
                world.nextPublishAt = world.now + .milliseconds(300)
            }
            // An entry that is ours and not led by is taken up by the view that shows our member entry too.
            let mayResume =
                world.lease == .none && (world.sessionFacts?.isResumed == true || world.isLeaderEntryOurs)
            world.readWanted =
                world.readWanted || !isCommitted || mayResume || world.view?.member(world.me) == nil
            return
        }
        if case .preparing(let fence, let timeline, let marker, intent: id) = world.promotion {
            if isCommitted {
                setPromotion(.preparing(fence, timeline, marker: marker, intent: nil))
            } else {
                record("promote.noIntent", .warning, "the promotion could not be recorded in the store: \(outcome)")
                setPromotion(.none)
                world.readWanted = true
                world.nextJobAt = world.now + .milliseconds(100)
            }
            return
        }
        if label == "initialize" {
            world.readWanted = true
            world.viewsCountFrom = world.now
            world.bootstrapVersion = nil
            switch outcome {
            case .committed:
                world.isAwaitingBootstrapVersion = true
            case .unknown:
                // An entry found there is taken for ours; should it be another's, the commit that ends the bootstrap
                // lets only the first of two through.
                world.isAwaitingBootstrapVersion = true
                world.needsResolving = true
            case .notSent(let why):
                world.nextJobAt = world.now + .milliseconds(500)
                trouble(why)
            case .refused: break
            }
            return
        }
        if label == "abandon bootstrap", let why = world.exitAfterAbandon {
            world.exitAfterAbandon = nil
            emit(.exit(1, why))
            return
        }
        settleRequests(commit: id, outcome)
        if !isCommitted { world.nextUpkeepAt = world.now + .milliseconds(500) }
        if label == "status" {
            // Known without looking; what we wrote is in the view already.
            world.statusInFlight = nil
            if isCommitted { return }
        }
        if ["failover", "final status", "request", "register"].contains(label) { world.viewsCountFrom = world.now }
        if label == "register", !isCommitted { world.nextLeaseTryAt = world.now + .milliseconds(200) }
        world.upkeepFrom = world.now
        world.readWanted = true
    }
}
