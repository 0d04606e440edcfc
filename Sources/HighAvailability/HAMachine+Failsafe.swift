import ClusterModel

/// The failsafe: a term goes on without the store while every member that could lead has agreed to.
extension HAMachine {
    /// Between a round in which somebody was missing and the next.
    static let roundPause: Duration = .milliseconds(200)

    // MARK: - The holder

    /// Asks all members each quarter of a lease while the store does not prove the lease.
    mutating func keepFailsafe() {
        keepGrants()
        guard case .held(let term) = world.lease else {
            world.failsafe = FailsafeState()
            return
        }
        // Between two stores nobody is asked: which of them is lost, and whose lease the grants stand for, is not settled.
        guard !term.isFrozen, !world.isPaused, world.isFailsafeOn, world.mayAcknowledge, world.migration == nil,
            let peers = world.failsafePeers
        else {
            world.failsafe.round = nil
            return
        }
        if let round = world.failsafe.round {
            if world.now < round.until { return wake(at: round.until) }
            for name in round.waiting { world.failsafe.missing[name] = "no answer in time" }
            endIncomplete(round)
        }
        let overdue = world.failsafe.provenAt + roundInterval(term) * 3 / 2
        guard world.failsafe.leaseLost != nil || world.storeTrouble != nil || world.now >= overdue else {
            return wake(at: overdue)
        }
        if world.now < world.failsafe.nextRoundAt { return wake(at: world.failsafe.nextRoundAt) }
        begin(roundOf: term, peers)
    }

    private func roundInterval(_ term: Term) -> Duration {
        let granted = term.deadlines.granted
        return LeaseDeadlines.renewalInterval(granted: granted, wished: granted / 4) ?? granted / 4
    }

    private mutating func begin(roundOf term: Term, _ peers: [PeerAddress]) {
        let id = newID()
        let interval = roundInterval(term)
        // A round that hangs is given up a little before the next is due: two may fail, and a third still begins before F.
        let within = max(interval - Self.renewalPause, .milliseconds(100))
        let round = FailsafeRound(
            id: id, sent: world.now, waiting: Set(peers.map(\.name)), lasts: term.deadlines.granted,
            until: world.now + within)
        world.failsafe.lastRound = id.number
        world.failsafe.nextRoundAt = world.now + interval
        wake(at: world.failsafe.nextRoundAt)
        if peers.isEmpty {
            // No other may lead: there is nobody to be asked.
            complete(round, term)
            return
        }
        world.failsafe.round = round
        var slots: [String: LSN] = [:]
        for sender in world.sample?.senders ?? [] where sender.flushLSN != nil {
            slots[sender.applicationName] = sender.flushLSN
        }
        if let position = world.sample?.writeLSN { slots[world.me] = position }
        emit(
            .requestGrants(
                id, peers,
                GrantRequest(
                    name: world.me, connURL: world.identity.connURL, apiURL: world.identity.apiURL,
                    lasts: term.deadlines.granted, fence: term.fence, round: id.number,
                    instance: world.identity.nonce, slots: slots), within: within))
        wake(at: round.until)
    }

    mutating func absorb(grant id: EffectID, from name: String, _ answer: GrantAnswer) {
        guard case .held(let term) = world.lease, var round = world.failsafe.round, round.id == id,
            round.waiting.contains(name)
        else { return }
        switch answer {
        case .granted(let lasts, _):
            round.waiting.remove(name)
            if lasts != nil { world.failsafe.grantors.insert(name) }
            round.lasts = min(round.lasts, lasts ?? world.settings.ttl)
            world.failsafe.missing[name] = nil
            world.failsafe.round = round
            if round.waiting.isEmpty { complete(round, term) }
        case .refused(let why):
            miss(name, "refused: \(why)", round)
        case .off:
            miss(name, "failsafe_mode is off there", round)
        case .silent(let why):
            miss(name, why, round)
        }
    }

    private mutating func miss(_ name: String, _ why: String, _ round: FailsafeRound) {
        if world.failsafe.missing[name] != why {
            world.failsafe.missing[name] = why
            record(
                "failsafe.missing", .warning, "\(name) does not grant failsafe: \(why)", [Fact("member", name)])
        }
        endIncomplete(round)
    }

    /// All or nothing: one that is missing may be the one that leads next.
    private mutating func endIncomplete(_ round: FailsafeRound) {
        world.failsafe.round = nil
        world.failsafe.nextRoundAt = world.now + Self.roundPause
    }

