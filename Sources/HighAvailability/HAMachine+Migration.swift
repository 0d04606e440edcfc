import ClusterModel

/// Moving the cluster to another store: the holder's steps, and the others' change of stores.
///
/// The holder takes a copy of the keys and the leader entry in the new store, and then changes the key `migration` of the old
/// one to `moved`, if the leader entry there is still its own and nothing that was copied has changed. That change is the
/// cut-over. While its outcome is unknown only what both stores' leases allow is allowed.
extension HAMachine {
    // MARK: - Beginning

    mutating func absorb(migrate id: RequestID, _ migrationID: String) {
        if let why = MigrationRules.objection(world, to: migrationID) {
            record("migration.refused", .action, "no migration: \(why)", [Fact("migration", migrationID)])
            emit(.answer(id, OperatorAnswer(.conditionsNotMet, "migration refused: \(why)")))
            return
        }
        guard let view = world.view else { return }
        let mark = mark(migrationID, .leaving)
        let commit = commit(
            ClusterChange(if: [.leaderIsOurs, .migrationVersion(view.migrationVersion)], [.putMigration(mark)]),
            "announce")
        world.migration = StoreMigration(
            id: migrationID, since: world.now, deadline: world.now + MigrationRules.limit, request: id,
            announcing: commit)
        record("migration.begin", .action, "moving the cluster to another store", [Fact("migration", migrationID)])
    }

    private func mark(_ id: String, _ state: MigrationMark.State) -> MigrationMark {
        let era = (world.view?.revision.era ?? 0) + (state == .leaving || state == .moved || state == .arriving ? 1 : 0)
        return MigrationMark(id: id, state: state, member: world.me, era: era, store: world.preparedStore)
    }

    private mutating func enter(_ phase: StoreMigration.Phase) {
        let before = world.migration?.step
        world.migration?.phase = phase
        if let migration = world.migration, migration.step != before {
            world.migration?.phaseSince = world.now
            record("migration.step", .routine, "migration: \(migration.step)", [Fact("migration", migration.id)])
        }
    }

    /// Committed or not known: the view tells, and the version that the cut-over compares.
    mutating func noteAnnounced(_ id: EffectID, _ outcome: ChangeOutcome) {
        guard case .announcing(id)? = world.migration?.phase else { return }
        world.viewsCountFrom = world.now
        world.readWanted = true
        world.nextReadAt = world.now
        switch outcome {
        case .committed: enter(.announcing(nil))
        case .unknown:
            world.needsResolving = true
            enter(.announcing(nil))
        case .refused(let why), .notSent(let why): takeBack("it could not be announced in the old store: \(why)")
        }
    }

    // MARK: - Standing duties

    /// The holder's next step, and everybody's look at the other store.
    mutating func keepMigration() {
        keepMark()
        keepLooking()
        guard let migration = world.migration else { return }
        guard world.term != nil else { return abandonMigration("the lead was lost") }
        wake(at: migration.deadline)
        if !migration.isCutting {
            if world.now >= migration.deadline { return takeBack("it was not done in time") }
            if let view = world.view, let why = MigrationRules.unrest(world, view) { return takeBack(why) }
        }
        if world.now < migration.nextTryAt { wake(at: migration.nextTryAt) }
        keepOtherLease()
        guard let migration = world.migration else { return }
        switch migration.phase {
        case .announcing(nil):
            if let view = world.view, world.isViewFresh, let mark = view.migration, mark.id == migration.id,
                mark.state == .leaving
            {
                world.migration?.version = view.migrationVersion
                enter(.opening(nil))
                keepMigration()
            } else if world.isViewFresh {
                takeBack("the key 'migration' in the old store is not ours")
            }
        case .opening(nil):
            guard world.now >= migration.nextTryAt else { break }
            let id = newID()
            emit(.other(.openSession(id, lifetime: world.settings.ttl)))
            enter(.opening(id))
        case .looking(nil), .claiming(nil):
            guard world.now >= migration.nextTryAt else { break }
            let id = newID()
            emit(.other(.read(id)))
            if case .looking = migration.phase { enter(.looking(id)) } else { enter(.claiming(id)) }
        case .aligning: cutWhenAligned(migration)
        case .revoking(nil): revoke(migration)
        case .announcing, .opening, .looking, .copying, .claiming, .cutting, .unresolved, .revoking: break
        }
    }

