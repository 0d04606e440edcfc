import ClusterModel

/// Is this member who it says, and is its data the cluster's?
enum IdentityRules {
    static func duplicate(_ world: World) -> Verdict? {
        guard world.isDuplicate else { return nil }
        let text = "Can't start; there is already a node named '\(world.me)' running"
        return Verdict("identity.duplicate", .warning, text, [], .exit(1, text))
    }

    static func unusableData(_ world: World) -> Verdict? {
        guard case .unusable(let why)? = world.dataDirectory else { return nil }
        return Verdict(
            "identity.unusableData", .warning, "refusing to work with this data directory: \(why)", [], .exit(1, why))
    }

    static func otherCluster(_ world: World) -> Verdict? {
        guard let theirs = world.view?.systemIdentifier, let ours = world.systemIdentifier, ours != theirs else {
            return nil
        }
        let facts = [Fact("system_identifier", ours), Fact("cluster", theirs)]
        if world.isPaused {
            return .wait(
                "identity.otherClusterInPause", "the data belongs to another cluster; nothing is done in pause", facts)
        }
        if world.bootstrapped != nil {
            // We made this data in a bootstrap race that another member won: copied anew, the old kept aside.
            return nil
        }
        let text =
            "the data directory belongs to another cluster: its system identifier is \(ours), the cluster's is \(theirs); "
            + "nothing was touched; point data_dir elsewhere, or change scope"
        return Verdict("identity.otherCluster", .warning, text, facts, .exit(1, text))
    }

    /// Our name is in the store under another session and another address: nothing is begun before that address was asked.
    static func checkingName(_ world: World) -> Verdict? {
        guard !world.hasProbedDuplicate, let entry = world.view?.member(world.me), let url = entry.apiURL,
            entry.session != world.sessionFacts?.id, url != world.identity.apiURL
        else { return nil }
        return .wait(
            "identity.checking", "finding out whether another member runs under our name", [Fact("api_url", url)])
    }

    /// A running standby whose cluster nobody has registered: begin with the primary. One that has known a term or a
    /// configuration of it, by its own disk, is not meant: the store lost the cluster, and there the standbys may be all
    /// that is left.
    static func standbyBeforePrimary(_ world: World) -> Verdict? {
        guard let view = world.view, view.initialize == .absent, view.leader == nil, !world.isPaused,
            world.isRunningStandby, case .none = world.lease, !world.hasSeenCluster, world.bootstrapped == nil,
            world.newestFence == .none, world.cachedConfiguration == nil
        else { return nil }
        let text =
            "this server is a standby and the cluster is not registered in the store yet: start the agent of the primary first"
        return Verdict("identity.standbyBeforePrimary", .warning, text, [], .exit(1, text))
    }
}