    private mutating func complete(_ round: FailsafeRound, _ term: Term) {
        world.failsafe.round = nil
        world.failsafe.missing = [:]
        let standing = world.deadlines(of: term)
        // As with renewals: one begun after F or answered after Q never counts.
        guard round.sent <= standing.finish, world.now <= standing.quit else { return }
        let deadlines = LeaseDeadlines(
            notExpiredBefore: round.sent + round.lasts, granted: term.deadlines.granted)
        guard deadlines.end > world.failsafe.deadlines?.end ?? .distantPast, world.now < deadlines.finish else {
            return
        }
        world.failsafe.deadlines = deadlines
        if !world.failsafe.isActive {
            world.failsafe.isActive = true
            // The guard is told as soon as anything happens.
            wake(at: world.now + .milliseconds(5))
            world.publishedMember = nil
            record(
                "failsafe.active", .warning, "FAILSAFE: the store is lost, and every member leaves the lead to us",
                [
                    Fact("fence", term.fence), Fact("trouble", world.failsafe.leaseLost ?? world.storeTrouble),
                    Fact("members", .array((world.failsafePeers ?? []).map { .string($0.name) })),
                    Fact("left_ms", milliseconds: deadlines.end - world.now),
                ])
        }
        if deadlines.end > term.deadlines.end {
            var term = term
            term.deadlines = deadlines
            world.lease = .held(term)
            emit(armed(term))
        }
    }

    /// The store proved the lease: what was granted is given back, and the term goes on as ever.
    mutating func endFailsafe(_ why: String) {
        // Other agents than ours know no withdrawal: they would take it for another request.
        let ours = world.failsafe.grantors.union(world.otherMembers.filter(\.isMatriarch).map(\.name))
        let asked = (world.failsafePeers ?? []).filter { ours.contains($0.name) }
        let round = world.failsafe.lastRound
        let wasActive = world.failsafe.isActive
        var fresh = FailsafeState()
        fresh.provenAt = world.failsafe.provenAt
        fresh.writing = world.failsafe.writing
        world.failsafe = fresh
        guard round > 0 else { return }
        if !asked.isEmpty {
            emit(
                .requestGrants(
                    newID(), asked,
                    GrantRequest(
                        name: world.me, connURL: world.identity.connURL, apiURL: world.identity.apiURL, lasts: .zero,
                        fence: world.term?.fence, round: round, instance: world.identity.nonce),
                    within: .seconds(2)))
        }
        if wasActive {
            world.publishedMember = nil
            record("failsafe.end", .action, "the failsafe is over: \(why)", [])
        }
    }

    /// Whether the loss of the store's lease is survived by the grants that are in force.
    mutating func survives(lossOf term: Term, _ reason: String) -> Bool {
        guard !term.isFrozen, !world.isPaused, world.handover == nil, world.mayAcknowledge, world.isGranted,
            world.migration == nil
        else { return false }
        if world.failsafe.leaseLost == nil {
            world.failsafe.leaseLost = reason
            world.failsafe.leaseLostAt = world.now
            world.failsafe.nextRoundAt = world.now
            record(
                "failsafe.leaseGone", .warning,
                "the store has lost our lease, and nobody else may have it: going on by the members' grants",
                [Fact("fence", term.fence), Fact("why", reason)])
        }
        // One that is on its way tells what became of it.
        if case .proving = world.failsafe.retake { world.failsafe.retake = .none }
        world.readWanted = true
        return true
    }

    /// An entry of an older term of ours, whose session was set back with it and lives: nobody follows it, and nothing but the
    /// end of its session makes room for the entry of this term. The grants hold meanwhile.
    private mutating func giveUpOldEntry(_ fence: Fence) {
        guard case .held(let term) = world.lease, world.failsafe.leaseLost != nil, world.sessionFacts != nil else {
            return
        }
        record(
            "failsafe.oldEntry", .action,
            "our entry of an older term stands in the way: ending the session that holds it",
            [Fact("entry_fence", fence), Fact("fence", term.fence)])
        emit(.closeSession(abandon: false))
        forgetSession(retryAt: world.now)
        world.needsResolving = false
    }

    // MARK: - The entry taken again

    mutating func retake() {
        guard case .held = world.lease, let view = world.view else { return }
        let id = newID()
        world.failsafe.retake = .committing(id)
        emit(
            .commit(
                id,
                acquisition(
                    view, settling: nil,
                    systemIdentifier: view.systemIdentifier == nil ? world.systemIdentifier : nil)))
    }

    /// True when the commit was the one that takes the entry again.
    mutating func absorb(retake id: EffectID, _ outcome: ChangeOutcome) -> Bool {
        guard case .committing(id) = world.failsafe.retake else { return false }
        switch outcome {
        case .committed, .unknown:
            world.failsafe.retake = .unresolved
            world.viewsCountFrom = world.now
            world.nextReadAt = world.now
            if case .unknown = outcome { world.needsResolving = true }
        case .refused(let why):
            world.failsafe.retake = .none
            world.viewsCountFrom = world.now
            world.nextLeaseTryAt = world.now + .milliseconds(200)
            record("lease.refused", .action, "the leader entry was not to be had: \(why)")
        case .notSent(let why):
            world.failsafe.retake = .none
            world.nextLeaseTryAt = world.now + .milliseconds(200)
            trouble(why)
        }
        world.readWanted = true
        return true
    }