    /// Both entries are ours: the cut-over waits until the new one lasts as long as what the guard was told.
    private mutating func cutWhenAligned(_ migration: StoreMigration) {
        guard let term = world.term, let other = migration.deadlines, let view = world.view else { return }
        // The shorter lease of the two says how fast its store is trusted to be: what Consul grants is a third of the others'.
        let margin = max(min(term.deadlines.granted, other.granted) / 8, .milliseconds(300))
        if other.finish <= world.now + margin / 2, world.now - migration.phaseSince > margin {
            return takeBack("the new store does not renew the lease in time")
        }
        guard other.covers(term.deadlines), world.armedTerm == term.fence || !world.settings.requiresGuard else {
            if term.deadlines.finish - world.now < margin {
                return takeBack("the new store's lease is too short beside the old one's")
            }
            // A proof sent now would do: it need not wait for its turn.
            if migration.renewInFlight == nil, world.now - migration.renewSentAt >= .milliseconds(100),
                world.now + other.granted * 49 / 50 >= term.deadlines.end
            {
                world.migration?.nextRenewAt = world.now
                keepOtherLease()
            }
            return wake(at: world.now + .milliseconds(20))
        }
        guard term.deadlines.finish - world.now > margin, world.isViewFresh else {
            return wake(at: world.now + .milliseconds(20))
        }
        // Whatever was copied is compared: what has changed since would be lost. Those who still live on the old store change
        // nothing afterwards, for the versions that they know are gone; to other agents it looks paused.
        var left = view.configuration ?? JSONObject()
        left["pause"] = true
        let conditions: [ClusterCondition] = [
            .leaderIsOurs, .migrationVersion(migration.version), .configurationVersion(copied?.configurationVersion),
            .failoverVersion(copied?.failoverVersion), .historyVersion(copied?.historyVersion),
            .syncVersion(copied?.syncVersion),
        ]
        let cut = commit(
            ClusterChange(
                if: conditions,
                [.putMigration(mark(migration.id, .moved)), .putConfiguration(left), .putFailover(nil)]), "cut")
        enter(.cutting(cut))
        record(
            "migration.cut", .action, "both leader entries are ours: cutting over",
            [
                Fact("migration", migration.id), Fact("fence", term.fence),
                Fact("left_ms", milliseconds: term.deadlines.finish - world.now),
            ])
    }

    /// The old store as it was copied.
    private var copied: ClusterView? { world.copied }

    /// Proofs of the entry in the new store.
    private mutating func keepOtherLease() {
        guard let migration = world.migration, let facts = migration.session, migration.renewInFlight == nil,
            migration.fence != nil || facts.needsIdleRenewal
        else { return }
        guard world.now >= migration.nextRenewAt else { return wake(at: migration.nextRenewAt) }
        let id = newID()
        world.migration?.renewInFlight = id
        world.migration?.renewSentAt = world.now
        let interval = renewalInterval(facts) ?? facts.renewalInterval
        emit(
            .other(
                .renew(
                    id, holding: migration.fence != nil,
                    within: max(interval - Self.renewalPause, .milliseconds(100)))))
    }

    /// What the old store's proof allows, limited by the new store's once that may rule.
    func allowed(_ deadlines: LeaseDeadlines) -> LeaseDeadlines {
        guard let migration = world.migration, let other = migration.deadlines else { return deadlines }
        switch migration.phase {
        case .aligning, .cutting, .unresolved, .revoking: return .both(deadlines, other)
        case .announcing, .opening, .looking, .copying, .claiming: return deadlines
        }
    }

