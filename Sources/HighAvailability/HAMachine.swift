import ClusterModel

/// The decisions of one member: events in, effects and their reasons out.
///
/// Synchronous and pure: no clock, no I/O, no randomness of its own; the same inputs give the same reactions. The runtime
/// is its caller in production, the simulator in tests.
///
/// Each handling does four things in this order: it takes the event into its world; it does the standing duties (session,
/// lease, reads, looks at PostgreSQL) that no other work may delay; it asks the rules, in their order, what this member
/// should do next and does what the first one with an answer wants; it publishes.
public struct HAMachine: Sendable {
    public internal(set) var world: World
    var reaction = Reaction()
    var lastEffect: UInt64 = 0
    var decisionCount: UInt64 = 0
    /// The last decision of the main question, to record changes only.
    var lastVerdict: Verdict?
    var recent: [Decision] = []
    var wakes: [Instant] = []

    /// How many decisions are remembered.
    public static let rememberedDecisions = 300

    public init(identity: MemberIdentity, settings: MachineSettings, at moment: Moment) {
        self.world = World(identity: identity, settings: settings, at: moment)
    }

    /// The rules that answer the main question, first answer wins.
    static let rules: [Rule] = [
        Rule(ask: IdentityRules.duplicate),
        Rule(ask: IdentityRules.unusableData),
        Rule(ask: LeaseRules.ending),
        Rule(ask: LeaseRules.ownedWithoutTerm),
        Rule(ask: FailsafeRules.retake),
        Rule(ask: MigrationRules.cutting),
        Rule(ask: StoppingRules.stopping),
        Rule(ask: MigrationRules.movedAway),
        Rule(ask: IdentityRules.otherCluster),
        Rule(ask: IdentityRules.standbyBeforePrimary),
        Rule(ask: LeaseRules.writableWithoutLease),
        Rule(ask: JobRules.running),
        Rule(ask: StoreRules.noView),
        Rule(ask: StoreRules.readOnly),
        Rule(ask: IdentityRules.checkingName),
        Rule(ask: HandoverRules.steps),
        Rule(ask: LeaseRules.settling),
        Rule(ask: RestartRules.restart),
        Rule(ask: FailsafeRules.granted),
        Rule(ask: FailsafeRules.grantedElsewhere),
        Rule(ask: FailsafeRules.returned),
        Rule(ask: FailsafeRules.oldLeader),
        Rule(ask: MigrationRules.notHereYet),
        Rule(ask: BootstrapRules.finish),
        Rule(ask: BootstrapRules.noData),
        Rule(ask: FailsafeRules.leading),
        Rule(ask: LeaderRules.lead),
        Rule(ask: RaceRules.race),
        Rule(ask: FollowRules.rejoin),
        Rule(ask: FollowRules.follow),
    ]

    /// One rule. A closure that lay bare in an array would have the world copied for each call.
    struct Rule: Sendable {
        let ask: @Sendable (World) -> Verdict?
    }

    /// Takes one event; the effects are to be begun in their order.
    public mutating func handle(_ event: Event, at moment: Moment) -> Reaction {
        reaction = Reaction()
        wakes = []
        // Time never goes back for the rules, whatever order events are delivered in.
        world.now = max(world.now, moment.now)
        world.wall = moment.wall
        world.random = moment.random
        absorb(event)
        // A verdict may make the next one possible at once (a term begins, a phase ends): go on until nothing is done.
        for _ in 0..<8 {
            keepSession()
            keepLease()
            keepFailsafe()
            guard decide() else { break }
        }
        keepMigration()
        keepReading()
        keepSampling()
        keepRace()
        keepPeers()
        keepPublished()
        keepRecords()
        keepRequests()
        if reaction.effects.contains(where: { if case .exit = $0 { true } else { false } }) { world.isLeaving = true }
        reaction.wakeAt = wakes.filter { $0 > world.now }.min() ?? world.now + world.settings.loopWait
        reaction.wakeAt = min(reaction.wakeAt, world.now + world.settings.loopWait)
        return reaction
    }

    // MARK: - Small tools

    mutating func emit(_ effect: Effect) {
        reaction.effects.append(effect)
    }

    mutating func newID() -> EffectID {
        lastEffect += 1
        return EffectID(lastEffect)
    }

    mutating func wake(at instant: Instant) {
        wakes.append(instant)
    }

