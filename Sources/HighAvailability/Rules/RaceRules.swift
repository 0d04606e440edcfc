import ClusterModel

/// Nobody leads: may this member take the lead?
enum RaceRules {
    /// How long a peer that is ahead is given to take the lead itself.
    static let yieldLimit: Duration = .seconds(5)
    /// How long silent peers are waited for when the last holder was silenced by its guard.
    static let guardedWait: Duration = .milliseconds(100)
    /// How long they are waited for when it may be alive and unfenced.
    static let unfencedWait: Duration = .seconds(2)
    /// How often peers are asked again while a race goes on.
    static let askInterval: Duration = .milliseconds(500)
    /// How long others hold back for a named candidate.
    static let candidateWait: Duration = .seconds(2)

    static func race(_ world: World) -> Verdict? {
        guard let view = world.view, view.leader == nil, case .none = world.lease else { return nil }
        guard world.sessionFacts != nil else { return .wait("store.noSession", "waiting for a session with the store") }
        guard world.isViewFresh else { return .wait("store.stale", "waiting for a fresh view of the store") }
        guard world.now >= world.nextLeaseTryAt else {
            return .wait("lease.backoff", "waiting before the store is asked for the lead again")
        }
        if world.isPaused { return inPause(world, view) }
        if let verdict = unregistered(world, view) { return verdict }
        guard let race = world.race, let free = race.freeSince else {
            return Verdict(
                "race.begin", .action, "nobody leads: asking the other members", [], .beginRace(cause: "no leader"))
        }
        if case .down(let facts) = world.server { return whileDown(world, facts) }
        guard world.isServerUp, let sample = world.sample else {
            return .wait("race.noAnswer", "PostgreSQL does not answer: no part in the race")
        }
        if let why = unfit(world, sample, view) { return why }

        if let request = view.failover, let verdict = requested(world, request, sample, free) { return verdict }
        if let verdict = behindPublished(world, sample, view) { return verdict }
        return compete(world, race, free, sample, view)
    }

    /// What keeps this member out of any race.
    private static func unfit(_ world: World, _ sample: PostgresSample, _ view: ClusterView) -> Verdict? {
        if world.now < world.sitOutUntil {
            return .wait(
                "race.sitOut", "sitting out after a promotion that did not happen",
                [Fact("for_ms", milliseconds: world.sitOutUntil - world.now)])
        }
        if world.settings.tags.isNoFailover {
            return .wait("race.noFailover", "following a different leader because I am not allowed to promote")
        }
        if world.settings.requiresGuard, !world.isGuardReady {
            return .wait("race.noGuard", "no part in the race: the guard is not ready")
        }
        if world.isTwin(on: sample.timeline) {
            return .wait("race.twin", "no part in the race: our timeline was made again in another term")
        }
        if world.needsClone != nil {
            return .wait("race.needsClone", "no part in the race: our data has to be copied anew")
        }
        if let verdict = FailsafeRules.unlisted(world, view) { return verdict }
        if !world.syncInForce.admits(world.me) {
            return .wait(
                "race.notInSync", "no part in the race: the synchronous state names others",
                [
                    Fact("sync_leader", view.sync.leader),
                    Fact("sync_standby", .array(view.sync.standbys.map(JSONValue.string))),
                ])
        }
        if let holder = world.unfencedHolder, holder != world.me {
            let peer = world.peers[holder]
            let isHarmless =
                peer.map {
                    ($0.isInRecovery == true || $0.isSilent) && $0.askedAt >= (world.race?.since ?? .distantPast)
                }
                ?? false
            if !isHarmless, view.failover?.candidate != world.me {
                return Verdict(
                    "race.unfencedHolder", .warning,
                    "\(holder) lost the lead in pause and may still be writable: no race until it says that it is not, "
                        + "or an operator orders a failover", [Fact("holder", holder)])
            }
        }
        return nil
    }

    private static func inPause(_ world: World, _ view: ClusterView) -> Verdict? {
        if world.isRunningPrimary {
            if let candidate = view.failover?.candidate, candidate != world.me {
                return .wait("pause.otherCandidate", "PAUSE: the lead is kept free for \(candidate)")
            }
            return Verdict(
                "pause.primaryLeads", .action, "PAUSE: taking the free leader entry, for this is a running primary", [],
                .acquire(
                    settling: nil, systemIdentifier: world.view?.systemIdentifier == nil ? world.systemIdentifier : nil)
            )
        }
        if let request = view.failover, request.candidate == world.me, request.scheduledAt == nil,
            world.isRunningStandby
        {
            return Verdict(
                "pause.candidate", .action, "PAUSE: taking the lead as asked", [],
                .acquire(settling: request, systemIdentifier: nil))
        }
        return .wait("pause.noLeader", "PAUSE: no leader, and nothing is done in pause")
    }

