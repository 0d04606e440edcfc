import ClusterModel

/// A store that lost its data, or has older data: what is noticed of it, and what is written again.
extension HAMachine {
    /// Takes note when a view cannot be a later state of what was seen before; false: it is merely late, and dropped.
    mutating func admits(_ view: ClusterView) -> Bool {
        guard let old = world.view else {
            // An instance that has just begun knows the newest term from its disk; a store that knows the cluster no more may
            // have lost only the cluster's keys.
            let isForgotten = world.newestFence > .none && view.initialize == .absent && view.leader == nil
            if isForgotten || isBehindNewestTerm(view) { noteReturn(view, before: view) }
            return true
        }
        if view.revision < old.revision {
            // A linearizable read that was begun after the other had ended shows no less, unless the store went back.
            guard view.requestedAt >= world.viewSeenAt else { return false }
            guard let confirmed = world.lowerRevision, confirmed <= view.revision else {
                world.lowerRevision = view.revision
                return false
            }
            noteReturn(view, before: old)
            return true
        }
        world.lowerRevision = nil
        let wasRegistered = old.systemIdentifier != nil || world.storeReturn?.before.systemIdentifier != nil
        let isEmptied =
            wasRegistered && view.initialize == .absent && view.leader == nil && view.configuration == nil
            && view.failsafe == nil
        let isReplaced = view.revision.era > old.revision.era && (view.era ?? 0) < view.revision.era
        let isOlder = view.leader.map { $0.fence < world.newestFence && $0.fence != old.leader?.fence } ?? false
        if world.storeReturn == nil, isEmptied || isReplaced || isOlder { noteReturn(view, before: old) }
        return true
    }

    private func isBehindNewestTerm(_ view: ClusterView) -> Bool {
        guard world.newestFence > .none else { return false }
        if let leader = view.leader { return leader.fence < world.newestFence }
        return (view.revision.era, view.revision.number) < (world.newestFence.era, world.newestFence.number)
    }

    private mutating func noteReturn(_ view: ClusterView, before: ClusterView) {
        world.lowerRevision = nil
        // Of several in a row the first knew the most, if it knew anything.
        let first = world.storeReturn.flatMap { $0.before.systemIdentifier == nil ? nil : $0.before }
        world.storeReturn = StoreReturn(seenAt: world.now, before: first ?? before, found: view)
        if let listed = before.failsafe, !listed.isEmpty, listed[world.me] == nil {
            world.unlisted = UnlistedMember(
                under: world.newestFence, version: view.failsafeVersion, since: world.now)
        }
        record(
            "store.returned", .warning,
            view.initialize == .absent
                ? "the store has lost what it knew of this cluster" : "the store was set back to an older state",
            [
                Fact("revision", .string(view.revision.description)),
                Fact("before", .string(before.revision.description)), Fact("newest_fence", world.newestFence),
                Fact("leader", view.leader?.name),
            ])
    }

    /// The list that was found may be the newest after all, written again before this member looked: the leader's word tells by
    /// which it goes.
    mutating func keepUnlisted() {
        guard let unlisted = world.unlisted, let view = world.view, let leader = view.leader, !world.isLeaderOfThePast
        else { return }
        if leader.fence > unlisted.under || view.failsafeVersion != unlisted.version {
            world.unlisted = nil
        } else if leader.fence == unlisted.under, view.failsafe?[world.me] != nil, let list = view.failsafeVersion,
            let word = world.peers[leader.name], word.askedAt >= unlisted.since, word.failsafeList == list.description
        {
            world.unlisted = nil
        }
    }

    /// The era that an acquisition has to write with the entry, so that its number is above every one before; nil: none.
    func eraToWrite(_ view: ClusterView) -> UInt32? {
        let newest = world.newestFence
        let stored = view.era ?? 0
        // What will be given is above the revision; under the era that the store itself has.
        let isAbove = stored > newest.era || stored == newest.era && view.revision.number >= newest.number
        if isAbove, stored >= view.revision.era, world.storeReturn == nil { return nil }
        let tried = world.triedEra > stored ? world.triedEra : 0
        return max(view.revision.era, max(stored, newest.era, tried) + 1)
    }

