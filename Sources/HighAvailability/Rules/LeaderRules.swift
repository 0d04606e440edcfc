import ClusterModel

/// We hold the lease: be the primary.
enum LeaderRules {
    static func lead(_ world: World) -> Verdict? {
        guard let term = world.term, world.handover == nil else { return nil }
        if world.isPaused { return inPause(world, term) }
        if world.settings.requiresGuard, !world.isGuardReady {
            return .wait("guard.waiting", "waiting for the guard", [Fact("fence", term.fence)])
        }
        switch world.server {
        case .unknown: return .wait("postgres.unknown", "looking at PostgreSQL")
        case .down(let facts): return restart(world, term, facts)
        case .up: break
        }
        guard let sample = world.sample else {
            if case .promoting = world.promotion { return promoting(world, term) }
            return .wait("postgres.noAnswer", "PostgreSQL runs and does not answer", [Fact("fence", term.fence)])
        }
        if !sample.isInRecovery { return primary(world, term, sample) }
        return promotion(world, term, sample)
    }

    private static func inPause(_ world: World, _ term: Term) -> Verdict? {
        if case .promoting = world.promotion { return promoting(world, term) }
        if world.isRunningPrimary, let request = world.view?.failover, request.candidate != nil,
            request.scheduledAt == nil, let verdict = HandoverRules.request(world, request)
        {
            // Asked for by name: done in pause as well.
            return verdict
        }
        if world.isRunningPrimary || (world.isServerUp && world.sample == nil) {
            return .wait("pause.leading", "PAUSE: no action. I am (\(world.me)), the leader with the lock")
        }
        if world.promotion != .none, world.isServerUp {
            return promotionSteps(world, term, world.sample?.timeline ?? Timeline(0))
        }
        if world.isRunningStandby, let request = world.view?.failover, request.candidate == world.me {
            return promotionSteps(world, term, world.sample?.timeline ?? Timeline(0))
        }
        return Verdict(
            "pause.releaseLead", .action, "PAUSE: releasing the leader entry, for PostgreSQL is no running primary",
            [Fact("fence", term.fence)], .release)
    }

    /// PostgreSQL is down and the lease is ours: crash recovery in place, or a start as a standby and a promotion.
    private static func restart(_ world: World, _ term: Term, _ data: DataDirectoryFacts) -> Verdict? {
        guard case .initialized(let control) = data else { return nil }
        let facts = [
            Fact("fence", term.fence), Fact("state", control.state.rawValue), Fact("timeline", control.timeline),
            Fact("exit", world.lastExit),
        ]
        let successor = RaceRules.likelySuccessor(world)
        if world.settings.primaryStartTimeout == .zero, world.crashedSince != nil, let successor {
            return Verdict(
                "primary.giveWay", .warning,
                "PostgreSQL crashed and primary_start_timeout is 0: giving way to \(successor)",
                facts + [Fact("successor", successor)], .release)
        }
        if let crashed = world.crashedSince, let successor {
            let spent = world.now - crashed
            if spent > world.settings.primaryStartTimeout {
                return Verdict(
                    "primary.giveWay", .warning,
                    "PostgreSQL did not come back within primary_start_timeout: giving way to \(successor)",
                    facts + [Fact("since_ms", milliseconds: spent), Fact("successor", successor)], .release)
            }
            // A crash that a restart does not cure is no reason to wait for the timeout while others could go on.
            if world.crashes.count >= 4 {
                return Verdict(
                    "primary.crashLoop", .warning,
                    "PostgreSQL crashed \(world.crashes.count) times within a minute: giving way to \(successor)",
                    facts + [Fact("crashes", .integer(Int64(world.crashes.count))), Fact("successor", successor)],
                    .release)
            }
            if world.jobFailures >= 3 {
                return Verdict(
                    "primary.crashLoop", .warning,
                    "PostgreSQL failed to start \(world.jobFailures) times: giving way to \(successor)",
                    facts + [Fact("failure", world.lastJobFailure), Fact("successor", successor)], .release)
            }
        }
        if world.now < world.nextJobAt {
            return .wait("job.backoff", "waiting before the next try", facts + [Fact("failure", world.lastJobFailure)])
        }
        let timeline = world.timeline(of: control)
        let current = world.view?.currentTimeline ?? timeline
        let wasPrimary: Bool
        switch control.state {
        case .shutDown, .shuttingDown, .inCrashRecovery, .inProduction, .startingUp: wasPrimary = true
        case .shutDownInRecovery, .inArchiveRecovery, .unrecognized: wasPrimary = false
        }
        if wasPrimary, timeline >= current, !world.isTwin(on: timeline) {
            if term.deadlines.finish <= world.now {
                return .wait("lease.tooShort", "waiting for a renewal before PostgreSQL is started", facts)
            }
            return Verdict(
                "primary.restartInPlace", .action, "starting PostgreSQL in place, for the lease is ours", facts,
                .startJob(.start(.primary(term.fence))))
        }
        if wasPrimary {
            return Verdict(
                "primary.stale", .warning,
                "our data is of an older timeline than the cluster's: releasing the leader entry",
                facts + [Fact("cluster_timeline", current)], .release)
        }
        return Verdict(
            "primary.startAsStandby", .action, "starting as a standby, to be promoted", facts,
            .startJob(.start(.standby(nil))))
    }