    /// A cluster that the store does not know: its primary registers it.
    private static func unregistered(_ world: World, _ view: ClusterView) -> Verdict? {
        // What was a primary once may have been followed by others since: it would take the cluster back to before them.
        let ahead = world.control.flatMap { newerTimeline(world, than: world.timeline(of: $0)) }
        switch view.initialize {
        case .identifier: return nil
        case .inProgress where world.bootstrapVersion == nil:
            return .wait(
                "bootstrap.wait",
                "waiting for the member that bootstraps; if it died, delete the key 'initialize' in the store")
        // The store lost the cluster, and we did not. Before anybody races: those that have begun since do not know it, and
        // wait until it is registered.
        case .absent where !world.isRunningPrimary && (!wasPrimary(world) || ahead != nil):
            guard let identifier = world.systemIdentifier,
                identifier == world.storeReturn?.before.systemIdentifier
            else { break }
            if let verdict = MigrationRules.elsewhere(world) { return verdict }
            return Verdict(
                "store.register", .action, "registering the cluster again, which the store has lost",
                [Fact("system_identifier", identifier)], .registerAgain(identifier))
        case .absent, .inProgress, .invalid: break
        }
        guard let identifier = world.systemIdentifier else { return nil }
        if let verdict = MigrationRules.elsewhere(world) { return verdict }
        guard wasPrimary(world) else {
            // Nobody knows how far the others are, or how many: an operator does.
            if let request = view.failover, request.candidate == world.me, request.scheduledAt == nil,
                world.isRunningStandby
            {
                return Verdict(
                    "adopt.candidate", .action, "registering this existing cluster and taking the lead as asked",
                    [Fact("system_identifier", identifier)],
                    .acquire(settling: request, systemIdentifier: identifier))
            }
            if case .down(let facts) = world.server, let verdict = whileDown(world, facts) { return verdict }
            return Verdict(
                "adopt.waitForPrimary", .warning,
                "the cluster is not registered in the store: waiting for its primary; if that is gone for good, `matriarch "
                    + "failover --candidate` makes the standby that has the most the leader",
                [Fact("system_identifier", identifier)])
        }
        if let ahead {
            return Verdict(
                "adopt.behind", .warning,
                "the cluster is not registered in the store, and \(ahead.name) is on a newer timeline than ours: it is not "
                    + "for this former primary to register it; if no member does, `matriarch failover --candidate` "
                    + "names the one that has the most",
                [
                    Fact("system_identifier", identifier), Fact("timeline", world.dataTimeline),
                    Fact("ahead", ahead.name), Fact("its_timeline", ahead.timeline),
                ])
        }
        if !world.isRunningPrimary, let control = world.control,
            let primary = runningPrimary(world, notBefore: world.timeline(of: control))
        {
            return Verdict(
                "adopt.livePrimary", .warning,
                "the cluster is not registered in the store, and \(primary) says that it is a running primary: it is for "
                    + "that member to register it",
                [Fact("system_identifier", identifier), Fact("primary", primary)])
        }
        return Verdict(
            "adopt.register", .action, "registering this existing cluster and taking the lead",
            [Fact("system_identifier", identifier)], .acquire(settling: nil, systemIdentifier: identifier))
    }

    /// A member that speaks and says that its PostgreSQL can acknowledge writes, on a timeline not older than ours.
    private static func runningPrimary(_ world: World, notBefore timeline: Timeline) -> String? {
        world.peers.values.filter { peer in
            world.silentPeers[peer.name] == nil && peer.systemIdentifier == world.systemIdentifier
                && peer.isInRecovery == false && peer.state == .running && !peer.isSilent
                && peer.timeline.map { $0 >= timeline } == true
        }.map(\.name).min()
    }

    /// A member that speaks and says that its data is on a newer timeline.
    private static func newerTimeline(_ world: World, than timeline: Timeline) -> PeerStatus? {
        world.peers.values.filter { peer in
            world.silentPeers[peer.name] == nil && peer.systemIdentifier == world.systemIdentifier
                && peer.timeline.map { $0 > timeline } == true
        }.min { $0.name < $1.name }
    }