    /// What a view says of the entry while the term is held.
    mutating func judgeHolding(_ view: ClusterView) {
        guard case .held(let term) = world.lease else { return }
        guard let leader = view.leader else {
            world.failsafe.oldEntrySince = nil
            if case .unresolved = world.failsafe.retake { world.failsafe.retake = .none }
            if view.requestedAt >= term.since { loseLease("the leader entry vanished", .immediate) }
            return
        }
        let isOurs = leader.name == world.me && leader.session == world.sessionFacts?.id
        if isOurs, leader.fence == term.fence {
            world.failsafe.oldEntrySince = nil
            return
        }
        guard view.requestedAt >= term.since else { return }
        if isOurs, world.failsafe.leaseLost != nil, leader.fence > term.fence {
            switch world.failsafe.retake {
            case .unresolved, .none:
                world.failsafe.retake = .proving(leader.fence, since: world.now)
                world.nextRenewAt = world.now
            case .committing, .proving: break
            }
            return
        }
        let isPast = leader.fence <= term.fence && world.failsafe.isActive && world.isGranted
        let since = world.failsafe.oldEntrySince ?? world.now
        world.failsafe.oldEntrySince = since
        let isAlive =
            leader.name != world.me
            && (world.peers[leader.name].map { $0.isInRecovery == false && $0.askedAt >= since } ?? false)
        if isPast, !isAlive, world.now - since < term.deadlines.granted * FailsafeRules.oldEntryLeases {
            // The store was set back: an entry of the past, whose session ends soon.
            loseLease("the store shows an entry of the older term \(leader.fence)", .immediate)
            if isOurs { giveUpOldEntry(leader.fence) }
            return
        }
        lose(term, "the leader entry is not ours any more", .immediate)
    }

    /// The entry taken again is proven: a term of its own, without a moment between.
    mutating func begin(retaken fence: Fence, _ deadlines: LeaseDeadlines, after term: Term) {
        noteEnded(term.fence)
        endFailsafe("the leader entry is ours again")
        begin(Term(fence: fence, deadlines: deadlines, since: world.now))
    }

    // MARK: - The grantor

    mutating func absorb(asked id: RequestID, _ request: GrantRequest) {
        guard world.isFailsafeOn else {
            emit(.answerGrant(id, .off))
            return
        }
        let asked = request.lasts ?? world.settings.ttl
        if asked <= .zero {
            withdraw(request)
            emit(.answerGrant(id, .granted(.zero, position: world.position)))
            return
        }
        if let why = FailsafeRules.objection(world, request) {
            record(
                "failsafe.refused", .warning, "refusing failsafe to \(request.name): \(why)",
                [Fact("holder", request.name)])
            emit(.answerGrant(id, .refused(why)))
            return
        }
        // No asker keeps a cluster without a leader for longer than a lease may last.
        let lasts = min(asked, max(Self.longestGrant, world.settings.ttl))
        if world.grant.holder != request.name || world.now >= world.grant.until {
            record(
                "failsafe.grant", .warning, "\(request.name) has lost the store: leaving the lead to it for a lease",
                [Fact("holder", request.name), Fact("for_ms", milliseconds: lasts)])
        }
        // Whoever gives its grant back gives back no other's.
        if world.grant.holder != request.name { world.otherGrantsUntil = world.grant.until }
        world.grant.holder = request.name
        world.grant.until = max(world.grant.until, world.now + lasts)
        world.grant.lasts = max(lasts, world.grant.until - world.now)
        world.grant.round = request.round
        world.grant.instance = request.instance
        // First on disk, then the answer: a restart must not forget what somebody relies on.
        world.pendingGrants[persistGrant()] = PendingGrant(
            request: id, answer: .granted(lasts, position: world.position))
    }

    /// The longest that is granted in one round.
    static let longestGrant: Duration = .seconds(600)

    private mutating func withdraw(_ request: GrantRequest) {
        guard world.grant.holder == request.name, world.grant.instance == request.instance,
            world.grant.round <= request.round, world.now < world.grant.until
        else { return }
        record("failsafe.grantOver", .action, "\(request.name) has its lease from the store again")
        for (id, pending) in world.pendingGrants {
            world.pendingGrants[id] = PendingGrant(request: pending.request, answer: .refused("Taken back"))
        }
        if world.now < world.otherGrantsUntil {
            world.grant.holder = ""
            world.grant.until = world.otherGrantsUntil
            persistGrant()
        } else {
            forgetGrant()
        }
    }

