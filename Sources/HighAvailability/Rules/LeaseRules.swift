import ClusterModel

/// The lease, when something about it must be settled before anything else.
enum LeaseRules {
    /// The term is over: wait until PostgreSQL is silent, then give the entry up.
    static func ending(_ world: World) -> Verdict? {
        guard case .ending(let term, let reason) = world.lease else { return nil }
        let facts = [Fact("fence", term.fence), Fact("reason", reason)]
        if world.mayAcknowledge {
            let mode: StopMode = world.now >= term.deadlines.quit ? .immediate : world.endingMode
            return Verdict(
                "lease.silencing", .routine, "waiting until PostgreSQL is silent", facts, .stopServer(mode))
        }
        return Verdict("lease.over", .action, "the lease is over and PostgreSQL is silent", facts, .release)
    }

    /// The entry is ours and we are in no term: an earlier instance's session, or a term that ended.
    static func ownedWithoutTerm(_ world: World) -> Verdict? {
        guard case .none = world.lease, world.isLeaderEntryOurs, let leader = world.view?.leader else { return nil }
        // One that ended, one of a store that was set back, or one that a grant of ours forbids to be used.
        guard world.endedTerms.contains(leader.fence) || world.isOld(leader.fence) || world.liveGrant != nil else {
            return nil
        }
        if world.mayAcknowledge {
            if world.isPaused { return nil }
            return Verdict(
                "lease.silencing", .warning, "the lease is over: stopping PostgreSQL", [Fact("fence", leader.fence)],
                .stopServer(.immediate))
        }
        // Leaving closes the session, and the entry goes with it.
        if world.isStopping { return nil }
        guard world.isViewFresh, world.now >= world.nextLeaseTryAt else { return nil }
        return Verdict(
            "lease.release", .action, "releasing a leader entry whose term has ended", [Fact("fence", leader.fence)],
            .release)
    }

    /// Something of the lease is under way.
    static func settling(_ world: World) -> Verdict? {
        switch world.lease {
        case .acquiring: .wait("lease.acquiring", "taking the leader entry")
        case .unresolved: .wait("lease.unresolved", "finding out whether the leader entry became ours")
        case .proving(let fence, _): .wait("lease.proving", "proving the lease", [Fact("fence", fence)])
        case .releasing(let fence): .wait("lease.releasing", "releasing the leader entry", [Fact("fence", fence)])
        case .none, .held, .ending: nil
        }
    }

    /// A server that accepts writes while no lease allows it.
    static func writableWithoutLease(_ world: World) -> Verdict? {
        guard world.mayAcknowledge, world.isServerUp, !world.isPaused else { return nil }
        guard case .none = world.lease else { return nil }
        // While it does not answer it may as well be a standby; a primary without a term is the guard's to stop.
        guard world.isRunningPrimary || world.isPromoteSignalled else { return nil }
        guard let view = world.view else {
            // Found running at the start and the store is silent: the guard's last deadline stands; a server that no
            // guard watches with a deadline is given the retry budget.
            guard world.isAdopting, case .up(_, let since) = world.server else { return nil }
            if world.now - since < world.settings.retryTimeout * 2 { return nil }
            return Verdict(
                "fence.noLease", .warning, "stopping a primary that cannot get a lease: the store does not answer",
                [Fact("trouble", world.storeTrouble)], .stopServer(.fast))
        }
        if let leader = view.leader {
            if leader.name == world.me {
                if world.isLeaderEntryOurs {
                    return .wait(
                        "lease.resuming", "taking up the lease of the earlier session again",
                        [Fact("fence", leader.fence)])
                }
                return Verdict(
                    "fence.foreignSession", .warning,
                    "stopping the primary: the leader entry with our name belongs to a session that we cannot renew",
                    [Fact("fence", leader.fence)], .stopServer(.fast))
            }
            return Verdict(
                "follow.demote", .warning, "\(leader.name) holds the leader entry: stopping our primary at once",
                [Fact("leader", leader.name), Fact("fence", leader.fence)], .stopServer(.immediate))
        }
        return nil
    }
}
