import ClusterModel

/// The store is away, or came back without the lease: what members owe to the leader that asked them, and what it may do.
enum FailsafeRules {
    /// How long an entry of an older term may stand in the way of a holder: its session would have ended long before.
    static let oldEntryLeases = 4

    /// Nobody leads in the store, and we granted: until that ends no race, no bootstrap, no registration.
    static func granted(_ world: World) -> Verdict? {
        guard case .none = world.lease, let view = world.view, view.leader == nil, !world.isRunningPrimary else {
            return nil
        }
        let holder: String
        let until: Instant
        if let grant = world.liveGrant {
            holder = grant.holder
            until = grant.until
        } else if let sitOut = world.sitsOutLostGrants {
            holder = ""
            until = sitOut
        } else {
            return nil
        }
        let facts = [Fact("holder", holder), Fact("for_ms", milliseconds: until - world.now)]
        if let verdict = startMeanwhile(world, holder, facts) { return verdict }
        if holder.isEmpty {
            return .wait(
                "failsafe.sitOut", "sitting out: what an earlier instance granted in failsafe mode is not known", facts)
        }
        return .wait(
            "failsafe.granted", "leaving the lead to \(holder), which goes on in failsafe mode by our grant", facts)
    }

    /// The same of a grant that another member has told of: who is not asked for one, for it came later or is on no list any
    /// more, must not lead either. Without the grants of those that are asked nobody goes on: they need not wait.
    static func grantedElsewhere(_ world: World) -> Verdict? {
        guard case .none = world.lease, let view = world.view, view.leader == nil, !world.isRunningPrimary,
            !world.isAskedForGrants, let heard = world.heardGrant
        else { return nil }
        let facts = [Fact("grantor", heard.grantor), Fact("holder", heard.grant.holder)]
        if let verdict = startMeanwhile(world, heard.grant.holder, facts) { return verdict }
        return .wait(
            "failsafe.grantedElsewhere",
            "no part in any race: \(heard.grantor) leaves the lead to \(heard.grant.holder) in failsafe mode", facts)
    }

    /// A server that is down can serve reads meanwhile, and stream from whom we granted.
    private static func startMeanwhile(_ world: World, _ holder: String, _ facts: [Fact]) -> Verdict? {
        guard let control = world.control, world.job == nil, world.isGuardReady, !world.isPaused,
            world.needsClone == nil, !world.isTwin(on: world.timeline(of: control)), world.now >= world.nextJobAt,
            control.state == .shutDownInRecovery || control.state == .inArchiveRecovery
        else { return nil }
        let member = world.view?.member(holder) ?? world.lastLockedView?.member(holder)
        let target = member?.connURL.map { UpstreamTarget(name: holder, connURL: $0) }
        return Verdict(
            "failsafe.follow", .action, "starting as a standby while the leader goes on in failsafe mode", facts,
            .startJob(.start(.standby(target))))
    }

    /// The list of `/failsafe` is closed: who is not on it was not asked, and must not lead.
    static func unlisted(_ world: World, _ view: ClusterView) -> Verdict? {
        if let unlisted = world.unlisted, world.isFailsafeOn {
            return Verdict(
                "failsafe.notListed", .warning,
                "no part in the race: the store was set back, and the last leader's own list did not name this member; a "
                    + "later leader ends that, and if there can be none, turn failsafe_mode off",
                [Fact("under", unlisted.under)])
        }
        guard let listed = view.failsafe, !listed.isEmpty, listed[world.me] == nil else { return nil }
        let facts = [Fact("listed", .array(listed.keys.sorted().map(JSONValue.string)))]
        if world.isFailsafeOn {
            return Verdict(
                "failsafe.notListed", .warning,
                "no part in the race: the key 'failsafe' does not name this member; a leader adds it, and if there can be "
                    + "none, turn failsafe_mode off", facts)
        }
        // Turned off, but the last leader may still live by what was granted before.
        let since = max(world.race?.freeSince ?? world.now, world.unlistedSince ?? world.now)
        if world.now - since < world.settings.ttl {
            return .wait(
                "failsafe.notListed", "waiting for a lease: the last leader may have been granted failsafe without us",
                facts)
        }
        return nil
    }