    mutating func record(_ rule: RuleCode, _ weight: Decision.Weight, _ text: String, _ facts: [Fact] = []) {
        decisionCount += 1
        let decision = Decision(
            sequence: decisionCount, at: world.wall, rule: rule, weight: weight, text: text, facts: facts)
        reaction.decisions.append(decision)
        recent.append(decision)
        if recent.count > Self.rememberedDecisions { recent.removeFirst(recent.count - Self.rememberedDecisions) }
    }

    /// Asks the rules; true when something was done that may change the next answer.
    private mutating func decide() -> Bool {
        guard !world.isLeaving else { return false }
        guard let verdict = Self.ask(world) else { return false }
        // The same answer again is no new decision: its facts may move (a position, a wait) without being news, and
        // what it wants is under way. Whatever is really begun again has another answer between.
        let isNews = lastVerdict?.rule != verdict.rule || lastVerdict?.text != verdict.text
        if isNews { record(verdict.rule, verdict.weight, verdict.text, verdict.facts) }
        lastVerdict = verdict
        return perform(verdict.intention)
    }

    /// The first rule's answer. Here the world is borrowed once for all of them: it is large.
    private static func ask(_ world: World) -> Verdict? {
        for rule in rules {
            if let verdict = rule.ask(world) { return verdict }
        }
        return nil
    }

    /// What this agent says of itself now.
    public var status: AgentStatus {
        var status = AgentStatus(name: world.me, scope: world.identity.scope)
        let member = describedMember()
        status.state = member.state
        status.role = member.role ?? .uninitialized
        status.sample = world.isServerUp ? world.sample : nil
        status.view = world.view
        status.storeLastSeen = world.storeLastSeen
        status.storeSilentSince = world.storeSilentSince
        status.leaderUntil = world.term?.deadlines.quit
        status.term = world.term?.fence ?? world.armedTerm
        status.isPaused = world.isPaused
        status.isFailsafeActive = world.failsafe.isActive || world.liveGrant != nil
        status.grant = world.namedGrant
        status.failsafeList = world.failsafeList
        status.isFailsafeOn = world.isFailsafeOn
        status.newestFence = world.newestFence
        status.timeline = world.dataTimeline
        status.ttl = world.settings.ttl
        status.loopWait = world.settings.loopWait
        status.maximumLagOnFailover = world.settings.maximumLagOnFailover
        status.tags = world.settings.tags
        status.systemIdentifier = world.systemIdentifier
        status.pendingRestart = world.sample?.pendingRestart
        status.scheduledRestart = member.scheduledRestart
        status.fenceState = member.fenceState ?? .unfenced
        status.isSilent = isSilent
        status.job = world.job?.job.name
        status.progress = world.job?.progress
        status.nextRunBy = reaction.wakeAt
        status.decisions = recent
        status.checkpointAfterPromotePending = world.checkpointPending
        status.storeMigration = StoreMigrationStatus(
            prepared: world.prepared, movedTo: world.movedTo, running: world.migration?.id, step: world.migration?.step,
            movedAway: world.movedAway?.id)
        return status
    }
}

/// Nothing can be decided without a view of the store.
enum StoreRules {
    static func noView(_ world: World) -> Verdict? {
        if world.view != nil { return nil }
        if world.term != nil { return nil }
        return .wait("store.waiting", "waiting for the store", [Fact("trouble", world.storeTrouble)])
    }

    /// Cut off from the store, with PostgreSQL down after our lead or with nobody leading: it can serve reads meanwhile.
    static func readOnly(_ world: World) -> Verdict? {
        guard let view = world.view, world.sessionFacts == nil || world.storeTrouble != nil, case .none = world.lease,
            !world.isPaused, !world.mayAcknowledge, let control = world.control, world.isGuardReady,
            world.handover == nil, world.needsClone == nil, view.leader == nil || view.leader?.name == world.me,
            world.now >= world.nextJobAt, world.now - world.storeLastSeenAt > .seconds(1)
        else { return nil }
        switch view.initialize {
        case .identifier: break
        case .absent, .inProgress, .invalid: return nil
        }
        return Verdict(
            "store.readOnly", .action, "the store does not answer: starting as a standby, to serve reads",
            [Fact("timeline", control.timeline), Fact("trouble", world.storeTrouble)], .startJob(.start(.standby(nil))))
    }
}
