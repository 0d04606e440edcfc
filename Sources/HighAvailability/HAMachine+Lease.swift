import ClusterModel

extension HAMachine {
    /// A session is wanted from the start on, and again whenever it was lost.
    mutating func keepSession() {
        guard world.server != .unknown, !world.isLeaving else { return }
        guard case .none(let retryAt) = world.session else { return }
        if world.now >= retryAt {
            world.session = .opening(since: world.now)
            emit(.openSession(lifetime: world.settings.ttl, resume: world.hasSavedSession))
        } else {
            wake(at: retryAt)
        }
    }

    /// Renews when it is due, and ends the term at F when no renewal came.
    mutating func keepLease() {
        keepPosture()
        if case .held(let term) = world.lease, !term.isFrozen {
            if world.now >= term.deadlines.finish {
                let facts = [
                    Fact("fence", term.fence), Fact("late_ms", milliseconds: world.now - term.deadlines.finish),
                    Fact("trouble", world.storeTrouble),
                ]
                if world.isPaused {
                    record(
                        "lease.expiredInPause", .warning,
                        "PAUSE: the lease was not renewed in time; PostgreSQL keeps running", facts)
                    world.endedTerms.insert(term.fence)
                    world.lease = .none
                } else {
                    record("lease.deadline", .warning, "no renewal was proven in time: stopping PostgreSQL", facts)
                    end(term, "no renewal was proven in time", .fast)
                }
                return
            }
            wake(at: term.deadlines.finish)
        }
        if case .proving(let fence, let since) = world.lease, let facts = world.sessionFacts,
            world.now - since > facts.granted
        {
            record(
                "lease.unproven", .warning, "the lease could not be proven: giving the entry up", [Fact("fence", fence)]
            )
            world.endedTerms.insert(fence)
            world.lease = .none
            world.readWanted = true
        }
        guard let facts = world.sessionFacts, let holding = renewalKind else { return }
        if world.renewInFlight == nil {
            if world.now >= world.nextRenewAt {
                let id = newID()
                world.renewInFlight = id
                emit(.renew(id, holding: holding, within: max(interval(facts), .milliseconds(200))))
            } else {
                wake(at: world.nextRenewAt)
            }
        }
    }

    /// Whether to renew: as the holder, as one who suspects the holder (and wants proofs before the entry is free), or not.
    private var renewalKind: Bool? {
        switch world.lease {
        case .held(let term): term.isFrozen && world.sessionFacts?.needsIdleRenewal != true ? nil : true
        case .proving, .unresolved: true
        case .none:
            (world.race != nil && world.publishedMember != nil && !world.settings.tags.isNoFailover)
                || world.sessionFacts?.needsIdleRenewal == true ? false : nil
        case .acquiring, .ending, .releasing: world.sessionFacts?.needsIdleRenewal == true ? false : nil
        }
    }

    private func interval(_ facts: SessionFacts) -> Duration {
        LeaseDeadlines.renewalInterval(granted: facts.granted, wished: facts.renewalInterval) ?? facts.renewalInterval
    }