    /// A store that went back, or was emptied: whoever led by what it had said before may do so for a lease.
    static func returned(_ world: World) -> Verdict? {
        guard let since = world.storeReturn?.seenAt, case .none = world.lease, let view = world.view,
            view.leader == nil, !world.isPaused, !world.isRunningPrimary
        else { return nil }
        // The last holder itself needs not wait for itself.
        if world.endedTerms.contains(world.newestFence) { return nil }
        let until = since + world.settings.ttl
        if world.now >= until { return nil }
        if world.control != nil, view.systemIdentifier != nil { return nil }
        return .wait(
            "store.returned", "waiting: the store was set back or emptied, and the last leader may still lead",
            [Fact("for_ms", milliseconds: until - world.now), Fact("newest_fence", world.newestFence)])
    }

    /// The store has lost the entry and nobody has it: taken again, without a moment in which nobody leads.
    static func retake(_ world: World) -> Verdict? {
        guard let term = world.term, let lost = world.failsafe.leaseLost, world.handover == nil,
            world.migration == nil
        else { return nil }
        guard case .none = world.failsafe.retake, world.isGranted, !world.isPaused, world.sessionFacts != nil,
            world.isViewFresh, let view = world.view, view.leader == nil,
            view.requestedAt >= world.failsafe.leaseLostAt, world.now >= world.nextLeaseTryAt
        else { return nil }
        return Verdict(
            "failsafe.retake", .action, "taking the leader entry again, which the store has lost",
            [Fact("fence", term.fence), Fact("why", lost)], .retake)
    }

    /// An entry of the past, in a store that was set back, is nobody to be followed: what streams goes on streaming, and
    /// nothing is rewound to it or copied from it.
    static func oldLeader(_ world: World) -> Verdict? {
        guard world.isLeaderOfThePast, let leader = world.view?.leader, case .none = world.lease, world.job == nil
        else {
            return nil
        }
        let facts = [Fact("leader", leader.name), Fact("fence", leader.fence), Fact("newest_fence", world.newestFence)]
        if let control = world.control, !world.isPaused, world.isGuardReady, world.needsClone == nil,
            world.now >= world.nextJobAt
        {
            return Verdict(
                "store.oldLeader", .action,
                "the store was set back, and its leader entry is old: starting as a standby",
                facts + [Fact("timeline", control.timeline)], .startJob(.start(.standby(nil))))
        }
        return .wait(
            "store.oldLeader",
            "the store was set back: \(leader.name)'s entry is of an older term, and is not followed",
            facts)
    }

    /// The store is away and every member granted: the primary goes on.
    static func leading(_ world: World) -> Verdict? {
        guard let term = world.term, world.failsafe.isActive, world.isRunningPrimary, world.handover == nil,
            !world.isPaused
        else { return nil }
        return .wait(
            "failsafe.leading",
            "continue to run as a leader because failsafe mode is enabled and all members are accessible",
            [Fact("fence", term.fence), Fact("trouble", world.failsafe.leaseLost ?? world.storeTrouble)])
    }

    /// Why a request is refused; nil: it is granted.
    static func objection(_ world: World, _ request: GrantRequest) -> String? {
        if request.name == world.me { return "Requested by this member's own name" }
        // What runs here may be a primary until it is seen to be none.
        if world.isRunningPrimary || world.mayAcknowledge || world.server == .unknown { return "Running as a leader" }
        switch world.lease {
        case .none: break
        case .acquiring, .unresolved: return "Running as a leader: the leader entry is being taken"
        case .proving, .held, .ending, .releasing: return "Running as a leader: the leader entry is held here"
        }
        if let fence = request.fence, let leader = world.view?.leader, leader.name != request.name,
            fence < leader.fence
        {
            return "\(leader.name) leads in the newer term \(leader.fence)"
        }
        return nil
    }
}
