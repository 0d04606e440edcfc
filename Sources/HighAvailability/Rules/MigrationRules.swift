import ClusterModel

/// The cluster moves from one store to another.
enum MigrationRules {
    /// How long a migration may take.
    static let limit: Duration = .seconds(60)

    /// The cut-over is on its way: nothing else is begun until it is known what became of it. The lease bounds that.
    static func cutting(_ world: World) -> Verdict? {
        guard let migration = world.migration, migration.isCutting, world.term != nil else { return nil }
        return .wait(
            "migration.cutting", "the cluster moves to another store: \(migration.step)",
            [Fact("migration", migration.id)])
    }

    /// The store has been left for another that this member has not been told of.
    static func movedAway(_ world: World) -> Verdict? {
        guard let mark = world.movedAway else { return nil }
        if case .none = world.lease {} else { return nil }
        let facts = [Fact("migration", mark.id), Fact("store", mark.store)]
        if world.mayAcknowledge, world.isRunningPrimary {
            return Verdict(
                "migration.movedAway", .warning, "the cluster has moved to another store: stopping this primary", facts,
                .stopServer(.immediate))
        }
        return Verdict(
            "migration.movedAway", .warning,
            "the cluster has moved to another store (\(mark.store ?? "unknown")) and this member was not told of it: change "
                + "the store's section in its configuration and start it again", facts)
    }

    /// A copy that may still be taken back is no store to lead in.
    static func notHereYet(_ world: World) -> Verdict? {
        guard let mark = world.view?.migration, case .none = world.lease else { return nil }
        switch mark.state {
        case .arriving where mark.id != world.movedTo, .moved:
            return .wait(
                "migration.notHereYet", "the cluster has not moved to this store yet: no part in any race",
                [Fact("migration", mark.id)])
        case .unreadable:
            return .wait("migration.unreadable", "the store's key 'migration' cannot be read: no part in any race")
        case .leaving, .here, .arriving: return nil
        }
    }

    /// A store that knows nothing of this cluster may be the one that it has left: nobody registers it there before the one
    /// that it was to move to has been looked at.
    static func elsewhere(_ world: World) -> Verdict? {
        guard let prepared = world.prepared, prepared != world.movedTo, !world.isElsewhereFree else { return nil }
        return Verdict(
            "migration.elsewhere", .warning,
            "the store knows nothing of this cluster, which was to move to another one: looking there first; if that can never "
                + "be answered, DELETE /store/migration makes this member forget it",
            [Fact("migration", prepared), Fact("store", world.preparedStore)])
    }

    /// Why a migration cannot begin now; nil: it can.
    static func objection(_ world: World, to id: String) -> String? {
        guard world.term != nil, world.isRunningPrimary, world.promotion == .none else {
            return "this member does not lead: ask the leader"
        }
        guard let view = world.view, world.isViewFresh, world.isLeaderEntryOurs, world.sessionFacts != nil else {
            return "the store is not up to date here: try again"
        }
        if world.migration != nil { return "a migration is under way already" }
        if world.prepared != id { return "this member has not been told which store to move to" }
        if view.migration?.state == .leaving { return "an earlier migration is just being taken back: try again" }
        if let reason = unrest(world, view) { return reason }
        if view.systemIdentifier == nil || view.configuration == nil { return "the cluster is not registered yet" }
        if let other = view.members.first(where: { !$0.isMatriarch }) {
            return "\(other.name) is another agent than ours and would stay behind: replace or stop it first"
        }
        return nil
    }

    /// What must not be under way beside a migration.
    static func unrest(_ world: World, _ view: ClusterView) -> String? {
        if world.isPaused { return "the cluster is paused" }
        if world.handover != nil || view.failover != nil { return "another member is to lead, now or later" }
        if world.isStopping { return "this agent is stopping" }
        if world.job != nil { return "\(world.job?.job.name ?? "a job") is under way" }
        return failsafe(world)
    }

    /// Between two stores there is no going on by grants, and a store that has just come back is no store to copy.
    private static func failsafe(_ world: World) -> String? {
        if world.isFailsafeOn { return "failsafe_mode is on: turn it off while the cluster moves" }
        if world.liveGrant != nil || world.failsafe.lastRound > 0 {
            return "what was granted in failsafe mode is still in force: try again in a moment"
        }
        if world.storeReturn != nil {
            return "the store was set back or emptied, and what it lost is still being written: try again in a moment"
        }
        return nil
    }
}