    /// A leader's duties to the key: what an earlier migration left is taken back, what arrived is here.
    private mutating func keepMark() {
        guard world.term != nil, world.migration == nil, world.isLeaderEntryOurs, world.isViewFresh,
            let view = world.view, let mark = view.migration, !isCommitting("migration"),
            view.requestedAt >= world.upkeepFrom
        else { return }
        switch mark.state {
        case .leaving, .unreadable:
            commit(
                ClusterChange(if: [.leaderIsOurs, .migrationVersion(view.migrationVersion)], [.putMigration(nil)]),
                "migration")
            record("migration.cleared", .action, "taking back what an earlier migration left", [Fact("id", mark.id)])
        case .arriving where mark.id == world.movedTo:
            commit(
                ClusterChange(
                    if: [.leaderIsOurs, .migrationVersion(view.migrationVersion)],
                    [.putMigration(self.mark(mark.id, .here))]), "migration")
        case .arriving, .moved, .here: break
        }
    }

    /// Without word from the store, or while it is being left, the other one may tell that the cluster is there.
    private mutating func keepLooking() {
        guard let prepared = world.prepared, prepared != world.movedTo, world.migration == nil, world.term == nil,
            !world.isLeaving,
            world.storeTrouble != nil || world.sessionFacts == nil || world.view?.migration?.state == .leaving
                || world.view?.initialize == .absent
        else { return }
        guard world.otherReadInFlight == nil else { return }
        if world.now < world.nextOtherReadAt { return wake(at: world.nextOtherReadAt) }
        let id = newID()
        world.otherReadInFlight = id
        world.nextOtherReadAt = world.now + .seconds(1)
        emit(.other(.read(id)))
    }

    // MARK: - What the other store says

    mutating func absorb(other event: OtherStoreEvent) {
        switch event {
        case .sessionOpened(let id, let facts):
            guard case .opening(id)? = world.migration?.phase else { break }
            world.migration?.session = facts
            if renewalInterval(facts) == nil { return takeBack(LeaseDeadlines.refusal(granted: facts.granted)) }
            enter(.looking(nil))
        case .sessionFailed(let id, let why):
            guard case .opening(id)? = world.migration?.phase else { break }
            retry(.opening(nil), why)
        case .sessionLost(let why):
            guard let migration = world.migration else {
                // Said before that store became ours, heard after: asking it tells whether it means the session that we have.
                if world.sessionFacts != nil {
                    world.doubtsSession = true
                    world.nextRenewAt = world.now
                }
                break
            }
            guard migration.session != nil else { break }
            if migration.isCutting {
                // Should the new store turn out to rule, the lease there is over.
                world.migration?.sessionLost = why
                break
            }
            takeBack("the session with the new store is gone: \(why)")
        case .view(let id, let view): absorb(otherView: id, view)
        case .viewFailed(let id, let why):
            if world.otherReadInFlight == id { world.otherReadInFlight = nil }
            if case .looking(id)? = world.migration?.phase { retry(.looking(nil), why) }
            if case .claiming(id)? = world.migration?.phase { retry(.claiming(nil), why) }
        case .committed(let id, let outcome):
            guard case .copying(id)? = world.migration?.phase else { break }
            switch outcome {
            case .committed, .unknown: enter(.claiming(nil))
            // Consul keeps an entry that was lost from everybody for a while; what is there decides.
            case .refused(let why), .notSent(let why):
                world.copied = nil
                retry(.looking(nil), "the new store did not take the copy: \(why)")
            }
        case .renewed(let id, let outcome):
            if world.migration == nil { return absorb(renewal: id, outcome) }
            absorb(otherRenewal: id, outcome)
        }
    }