    /// What the guard is to enforce follows from the lease and the pause.
    private mutating func keepPosture() {
        guard world.isGuardReady, world.isServerUp, world.job?.job != .bootstrap else { return }
        let wanted: GuardPosture
        if let view = world.view, view.isPaused {
            wanted = .paused
        } else if case .held(let term) = world.lease {
            if world.posture == .paused {
                wanted = .resumed
            } else if term.isFrozen {
                wanted = .stopping
            } else if isBecomingPrimary {
                // The start or the promote command sets what is enforced; it is told again once it is a primary.
                return
            } else {
                wanted = world.isRunningPrimary ? .primary : .replica
            }
            if wanted == .replica, world.sample == nil { return }
        } else if world.mayAcknowledge {
            // Found running, or still to be silenced: the deadline that the guard knows stands.
            return
        } else {
            wanted = .replica
        }
        if world.posture != wanted {
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
        guard let facts = world.sessionFacts else { return }
        switch outcome {
        case .proven(let sent, let notExpiredBefore):
            world.nextRenewAt = sent + interval(facts)
            world.storeTrouble = nil
            world.storeLastSeen = world.wall
            world.storeLastSeenAt = world.now
            let deadlines = LeaseDeadlines(notExpiredBefore: notExpiredBefore, granted: facts.granted)
            renewed(sent: sent, deadlines)
        case .gone(let why):
            world.nextRenewAt = world.now + interval(facts)
            world.readWanted = true
            loseLease("the store says that it is not ours: \(why)", .immediate)
        case .unknown(let why):
            if case .held = world.lease {
                trouble(why)
                world.nextRenewAt = world.now + .milliseconds(50)
            } else {
                world.nextRenewAt = world.now + .milliseconds(10)
            }
        }
    }

    private mutating func renewed(sent: Instant, _ deadlines: LeaseDeadlines) {
        switch world.lease {
        case .held(var term):
            if term.isFrozen { return }
            // One sent after F or answered after Q never counts.
            if sent > term.deadlines.finish || world.now > term.deadlines.quit {
                record(
                    "lease.tooLate", .warning, "a renewal came too late to count: the lease is over",
                    [Fact("fence", term.fence)])
                end(term, "a renewal came too late", .immediate)
                return
            }
            guard deadlines.end > term.deadlines.end else { return }
            term.deadlines = deadlines
            world.lease = .held(term)
            emit(.arm(term.fence, deadlines))
        case .unresolved:
            world.earlyProof = deadlines
        case .proving(let fence, _):
            guard world.now < deadlines.finish else { return }
            begin(Term(fence: fence, deadlines: deadlines, since: world.now))
        case .none, .acquiring, .ending, .releasing:
            break
        }
    }

    private mutating func begin(_ term: Term) {
        world.earlyProof = nil
        world.lease = .held(term)
        world.race = nil
        world.isSilent = false
        emit(.arm(term.fence, term.deadlines))
        record(
            "lease.acquired", .action, "the lease is ours",
            [
                Fact("fence", term.fence), Fact("granted_ms", milliseconds: term.deadlines.granted),
                Fact("left_ms", milliseconds: term.deadlines.end - world.now),
            ])
        world.publishedMember = nil
        world.sampleInFlight = false
        world.nextSampleAt = world.now + .milliseconds(20)
    }

    /// The lease is not ours any more, whatever phase it was in.
    mutating func loseLease(_ reason: String, _ mode: StopMode) {
        world.earlyProof = nil
        switch world.lease {
        case .held(let term):
            if let handover = world.handover, isSilencing(handover) {
                // PostgreSQL is being stopped or is silent already: the hand-over ends as if it had been released.
                world.endedTerms.insert(term.fence)
                if world.mayAcknowledge {
                    end(term, reason, .immediate)
                } else {
                    world.lease = .none
                    emit(.endTerm)
                }
                world.handover = nil
                return
            }
            record("lease.lost", .warning, "the lease is lost: \(reason)", [Fact("fence", term.fence)])
            if world.isPaused {
                world.endedTerms.insert(term.fence)
                world.lease = .none
            } else {
                end(term, reason, mode)
            }
        case .proving(let fence, _):
            record("lease.lost", .warning, "the leader entry is lost: \(reason)", [Fact("fence", fence)])
            world.endedTerms.insert(fence)
            world.lease = .none
        case .acquiring, .unresolved:
            world.lease = .none
            world.readWanted = true
        case .none, .ending, .releasing:
            break
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
        world.endedTerms.insert(term.fence)
        if world.endedTerms.count > 64, let oldest = world.endedTerms.min() { world.endedTerms.remove(oldest) }
        world.armedTerm = nil
        world.promotion = .none
        if let handover = world.handover {
            settle(handover, OperatorAnswer(.unavailable, "Switchover failed: \(reason)"))
            world.handover = nil
        }
        world.lease = .ending(term, reason: reason)
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
        if world.mayAcknowledge { emit(.stopServer(mode)) }
    }

    mutating func absorb(release outcome: ChangeOutcome) {
        guard case .releasing(let fence) = world.lease else { return }
        world.lease = .none
        world.endedTerms.insert(fence)
        // The view is of before the release: what it says of the leader must not be believed again.
        world.view?.leader = nil
        world.readWanted = true
        switch outcome {
        case .committed, .refused:
            record("lease.released", .action, "the leader entry is released", [Fact("fence", fence)])
        case .notSent(let why), .unknown(let why):
            record("lease.releaseUnknown", .warning, "whether the leader entry was released is not known: \(why)")
        }
        if let handover = world.handover { world.handover = handover.isLeaving ? handover : nil }
        if world.handover?.isLeaving == true { world.handover = nil }
    }

    /// The holder may be gone: prove our session and learn the others' positions before its entry vanishes.
    mutating func suspect(_ cause: String) {
        guard world.view?.leader?.name != world.me else { return }
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

    func isCommitting(_ label: String) -> Bool { world.commits.values.contains(label) }

    mutating func absorb(commit id: EffectID, _ outcome: ChangeOutcome) {
        let label = world.commits.removeValue(forKey: id)
        var isCommitted = false
        if case .committed = outcome { isCommitted = true }
        if case .acquiring(id) = world.lease {
            switch outcome {
            case .committed, .unknown:
                // Committed: the entry's number is read with the entry. Unknown: the same read tells whose it is.
                world.lease = .unresolved
                world.readWanted = true
                world.nextReadAt = world.now
                world.nextRenewAt = world.now
                if case .unknown(let why) = outcome {
                    record("lease.unknown", .warning, "whether the leader entry became ours is not known: \(why)")
                    emitResolvingRead()
                }
            case .refused(let why):
                world.lease = .none
                world.readWanted = true
                record("lease.refused", .action, "another member was first: \(why)")
            case .notSent(let why):
                world.lease = .none
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
            world.readWanted =
                world.readWanted || !isCommitted || world.view?.member(world.me) == nil
                || world.sessionFacts?.isResumed == true && world.term == nil
            return
        }
        if case .preparing(let fence, let timeline, let marker, intent: id) = world.promotion {
            if isCommitted {
                world.promotion = .preparing(fence, timeline, marker: marker, intent: nil)
            } else {
                record("promote.noIntent", .warning, "the promotion could not be recorded in the store: \(outcome)")
                world.promotion = .none
                world.readWanted = true
                world.nextJobAt = world.now + .milliseconds(100)
            }
            return
        }
        if label == "initialize" {
            world.readWanted = true
            if isCommitted { world.bootstrapVersion = nil }
            if case .committed(let revision) = outcome {
                world.bootstrapVersion = EntryVersion(created: revision.number, number: revision.number)
                world.isAwaitingBootstrapVersion = true
            }
            return
        }
        if label == "status" { world.statusInFlight = nil }
        settleRequests(commit: id, outcome)
        if !isCommitted { world.nextUpkeepAt = world.now + .milliseconds(500) }
        world.readWanted = true
    }

    private mutating func emitResolvingRead() {
        guard world.readInFlight == nil else { return }
        let id = newID()
        world.readInFlight = id
        world.readWanted = false
        emit(.read(id, resolving: true))
    }
}