    mutating func forgetGrant() {
        guard world.grant.until > .distantPast else { return }
        world.grant = GrantRecord(newestFence: world.newestFence)
        _ = persistGrant()
    }

    @discardableResult
    mutating func persistGrant() -> EffectID {
        let id = newID()
        world.grant.newestFence = world.newestFence
        emit(.persistGrant(id, world.grant))
        return id
    }

    /// True when it was a grant's.
    mutating func absorb(persistedGrant id: EffectID, _ succeeded: Bool) -> Bool {
        guard let pending = world.pendingGrants.removeValue(forKey: id) else { return false }
        emit(
            .answerGrant(
                pending.request,
                succeeded ? pending.answer : .refused("The grant could not be written to disk")))
        return true
    }

    mutating func absorb(grants file: GrantFile?) {
        switch file {
        case nil: break
        case .record(let record)?:
            world.grant = record
            world.newestFence = max(world.newestFence, record.newestFence)
        case .unreadable?:
            world.grantsLostSince = world.now
        }
    }

    /// A peer's word tells whether it grants.
    mutating func noteGrant(of peer: PeerStatus) {
        if let holder = peer.grantedTo {
            let lasts = min(peer.grantLasts ?? world.settings.ttl, max(Self.longestGrant, world.settings.ttl))
            world.heardGrants[peer.name] = HeardGrant(holder: holder, lasts: lasts)
            // From one that is not listened to no word of its end would come.
            if !world.watched.contains(where: { $0.name == peer.name }) { grantorFellSilent(peer.name) }
        } else if peer.newestFence ?? .none > .none {
            world.heardGrants[peer.name] = nil
        } else {
            // An agent that has only just begun, and knows nothing yet of what it granted before.
            grantorFellSilent(peer.name)
        }
    }

    /// Whoever says no more whether it grants may have done so once more just before.
    mutating func grantorFellSilent(_ name: String) {
        guard let heard = world.heardGrants[name], heard.until == .distantFuture else { return }
        world.heardGrants[name]?.until = world.now + heard.lasts
    }

    /// While a grant that was heard of keeps this member from the lead, its grantor is asked whether it still holds.
    private mutating func askGrantor() {
        guard case .none = world.lease, let view = world.view, view.leader == nil, !world.isAskedForGrants,
            let heard = world.heardGrant,
            let peer = world.peerAddresses.first(where: { $0.name == heard.grantor })
        else { return }
        if world.now - world.grantorAskedAt >= Self.grantorInterval {
            world.grantorAskedAt = world.now
            emit(.queryPeers([peer], within: Self.grantorInterval))
        }
        wake(at: world.grantorAskedAt + Self.grantorInterval)
    }

    private static let grantorInterval: Duration = .seconds(2)

    private mutating func keepGrants() {
        if let grant = world.liveGrant { wake(at: grant.until) }
        for (name, heard) in world.heardGrants where heard.until < .distantFuture {
            if world.now < heard.until { wake(at: heard.until) } else { world.heardGrants[name] = nil }
        }
        askGrantor()
        if let until = world.sitsOutLostGrants {
            wake(at: until)
            if world.grant.until < until {
                // On disk as well: a restart begins no shorter wait.
                world.grant.until = until
                world.grant.lasts = world.settings.ttl
                persistGrant()
            }
        }
        if let view = world.view, view.leader == nil, !world.isFailsafeOn, let listed = view.failsafe, !listed.isEmpty,
            listed[world.me] == nil
        {
            world.unlistedSince = world.unlistedSince ?? world.now
        } else {
            world.unlistedSince = nil
        }
        // A term that was heard of is remembered over restarts: with it a store that was set back is known as such.
        if world.grant.newestFence < world.newestFence { persistGrant() }
    }

    // MARK: - The list

    /// Who is to be asked, while the store can be: every member with an API, this one always.
    mutating func keepFailsafeList(_ view: ClusterView) {
        if let writing = world.failsafe.writing, writing == view.failsafe, !isCommitting("failsafe") {
            world.failsafe.writing = nil
        }
        guard world.isFailsafeOn, !world.failsafe.isActive, world.migration == nil, !isCommitting("failsafe") else {
            return
        }
        var wanted = [world.me: world.identity.apiURL]
        for member in view.members where member.name != world.me { wanted[member.name] = member.apiURL }
        guard wanted != view.failsafe else { return }
        var writing = world.failsafe.writing ?? [:]
        for (name, url) in wanted { writing[name] = url }
        world.failsafe.writing = writing
        commit(ClusterChange(if: [.leaderIsOurs], [.putFailsafe(wanted)]), "failsafe")
    }
}

/// A grant that is being written to disk, to be answered then.
public struct PendingGrant: Hashable, Sendable {
    public var request: RequestID
    public var answer: GrantAnswer
}
