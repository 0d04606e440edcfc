import ClusterModel

/// No data yet: make the cluster, or copy it.
enum BootstrapRules {
    static func noData(_ world: World) -> Verdict? {
        guard let view = world.view, world.dataDirectory == .empty else { return nil }
        if world.term != nil {
            return Verdict(
                "primary.dataVanished", .warning, "the data directory is empty: releasing the leader entry", [],
                .release)
        }
        if world.isPaused { return .wait("bootstrap.paused", "no data, and nothing is started in pause") }
        if world.now < world.nextJobAt {
            return .wait(
                "job.backoff", "waiting before the next try", [Fact("failure", world.lastJobFailure)])
        }
        if let leader = view.leader {
            guard leader.name != world.me else { return nil }
            guard let target = cloneSource(world) else {
                return .wait(
                    "clone.wait", "waiting until \(leader.name) can be copied from", [Fact("leader", leader.name)])
            }
            return Verdict(
                "clone.begin", .action, "copying the data of \(target.name)",
                [Fact("source", target.name), Fact("leader", leader.name)],
                .startJob(.clone(target, reason: "no data")))
        }
        // A view from before our own last try would only bring the next one, and that one would outdate the next view.
        guard world.isViewFresh else { return .wait("bootstrap.reading", "reading the store again") }
        switch view.initialize {
        case .absent where world.storeReturn?.before.systemIdentifier != nil:
            // Emptied, not new: the cluster is there, and its primary writes the keys again.
            return .wait(
                "bootstrap.storeLost",
                "the store has lost this cluster: waiting for its primary; to make a new one, restart this agent")
        case .absent:
            guard world.settings.bootstrapConfiguration != nil else {
                return .wait("bootstrap.notAllowed", "waiting for a leader: no bootstrap section is configured here")
            }
            if world.settings.tags.isNoFailover {
                return .wait("bootstrap.noFailover", "waiting for a leader: this member may not lead")
            }
            return Verdict("bootstrap.race", .action, "trying to bootstrap a new cluster", [], .beginInitialize)
        case .inProgress(let version):
            if version == world.bootstrapVersion {
                guard world.isGuardReady else { return .wait("guard.waiting", "waiting for the guard") }
                return Verdict("bootstrap.begin", .action, "bootstrapping a new cluster", [], .startJob(.bootstrap))
            }
            return .wait(
                "bootstrap.wait",
                "waiting for the member that bootstraps; if it died, delete the key 'initialize' in the store")
        case .identifier(let identifier, _):
            return .wait(
                "clone.waitForLeader", "waiting for a leader to copy from", [Fact("system_identifier", identifier)])
        case .invalid:
            return .wait("bootstrap.invalid", "waiting: the key 'initialize' holds no system identifier")
        }
    }

    /// Our bootstrap made its data: registering it and taking the lead is one transaction.
    static func finish(_ world: World) -> Verdict? {
        guard let made = world.bootstrapped, let view = world.view, case .none = world.lease else { return nil }
        guard world.isViewFresh, world.now >= world.nextLeaseTryAt else {
            return .wait("store.stale", "waiting for a fresh view of the store")
        }
        switch view.initialize {
        case .inProgress(let version) where version == world.bootstrapVersion && view.leader == nil:
            return Verdict(
                "bootstrap.finish", .action, "registering the new cluster",
                [Fact("system_identifier", made.systemIdentifier)], .finishBootstrap(made))
        case .identifier(let identifier, _) where identifier == made.systemIdentifier:
            return nil
        case .absent where view.leader == nil:
            // Whoever was first gave up: our data can be registered as any other primary's.
            return nil
        default:
            guard let target = cloneSource(world) else {
                return .wait("bootstrap.lost", "another member made the cluster: waiting to copy from its leader")
            }
            return Verdict(
                "bootstrap.lost", .warning, "another member made the cluster: its data is copied, ours is kept aside",
                [Fact("source", target.name)], .startJob(.clone(target, reason: "lost the bootstrap")))
        }
    }

    /// Whom to copy from: a running member that offers itself, else the leader once it is a primary.
    static func cloneSource(_ world: World) -> UpstreamTarget? {
        guard let view = world.view, let leader = view.leader else { return nil }
        let offering = view.members.filter { member in
            member.name != world.me && member.name != leader.name && member.tags.isCloneSource
                && member.state == .running && member.connURL != nil
        }
        if !offering.isEmpty {
            let chosen = offering[Int(world.random % UInt64(offering.count))]
            return UpstreamTarget(name: chosen.name, connURL: chosen.connURL ?? "", fence: leader.fence)
        }
        guard let target = world.leaderTarget else { return nil }
        // Its own word or its entry, whichever says so first; the copying itself finds out whether it is true.
        let peer = world.peers[leader.name]
        let member = view.member(leader.name)
        let isPrimary =
            peer?.isInRecovery == false && peer?.state == .running
            || member?.role == .primary && member?.state == .running
        return isPrimary ? target : nil
    }
}