    /// Whether what runs or lies here is a primary's.
    private static func wasPrimary(_ world: World) -> Bool {
        guard let control = world.control else { return world.isRunningPrimary }
        return control.state != .shutDownInRecovery && control.state != .inArchiveRecovery
    }

    /// PostgreSQL is down: it starts as a standby first; a race needs its position.
    private static func whileDown(_ world: World, _ facts: DataDirectoryFacts) -> Verdict? {
        guard case .initialized(let control) = facts else { return nil }
        if world.now < world.nextJobAt {
            return .wait("job.backoff", "waiting before the next try", [Fact("failure", world.lastJobFailure)])
        }
        if world.needsClone != nil || world.isTwin(on: control.timeline) {
            return .wait("race.needsClone", "our data has to be copied anew: waiting for a leader")
        }
        guard world.isGuardReady else { return .wait("guard.waiting", "waiting for the guard") }
        // With a hand-over under way the candidate takes the lead in a moment: starting now would only delay our return.
        if let request = world.view?.failover, let candidate = request.candidate, candidate != world.me,
            let free = world.race?.freeSince, world.now - free < candidateWait, world.silentPeers[candidate] == nil
        {
            return .wait("race.holdBack", "leaving the lead to \(candidate)", [Fact("candidate", candidate)])
        }
        // Right after a leader's entry vanished somebody else takes it within moments, and then we can start as its standby.
        if let free = world.race?.freeSince, world.lastHolder?.name == world.me, world.now - free < .seconds(1),
            world.otherMembers.contains(where: { !$0.tags.isNoFailover && world.silentPeers[$0.name] == nil })
        {
            return .wait("race.holdBack", "waiting a moment for another member to take the lead")
        }
        return Verdict(
            "race.startFirst", .action, "nobody leads: starting as a standby to take part in the race",
            [Fact("timeline", control.timeline), Fact("state", control.state.rawValue)],
            .startJob(.start(.standby(nil))))
    }

    /// A switchover or failover waits for its candidate.
    private static func requested(
        _ world: World, _ request: FailoverRequest, _ sample: PostgresSample, _ free: Instant
    ) -> Verdict? {
        if let scheduled = request.scheduledAt, scheduled > world.wall { return nil }
        guard let candidate = request.candidate else {
            // A switchover to anybody but the leader that gave way.
            guard request.leader == world.me else { return nil }
            if world.now - free < candidateWait, likelySuccessor(world) != nil {
                return .wait("race.gaveWay", "this member gave way: the others go first")
            }
            return nil
        }
        let facts = [Fact("candidate", candidate), Fact("position", sample.position)]
        if candidate == world.me {
            guard sample.isInRecovery || world.isRunningPrimary else { return nil }
            return Verdict(
                "race.candidate", .action, "taking the lead as the candidate that was asked for", facts,
                .acquire(settling: request, systemIdentifier: nil))
        }
        let waited = world.now - free
        if waited < candidateWait, world.silentPeers[candidate] == nil {
            return .wait("race.holdBack", "leaving the lead to \(candidate)", facts)
        }
        return nil
    }

    private static func behindPublished(_ world: World, _ sample: PostgresSample, _ view: ClusterView) -> Verdict? {
        if let current = view.currentTimeline, current > sample.timeline,
            world.settings.checkTimeline || !sample.isInRecovery
        {
            return .wait(
                "race.timeline", "no part in the race: our timeline is behind the cluster's",
                [Fact("timeline", sample.timeline), Fact("cluster_timeline", current)])
        }
        guard let published = view.status?.optime else { return nil }
        let lag = published.bytes(aheadOf: sample.position)
        if lag > world.settings.maximumLagOnFailover {
            return .wait(
                "race.lag", "no part in the race: too far behind the last position published",
                [
                    Fact("position", sample.position), Fact("published", published),
                    Fact("lag", .integer(Int64(clamping: lag))),
                    Fact("maximum_lag_on_failover", .integer(Int64(clamping: world.settings.maximumLagOnFailover))),
                ])
        }
        return nil
    }