    private mutating func retry(_ phase: StoreMigration.Phase, _ why: String) {
        world.migration?.failure = why
        world.migration?.nextTryAt = world.now + .milliseconds(300)
        enter(phase)
    }

    private mutating func absorb(otherView id: EffectID, _ view: ClusterView) {
        if world.otherReadInFlight == id {
            world.otherReadInFlight = nil
            world.isElsewhereFree = view.migration?.id != world.prepared
            if let mark = view.migration, mark.state == .here, isFollowed(mark) { changeStores(mark.id) }
            return
        }
        guard let migration = world.migration, let session = migration.session else { return }
        switch migration.phase {
        case .looking(id): copy(into: view, migration)
        case .claiming(id):
            guard let leader = view.leader, leader.name == world.me, leader.session == session.id,
                view.migration?.id == migration.id, view.migration?.state == .arriving
            else { return takeBack("the copy did not reach the new store") }
            world.migration?.view = view
            world.migration?.fence = leader.fence
            world.migration?.nextRenewAt = world.now
            enter(.aligning)
        default: break
        }
    }

    /// The permanent keys and, with them, the leader entry: everything or nothing, into a store that has nothing of ours.
    private mutating func copy(into other: ClusterView, _ migration: StoreMigration) {
        guard let view = world.view, world.isViewFresh, let identifier = view.systemIdentifier,
            let configuration = view.configuration
        else { return retry(.looking(nil), "the old store is not up to date here") }
        var conditions: [ClusterCondition] = [.leaderAbsent, .migrationVersion(other.migrationVersion)]
        if let mark = other.migration, mark.state == .arriving {
            // What a migration left that came to nothing. Its leader's session may still live for a moment.
            if other.leader != nil || other.member(world.me) != nil {
                return retry(.looking(nil), "an earlier copy's leader entry has not expired yet")
            }
        } else if case .absent = other.initialize, other.migration == nil, other.leader == nil,
            other.configurationVersion == nil, other.historyVersion == nil, other.failsafeVersion == nil
        {
            conditions += [.initializeAbsent, .configurationVersion(nil), .historyVersion(nil)]
        } else {
            let whose = other.systemIdentifier.map { "cluster \($0)" } ?? "something"
            return takeBack("the new store is not empty: \(whose) is at this scope")
        }
        let era = max(view.revision.era, other.revision.era, world.newestFence.era, world.triedEra) + 1
        var mark = mark(migration.id, .arriving)
        mark.era = era
        var writes: [ClusterWrite] = [
            .putEra(era), .putMigration(mark), .putInitialize(identifier), .putConfiguration(configuration),
            .putStatus(view.status ?? ClusterStatus()), .putHistory(view.history ?? TimelineHistory()),
            .putPromotions(view.promotions), .putMember(describedMember(), exists: false), .acquireLeader,
        ]
        writes.append(view.syncVersion == nil ? .removeSync : .putSync(view.sync))
        let id = newID()
        emit(.other(.commit(id, ClusterChange(if: conditions, writes))))
        world.copied = view
        enter(.copying(id))
        record(
            "migration.copy", .action, "copying the cluster's keys into the new store",
            [Fact("migration", migration.id), Fact("era", .integer(Int64(era)))])
    }

    private mutating func absorb(otherRenewal id: EffectID, _ outcome: RenewalOutcome) {
        guard let migration = world.migration, migration.renewInFlight == id, let facts = migration.session else {
            return
        }
        world.migration?.renewInFlight = nil
        let interval = renewalInterval(facts) ?? facts.renewalInterval
        switch outcome {
        case .proven(let sent, let notExpiredBefore):
            world.migration?.nextRenewAt = max(sent + interval, world.now + .milliseconds(10))
            guard migration.fence != nil else { return }
            let deadlines = LeaseDeadlines(notExpiredBefore: notExpiredBefore, granted: facts.granted)
            if let known = migration.deadlines, deadlines.end <= known.end { return }
            world.migration?.deadlines = deadlines
            extend()
        case .unknown(let why):
            world.migration?.failure = "the new store: \(why)"
            world.migration?.nextRenewAt = world.now + Self.renewalPause
        case .gone(let why):
            world.migration?.nextRenewAt = world.now + interval
            if !migration.isCutting { takeBack("the leader entry in the new store is lost: \(why)") }
        }
    }