    private static func primary(_ world: World, _ term: Term, _ sample: PostgresSample) -> Verdict? {
        if let request = world.view?.failover, let verdict = HandoverRules.request(world, request) { return verdict }
        return .wait(
            "primary.leading", "no action. I am (\(world.me)), the leader with the lock",
            [Fact("fence", term.fence), Fact("timeline", sample.timeline)])
    }

    private static func promotion(_ world: World, _ term: Term, _ sample: PostgresSample) -> Verdict? {
        if case .promoting = world.promotion { return promoting(world, term) }
        return promotionSteps(world, term, sample.timeline)
    }

    /// The job says that writes are possible; the next look at PostgreSQL shows it.
    private static func promoting(_ world: World, _ term: Term) -> Verdict {
        if world.now - world.promotionSince > max(world.settings.primaryStartTimeout, .seconds(60)) {
            return Verdict(
                "promote.stuck", .warning, "PostgreSQL was promoted and does not show it", [Fact("fence", term.fence)],
                .failPromotion("it does not show"))
        }
        return .wait("promote.waiting", "waiting until the promotion shows", [Fact("fence", term.fence)])
    }

    /// Hook, then marker, intent and armed guard together, then the signal.
    private static func promotionSteps(_ world: World, _ term: Term, _ timeline: Timeline) -> Verdict? {
        let left = term.deadlines.end - world.now
        let interval = world.sessionFacts?.renewalInterval ?? .zero
        let needed = interval * 2 + LeaseDeadlines.stoppingBudget(term.deadlines.granted)
        let facts = [
            Fact("fence", term.fence), Fact("timeline", timeline), Fact("position", world.position),
            Fact("lease_left_ms", milliseconds: left), Fact("needed_ms", milliseconds: needed),
        ]
        if world.now < world.nextJobAt {
            return .wait("job.backoff", "waiting before the next try", facts + [Fact("failure", world.lastJobFailure)])
        }
        switch world.promotion {
        case .none:
            if world.settings.hasPrePromote {
                return Verdict("promote.hook", .action, "running pre_promote", facts, .runPrePromote(term.fence))
            }
            return prepare(world, term, timeline, left, needed, facts)
        case .hook(let fence):
            if fence == term.fence, world.job == nil { return prepare(world, term, timeline, left, needed, facts) }
            return .wait("promote.hook", "running pre_promote", facts)
        case .preparing(let fence, let next, nil, nil) where fence == term.fence:
            // PostgreSQL ended meanwhile, and what was prepared with it.
            guard world.marker == PromotionMarker(timeline: next, fence: fence) else {
                return prepare(world, term, timeline, left, needed, facts)
            }
            guard world.armedTerm == fence else {
                if world.now - world.promotionSince > max(term.deadlines.granted, .seconds(5)) {
                    return Verdict(
                        "promote.notArmed", .warning, "the guard does not take the deadline of this term", facts,
                        .failPromotion("the guard was not armed"))
                }
                return .wait("promote.arming", "waiting until the guard is armed for this term", facts)
            }
            if left <= needed { return .wait("promote.leaseTooShort", "waiting for a renewal before promoting", facts) }
            return Verdict(
                "promote.begin", .action, "promoting PostgreSQL", facts, .promote(fence))
        case .preparing(let fence, _, _, _) where fence == term.fence:
            return .wait("promote.preparing", "recording the promotion before it begins", facts)
        case .preparing, .promoting:
            return prepare(world, term, timeline, left, needed, facts)
        }
    }

    /// How many timelines may have been made that a store which lost its records does not tell of.
    private static let lostTimelines: UInt32 = 8

    private static func prepare(
        _ world: World, _ term: Term, _ timeline: Timeline, _ left: Duration, _ needed: Duration, _ facts: [Fact]
    ) -> Verdict {
        if let grant = world.liveGrant {
            return .wait("failsafe.granted", "waiting for the end of our grant to \(grant.holder)", facts)
        }
        if left <= needed { return .wait("promote.leaseTooShort", "waiting for a renewal before promoting", facts) }
        // The records tell which numbers are taken: they have to be those of our own term.
        guard world.isViewFresh, let view = world.view, world.isLeaderEntryOurs else {
            return .wait("store.stale", "waiting for a fresh view of the store", facts)
        }
        // A store that lost its records does not tell of timelines that members are on.
        let heard = world.peers.values.compactMap(\.timeline).max() ?? timeline
        var next = view.promotions.next(after: max(timeline, view.currentTimeline ?? timeline, heard))
        let isKnown = view.promotions.records.values.contains { $0.isMade && $0.fence.era == term.fence.era }
        if world.triedEra > 0, term.fence.era == world.triedEra, !isKnown {
            // The records began anew with this term: numbers that nobody remembers may have been made, and are left out.
            next = Timeline(next.number + lostTimelines)
        }
        let facts = facts + [Fact("new_timeline", next)]
        return Verdict(
            "promote.prepare", .action, "recording the promotion: marker, intent, guard", facts,
            .beginPromotion(term.fence, next))
    }
}