    private static func compete(
        _ world: World, _ race: Race, _ free: Instant, _ sample: PostgresSample, _ view: ClusterView
    ) -> Verdict? {
        let peers = world.otherMembers.filter { $0.apiURL != nil }
        // Answers asked for since the holder was suspected count; a peer known to be silent is not waited for longer
        // than the holder's fence demands.
        let heard = peers.compactMap { member -> PeerStatus? in
            guard let peer = world.peers[member.name], peer.askedAt >= race.since,
                (world.silentSince[member.name] ?? .distantPast) < peer.askedAt
            else { return nil }
            return peer
        }
        let unheard = peers.filter { member in
            !heard.contains { $0.name == member.name } && !hasGivenWay(member.name, world)
        }
        let patience = world.wasHolderGuarded ? guardedWait : unfencedWait
        let waited = world.now - race.since
        var facts = [
            Fact("position", sample.position), Fact("timeline", sample.timeline),
            Fact("heard", .array(heard.map { .string($0.name) })),
            Fact("silent", .array(unheard.map { .string($0.name) })),
            Fact("last_holder", world.lastHolder?.name),
            Fact("last_holder_fence", world.lastHolder.map { $0.fenceState?.rawValue ?? "unknown" }),
        ]
        if !unheard.isEmpty, waited < patience {
            return .wait(
                "race.asking", "waiting for the other members' positions",
                facts + [Fact("patience_ms", milliseconds: patience)])
        }
        for peer in heard where peer.isInRecovery == false && peer.state == .running && !peer.isSilent {
            let member = world.otherMembers.first { $0.name == peer.name }
            if member?.tags.isNoFailover == true || peer.watchdogFailed { continue }
            // A guarded holder is silent before its lease can pass; what it said just before may be overtaken. One that says so
            // afterwards leads without the entry: by grants, where the store was set back to when others led.
            if peer.fenceState == .guarded, peer.askedAt < free, world.now - free > .seconds(1) { continue }
            return Verdict(
                "race.livePrimary", .routine, "no part in the race: \(peer.name) says that it is a running primary",
                facts + [Fact("primary", peer.name)], again(world, race))
        }
        let mine = (sample.timeline, sample.position)
        var ahead: PeerStatus?
        for peer in heard where isEligible(peer, world) {
            let theirs = (peer.timeline ?? Timeline(0), peer.position ?? .zero)
            if theirs > mine {
                ahead = peer
                break
            }
            if theirs == mine, peer.tags.failoverPriority > world.settings.tags.failoverPriority,
                peer.name != world.lastHolder?.name
            {
                ahead = peer
                break
            }
        }
        if let ahead {
            let yielded = race.yieldingSince.map { world.now - $0 } ?? .zero
            facts += [
                Fact("ahead", ahead.name), Fact("its_position", ahead.position), Fact("its_timeline", ahead.timeline),
                Fact("its_priority", .integer(ahead.tags.failoverPriority)),
            ]
            if yielded < yieldLimit {
                let text =
                    (ahead.position ?? .zero) > sample.position
                    ? "Wal position of \(ahead.name) is ahead of my wal position [\(sample.position)]: it goes first"
                    : "\(ahead.name) has equally tolerable WAL position and priority \(ahead.tags.failoverPriority), "
                        + "while this node has priority \(world.settings.tags.failoverPriority)"
                return Verdict(
                    "race.behind", .routine, text, facts, race.yieldingSince == nil ? .yield : again(world, race))
            }
            facts.append(Fact("yielded_ms", milliseconds: yielded))
        }
        return Verdict(
            "race.acquire", .action, "taking the lead: nobody eligible is ahead", facts,
            .acquire(settling: view.failover, systemIdentifier: nil))
    }

    /// The last holder, when it told during its term that its PostgreSQL is down: it handed the lead over in order, and
    /// has no position to tell that would matter.
    private static func hasGivenWay(_ name: String, _ world: World) -> Bool {
        guard name == world.lastHolder?.name, let peer = world.peers[name] else { return false }
        return peer.isSilent && peer.askedAt >= world.leaderSince
    }

    private static func again(_ world: World, _ race: Race) -> Intention {
        world.now - race.askedAt >= askInterval ? .askPeers : .nothing
    }

    /// Whether a peer could lead: its PostgreSQL answers, is a standby, and its tags allow it.
    static func isEligible(_ peer: PeerStatus, _ world: World) -> Bool {
        guard peer.state == .running, peer.isInRecovery == true, peer.position != nil, !peer.watchdogFailed else {
            return false
        }
        if peer.tags.isNoFailover { return false }
        return world.view == nil || world.syncInForce.admits(peer.name)
    }

    /// Somebody who would take over if we gave way; nil: nobody that we know of.
    static func likelySuccessor(_ world: World) -> String? {
        world.peers.values.filter { peer in
            guard world.silentPeers[peer.name] == nil, isEligible(peer, world) else { return false }
            guard let published = world.view?.status?.optime, let position = peer.position else { return true }
            return published.bytes(aheadOf: position) <= world.settings.maximumLagOnFailover
        }.map(\.name).min()
    }
}