    /// Both stores were heard of later: so may the guard.
    private mutating func extend() {
        guard case .held(var term) = world.lease, !term.isFrozen, let back = world.migration?.heldBack,
            world.now < term.deadlines.finish
        else { return }
        let deadlines = allowed(back)
        guard deadlines.end > term.deadlines.end, deadlines.covers(term.deadlines) else { return }
        term.deadlines = deadlines
        world.lease = .held(term)
        emit(armed(term))
    }

    // MARK: - The cut-over's end

    /// What became of the cut-over's commit.
    mutating func absorb(cut outcome: ChangeOutcome) {
        world.readWanted = true
        switch outcome {
        case .committed: completeCut()
        case .refused(let why), .notSent(let why): takeBack("the cut-over was refused: \(why)")
        case .unknown(let why):
            enter(.unresolved)
            world.needsResolving = true
            world.viewsCountFrom = world.now
            world.readWanted = true
            world.nextReadAt = world.now
            record("migration.unknown", .warning, "whether the cluster has moved is not known: \(why)")
        }
    }

    mutating func absorb(revocation outcome: ChangeOutcome) {
        world.viewsCountFrom = world.now
        world.readWanted = true
        world.nextReadAt = world.now
        switch outcome {
        case .committed: forgetMigration(world.migration?.failure ?? "the cut-over did not take effect")
        case .refused, .unknown:
            enter(.unresolved)
            world.needsResolving = true
        case .notSent:
            world.migration?.nextTryAt = world.now + .milliseconds(50)
            enter(.revoking(nil))
        }
    }

    /// A late cut-over must fail: the key that it compares goes.
    private mutating func revoke(_ migration: StoreMigration) {
        guard world.now >= migration.nextTryAt, !isCommitting("revoke") else { return }
        enter(
            .revoking(
                commit(
                    ClusterChange(if: [.leaderIsOurs, .migrationVersion(migration.version)], [.putMigration(nil)]),
                    "revoke")))
    }

    /// A view of the old store says what became of it all. True: the view is of a store that rules no more.
    mutating func absorb(mark view: ClusterView) -> Bool {
        guard let mark = view.migration else {
            world.movedAway = nil
            if case .unresolved? = world.migration?.phase {
                forgetMigration("the cut-over did not take effect")
            }
            return false
        }
        if mark.state == .moved {
            if let migration = world.migration, migration.id == mark.id, migration.isCutting, world.term != nil {
                completeCut()
            } else if isFollowed(mark), mark.id != world.movedTo {
                changeStores(mark.id)
            } else {
                world.movedAway = mark
                settleLeft()
                return false
            }
            return true
        }
        world.movedAway = nil
        if case .unresolved? = world.migration?.phase { enter(.revoking(nil)) }
        return false
    }

