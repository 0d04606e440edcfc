import ClusterModel

/// What a view of the store changes: pause, leader, our own entries.
extension HAMachine {
    mutating func absorb(view: ClusterView) {
        if view.requestedAt < world.viewsCountFrom || world.needsResolving {
            // Asked for before something of ours was settled: it would show what is not any more.
            world.readWanted = true
            return
        }
        guard admits(view) else {
            world.readWanted = true
            world.nextReadAt = world.now + .milliseconds(100)
            return
        }
        storeAnswered()
        world.glimpsedAt = world.now
        world.viewSeenAt = world.now
        if absorb(mark: view) { return }
        var view = view
        if world.movedAway != nil {
            // What it says of a leader and of a pause is of the past.
            view.leader = nil
            view.configuration?["pause"] = nil
        }
        if view.problems != world.view?.problems ?? [], !view.problems.isEmpty {
            record(
                "store.unreadable", .warning, "the store holds what cannot be read; it is left out",
                [Fact("problems", .array(view.problems.map(JSONValue.string)))])
        }
        let before = world.view
        world.view = view
        // A request that is being taken out of the store is settled; a newer one is seen once that has ended.
        if isCommitting("failover") { world.view?.failover = nil }
        if let configuration = view.configuration { world.cachedConfiguration = configuration }
        if view.leader != nil || view.systemIdentifier != nil { world.hasSeenCluster = true }
        if let made = world.bootstrapped, view.systemIdentifier == made.systemIdentifier { world.bootstrapped = nil }
        noteBootstrapVersion(view)
        notePause(view)
        noteLeader(view, before: before)
        noteMember(view)
        settleAcquire(view)
        if let handover = world.handover, case .releasing = handover.phase, !world.isLeaderEntryOurs {
            world.handover = nil
        }
        let deferred = world.deferred
        world.deferred = []
        for pending in deferred { absorb(request: pending.id, pending.request) }
    }

    /// The view stays as it is: what differs from it is read whole, and that view counts.
    mutating func absorb(glimpse: ClusterGlimpse) {
        storeAnswered()
        world.glimpsedAt = world.now
        guard let known = world.view?.glimpse, known != glimpse else { return }
        world.readWanted = true
        record(
            "store.unannounced", .routine, "the store changed without a word: reading all of it",
            [
                Fact("leader", glimpse.leader?.name), Fact("leader_changed", .bool(known.leader != glimpse.leader)),
                Fact("request_changed", .bool(known.failoverVersion != glimpse.failoverVersion)),
                Fact("configuration_changed", .bool(known.configurationVersion != glimpse.configurationVersion)),
            ])
    }

    private mutating func notePause(_ view: ClusterView) {
        let isPaused = view.isPaused
        if isPaused != world.wasPaused {
            record(
                isPaused ? "pause.begin" : "pause.end", .action,
                isPaused ? "PAUSE: nothing is started or stopped from now on" : "the pause is over")
            world.wasPaused = isPaused
            world.publishedMember = nil
        }
    }

    private mutating func noteLeader(_ view: ClusterView, before: ClusterView?) {
        judgeHolding(view)
        if let leader = view.leader {
            // An entry of the past in a store that was set back: nobody to be followed.
            if world.isLeaderOfThePast { return }
            if leader.name != world.me { world.storeReturn = nil }
            keepUnlisted()
            world.newestFence = max(world.newestFence, leader.fence)
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
            // It counts as paused until it says itself that it is not: cut off, it may not know that the pause is over.
            world.lastHolder = LastHolder(
                name: leader.name, fence: leader.fence, fenceState: fence,
                wasPaused: view.isPaused || member?.isPaused == true)
            if let race = world.race, race.freeSince != nil || leader.fence != before?.leader?.fence {
                world.race = nil
            }
            world.unfencedHolder = nil
        } else {
            if before?.leader != nil || before == nil {
                record(
                    "leader.none", .action, "nobody holds the leader entry",
                    [Fact("before", before?.leader?.name ?? world.lastHolder?.name)])
            }
            if world.race != nil, world.race?.freeSince == nil { world.race?.freeSince = world.now }
            if world.clonesForExits {
                world.clonesForExits = false
                world.needsClone = nil
            }
            if !view.isPaused, let holder = world.lastHolder, holder.wasPaused, holder.name != world.me {
                world.unfencedHolder = holder.name
            }
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
            if world.isLeaderEntryOurs, let leader = view.leader, !world.endedTerms.contains(leader.fence) {
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
                !world.isOld(leader.fence), world.liveGrant == nil,
                world.sitsOutLostGrants == nil || world.mayAcknowledge,
                view.member(world.me)?.session == world.sessionFacts?.id, world.publishedMember != nil,
                !clearsMarkFirst(view)
            {
                record(
                    "lease.resumed", .action, "the leader entry is ours by the session taken up again",
                    [Fact("fence", leader.fence)])
                beginProving(leader.fence)
            }
        // A release ends with its own outcome: a late one would meet the entry that we take meanwhile.
        case .releasing, .proving, .held, .ending: break
        }
    }

    mutating func beginProving(_ fence: Fence) {
        world.race = nil
        if let deadlines = world.earlyProof, world.now < deadlines.finish {
            // Proven while the entry was looked for.
            begin(Term(fence: fence, deadlines: deadlines, since: world.now))
            return
        }
        world.lease = .proving(fence, since: world.now)
        world.nextRenewAt = world.now
    }

    private mutating func noteBootstrapVersion(_ view: ClusterView) {
        guard world.isAwaitingBootstrapVersion else { return }
        world.isAwaitingBootstrapVersion = false
        if case .inProgress(let version) = view.initialize { world.bootstrapVersion = version }
    }
}