    /// What the leader writes again of what a store that was set back has lost: the newest that is known, where nobody has
    /// changed it since.
    mutating func keepReturned(_ view: ClusterView) {
        guard let back = world.storeReturn, let term = world.term, term.since >= back.seenAt || world.isLeaderEntryOurs
        else { return }
        guard !isCommitting("rebuild") else { return }
        // An instance that began on the emptied store has seen nothing that could be written again.
        guard back.before.systemIdentifier != nil else {
            world.storeReturn = nil
            return
        }
        var (conditions, writes) = lost(back, view)
        conditions.append(.leaderIsOurs)
        if view.failover != nil, back.before.failover == nil, view.failoverVersion == back.found.failoverVersion {
            // A request of the past, carried out or given up long ago.
            conditions.append(.failoverVersion(view.failoverVersion))
            writes.append(.putFailover(nil))
        }
        guard !writes.isEmpty else {
            // Seen to be there again.
            world.storeReturn = nil
            return
        }
        record("store.rebuilt", .action, "writing again what the store has lost", Self.facts(of: writes))
        commit(ClusterChange(if: conditions, writes), "rebuild")
    }

    /// Nobody leads, and the store does not know this cluster any more. Members that have begun since do not know that it
    /// ever did and wait for the keys; who remembers them writes them for all, and only then everybody races by the same rules.
    mutating func registerAgain(_ identifier: String) {
        guard let view = world.view, let back = world.storeReturn, !isCommitting("register") else { return }
        var (conditions, writes) = lost(back, view)
        conditions += [.leaderAbsent, .initializeAbsent]
        writes.append(.putInitialize(identifier))
        if view.failsafe == nil, let members = back.before.failsafe { writes.append(.putFailsafe(members)) }
        // How far the last leader had come: whoever is too far behind it stays out, as ever.
        if view.status == nil, let status = back.before.status {
            conditions.append(.statusVersion(view.statusVersion))
            writes.append(.putStatus(status))
        }
        if let era = eraToWrite(view) {
            world.triedEra = era
            conditions.append(.eraVersion(view.eraVersion))
            writes.append(.putEra(era))
        }
        commit(ClusterChange(if: conditions, writes), "register")
    }

    /// What a store that went back has lost of what everybody goes by, as far as nobody has changed it since.
    private func lost(_ back: StoreReturn, _ view: ClusterView) -> (conditions: [ClusterCondition], [ClusterWrite]) {
        var conditions: [ClusterCondition] = []
        var writes: [ClusterWrite] = []
        if let configuration = back.before.configuration, configuration != view.configuration,
            view.configurationVersion == back.found.configurationVersion
        {
            conditions.append(.configurationVersion(view.configurationVersion))
            writes.append(.putConfiguration(configuration))
        }
        if back.before.syncVersion != nil, back.before.sync != view.sync, view.syncVersion == back.found.syncVersion {
            conditions.append(.syncVersion(view.syncVersion))
            writes.append(.putSync(back.before.sync))
        }
        // Written anew, though it says the same: members that it did not name before believe no old one.
        if let members = view.failsafe, view.failsafeVersion == back.found.failsafeVersion, world.isFailsafeOn {
            writes.append(.putFailsafe(members))
        }
        if let promotions = lostPromotions(back, view) { writes.append(.putPromotions(promotions)) }
        return (conditions, writes)
    }

    /// The records of promotions with those that the store has lost; nil: it has them all.
    func lostPromotions(_ back: StoreReturn, _ view: ClusterView) -> PromotionRecords? {
        var promotions = view.promotions
        for (timeline, record) in back.before.promotions.records { promotions.records[timeline] = record }
        return promotions == view.promotions ? nil : promotions
    }

    private static func facts(of writes: [ClusterWrite]) -> [Fact] {
        func has(_ isIt: (ClusterWrite) -> Bool) -> JSONValue { .bool(writes.contains(where: isIt)) }
        return [
            Fact("configuration", has { if case .putConfiguration = $0 { true } else { false } }),
            Fact("sync", has { if case .putSync = $0 { true } else { false } }),
            Fact("promotions", has { if case .putPromotions = $0 { true } else { false } }),
        ]
    }
}