    /// The new store rules, and our entry there has been proven: the term goes on under its number there.
    private mutating func completeCut() {
        guard let migration = world.migration, case .held(let old) = world.lease, let facts = migration.session,
            let fence = migration.fence, let deadlines = migration.deadlines, var view = migration.view
        else { return abandonMigration("nothing is known of the new store") }
        let took = world.now - migration.since
        noteEnded(old.fence)
        leaveStore(migration.id)
        emit(.other(.adopt(migration.id, keepingSession: true)))
        world.session = .open(facts)
        world.sessionLifetime = world.settings.ttl
        world.lease = .held(Term(fence: fence, deadlines: deadlines, since: world.now))
        world.newestFence = max(world.newestFence, fence)
        world.failsafe = FailsafeState()
        world.failsafe.provenAt = world.now
        world.renewInFlight = migration.renewInFlight
        world.renewSentAt = migration.renewSentAt
        world.renewalFence = fence
        world.isRenewalHolding = true
        world.nextRenewAt = migration.nextRenewAt
        view.requestedAt = min(view.requestedAt, world.now)
        world.view = view
        world.migration = nil
        world.copied = nil
        world.upkeepFrom = world.now
        world.nextUpkeepAt = world.now
        world.nextStatusAt = world.now
        world.leaderSince = world.now
        if let term = world.term { emit(armed(term)) }
        record(
            "migration.done", .action, "the cluster has moved: the new store rules",
            [
                Fact("migration", migration.id), Fact("fence", fence), Fact("before", old.fence),
                Fact("took_ms", milliseconds: took),
            ])
        if let request = migration.request {
            emit(.answer(request, OperatorAnswer(.done, "the cluster has moved to the new store (\(fence))")))
        }
        if let lost = migration.sessionLost { absorb(.sessionLost(lost)) }
    }

    /// Whether a mark is of the migration that this member was made ready for.
    private func isFollowed(_ mark: MigrationMark) -> Bool {
        guard let prepared = world.prepared else { return false }
        return mark.id == prepared || world.isPreparedConfigured
    }

    /// The cluster lives in the other store: go there. Whatever was under way at this one is of no consequence.
    private mutating func changeStores(_ id: String) {
        guard let prepared = world.prepared, world.movedTo != id else { return }
        switch world.lease {
        case .none: break
        case .acquiring, .unresolved, .proving: world.lease = .none
        case .held(let term):
            // Nobody else can have cut over; should it be so, nothing may be written any more.
            end(term, "the cluster has moved to another store")
            world.nextReadAt = world.now + .milliseconds(100)
            world.readWanted = true
            return
        case .ending, .releasing:
            world.nextReadAt = world.now + .milliseconds(100)
            world.readWanted = true
            return
        }
        if let migration = world.migration { abandonMigration("the cluster has moved: \(migration.id)") }
        emit(.closeSession(abandon: false))
        leaveStore(id)
        emit(.other(.adopt(prepared, keepingSession: false)))
        world.prepared = id
        forgetSession(retryAt: world.now)
        world.hasSavedSession = true
        world.view = nil
        world.copied = nil
        record("migration.follow", .action, "the cluster lives in another store: going there", [Fact("migration", id)])
    }

    /// Nothing that was asked of the store before counts any more.
    private mutating func leaveStore(_ id: String) {
        world.storeSince = lastEffect
        world.storeNumber += 1
        world.movedTo = id
        world.movedAway = nil
        world.otherReadInFlight = nil
        world.readInFlight = nil
        world.resolvingRead = nil
        world.needsResolving = false
        world.viewsCountFrom = world.now
        world.readWanted = true
        world.nextReadAt = world.now
        world.commits = [:]
        world.publishInFlight = nil
        world.publishedMember = nil
        world.statusInFlight = nil
        world.nextPublishAt = .distantPast
        world.race = nil
        world.doubtsSession = false
        world.earlyProof = nil
        world.storeTrouble = nil
        world.storeReturn = nil
        world.lowerRevision = nil
        world.isAwaitingBootstrapVersion = false
        world.bootstrapVersion = nil
        world.membersReadAt = nil
        for pending in world.pending where pending.commit != nil {
            answer(
                pending.id,
                OperatorAnswer(.unavailable, "\(pending.request.name): the cluster moved to another store: try again"))
        }
    }

    // MARK: - Taking back

    /// Back to where it began: the old store rules, and what is in the new one goes.
    mutating func takeBack(_ why: String) {
        guard let migration = world.migration else { return }
        var facts = [
            Fact("migration", migration.id), Fact("step", migration.step), Fact("failure", migration.failure),
        ]
        if case .held(let term) = world.lease {
            facts.append(Fact("left_ms", milliseconds: term.deadlines.end - world.now))
            facts.append(Fact("fence", term.fence))
        }
        if let other = migration.deadlines {
            facts.append(Fact("other_left_ms", milliseconds: other.end - world.now))
        }
        record("migration.back", .warning, "the migration is taken back: \(why)", facts)
        forgetMigration(why)
    }

    /// The cut-over has not taken effect and cannot any more.
    private mutating func forgetMigration(_ why: String) {
        guard let migration = world.migration else { return }
        if migration.session != nil {
            if let version = migration.view?.migrationVersion {
                // Best effort: what stays is marked as a copy that never arrived, and the next migration writes over it.
                emit(.other(.commit(newID(), ClusterChange(if: [.migrationVersion(version)], [.removeCopy]))))
            }
            emit(.other(.closeSession(abandon: false)))
        }
        let back = migration.heldBack
        world.migration = nil
        world.copied = nil
        world.readWanted = true
        if case .held(var term) = world.lease, !term.isFrozen, let back, back.covers(term.deadlines),
            world.now < term.deadlines.finish
        {
            term.deadlines = back
            world.lease = .held(term)
            emit(armed(term))
        }
        if let request = migration.request {
            let more = migration.failure.flatMap { $0 == why ? nil : " (\($0))" } ?? ""
            emit(.answer(request, OperatorAnswer(.conditionsNotMet, "migration taken back: \(why)\(more)")))
        }
    }

    /// The term ended under it. Its entry in the new store is left to expire: the cut-over may have taken effect, and then
    /// nobody may lead there before we are silent.
    mutating func abandonMigration(_ why: String) {
        guard let migration = world.migration else { return }
        world.migration = nil
        world.copied = nil
        emit(.other(.closeSession(abandon: true)))
        record(
            "migration.abandoned", .warning, "the migration ended with the lead: \(why)",
            [Fact("migration", migration.id), Fact("step", migration.step)])
        if let request = migration.request {
            emit(
                .answer(
                    request,
                    OperatorAnswer(
                        .unavailable,
                        migration.isCutting
                            ? "the lead was lost at the cut-over: whether the cluster has moved shows in a moment"
                            : "migration taken back: \(why)")))
        }
    }

    // MARK: - Old movers

    /// An entry with which an earlier instance was migrating: its cut-over may still be on its way, and what the new store
    /// would let happen then is not known any more. The key goes first.
    mutating func settleLeft() {
        switch world.lease {
        case .acquiring, .unresolved, .proving: world.lease = .none
        case .none, .held, .ending, .releasing: break
        }
    }

    /// True: the entry must not be taken up yet.
    mutating func clearsMarkFirst(_ view: ClusterView) -> Bool {
        guard let mark = view.migration, mark.state == .leaving || mark.state == .unreadable else { return false }
        if !isCommitting("migration") {
            commit(
                ClusterChange(if: [.leaderIsOurs, .migrationVersion(view.migrationVersion)], [.putMigration(nil)]),
                "migration")
        }
        return true
    }

    /// Moves the guard's deadline; to the term's new number when the same holding goes on in another store. In failsafe the
    /// guard takes the number of an entry taken again as it is.
    func armed(_ term: Term) -> Effect {
        if let known = world.armedTerm, known != term.fence, known.era < term.fence.era, world.mayAcknowledge,
            world.movedTo != nil, world.posture != .failsafe
        {
            return .succeed(term.fence, term.deadlines)
        }
        return .arm(term.fence, term.deadlines)
    }
}

extension Event {
    /// The effect at the store that this is the end of.
    var storeEffect: EffectID? {
        switch self {
        case .sessionOpened(let id, _), .sessionFailed(let id, _), .view(let id, _), .glimpse(let id, _),
            .viewFailed(let id, _), .committed(let id, _), .renewed(let id, _), .released(let id, _):
            id
        default: nil
        }
    }
}
