import ClusterModel

/// Another member leads: follow it, and come back after having led.
enum FollowRules {
    /// How long a new leader is given to record the history.
    static let historyPatience: Duration = .seconds(10)

    /// How long a standby fails to stream before its own word on its timeline is held against it.
    static let divergencePatience: Duration = .seconds(3)

    static func rejoin(_ world: World) -> Verdict? {
        guard let view = world.view, let leader = view.leader, leader.name != world.me, let control = world.control
        else {
            return nil
        }
        if world.isPaused, !world.isStoppedForHandover, !world.stopForClone {
            return .wait("pause.down", "PostgreSQL is down and nothing is started in pause")
        }
        if world.now < world.nextJobAt {
            return .wait("job.backoff", "waiting before the next try", [Fact("failure", world.lastJobFailure)])
        }
        guard world.isGuardReady else { return .wait("guard.waiting", "waiting for the guard") }
        let timeline = world.timeline(of: control)
        let facts = [
            Fact("leader", leader.name), Fact("leader_timeline", world.leaderTimeline),
            Fact("timeline", timeline), Fact("state", control.state.rawValue),
            Fact("checkpoint", control.checkpoint), Fact("timeline_end", world.end(of: timeline)),
        ]
        if let why = world.needsClone {
            return clone(world, why, facts)
        }
        if world.isTwin(on: timeline) {
            return clone(world, "our timeline \(timeline) was made again in another term", facts)
        }
        let wasPrimary: Bool
        switch control.state {
        case .shutDown, .shuttingDown, .inCrashRecovery, .inProduction, .startingUp, .unrecognized: wasPrimary = true
        case .shutDownInRecovery, .inArchiveRecovery: wasPrimary = false
        }
        guard let theirs = world.leaderTimeline else {
            if !wasPrimary { return start(world, "rejoin.start", facts) }
            return .wait("rejoin.wait", "waiting until \(leader.name) shows its timeline before rejoining", facts)
        }
        if world.divergedFrom == leader.fence {
            return diverged(world, "our data was seen not to be the leader's past", facts)
        }
        if timeline > theirs {
            return diverged(world, "our timeline \(timeline) is not the leader's past", facts)
        }
        if timeline == theirs { return start(world, "rejoin.start", facts) }
        let isRewound = world.rewoundTo == leader.fence
        if world.isOrphan(timeline), !isRewound {
            return diverged(world, "our timeline \(timeline) is not in the leader's history", facts)
        }
        guard let end = world.end(of: timeline) else {
            if !wasPrimary || isRewound { return start(world, "rejoin.start", facts) }
            // The leader writes the history right after its promotion; without it only pg_rewind can tell.
            if world.now - world.leaderSince < historyPatience {
                return .wait(
                    "rejoin.waitHistory", "waiting until \(leader.name) has recorded where our timeline ended", facts)
            }
            return diverged(world, "where our timeline ended is not known", facts)
        }
        if wasPrimary {
            if isRewound { return start(world, "rejoin.start", facts) }
            // The shutdown checkpoint is the last record of a clean stop: a successor that went on behind it has it whole.
            if control.state == .shutDown, control.checkpoint < end { return start(world, "rejoin.clean", facts) }
            return diverged(
                world,
                control.state == .shutDown
                    ? "our last record is not the leader's past"
                    : "we crashed as a primary of timeline \(timeline)",
                facts)
        }
        if control.minimumRecoveryEnd > end {
            return diverged(world, "we replayed beyond the end of timeline \(timeline)", facts)
        }
        return start(world, "rejoin.start", facts)
    }

    static func follow(_ world: World) -> Verdict? {
        guard let view = world.view, let leader = view.leader, leader.name != world.me, world.isServerUp else {
            return nil
        }
        if world.stopForClone, world.needsClone != nil {
            return Verdict(
                "reinitialize.stop", .action, "stopping PostgreSQL to copy its data anew",
                [Fact("why", world.needsClone)], .startJob(.stop(.fast)))
        }
        guard let sample = world.sample else {
            // A standby that is short of what it had replayed before answers nobody until it has got it from the leader.
            if !world.isPaused, !world.mayAcknowledge, world.upstream != nil, let wanted = world.wantedUpstream,
                !isSame(world.upstream, wanted), world.now >= world.nextJobAt
            {
                return Verdict(
                    "follow.upstream", .action, "following \(wanted.name)",
                    [Fact("leader", leader.name), Fact("upstream", wanted.name)], .startJob(.follow(wanted)))
            }
            return .wait("postgres.noAnswer", "PostgreSQL runs and does not answer yet")
        }
        let prefix = world.isPaused ? "PAUSE: " : ""
        if !sample.isInRecovery {
            if world.isPaused {
                return Verdict(
                    "pause.secondPrimary", .warning, "PAUSE: a primary without the leader entry is left alone in pause",
                    [Fact("leader", leader.name)])
            }
            return Verdict(
                "follow.demote", .warning, "\(leader.name) holds the leader entry: stopping our primary at once",
                [Fact("leader", leader.name)], .stopServer(.immediate))
        }
        let facts = [
            Fact("leader", leader.name), Fact("leader_timeline", world.leaderTimeline),
            Fact("timeline", sample.timeline), Fact("position", sample.position),
        ]
        if !world.isPaused, world.isTwin(on: sample.timeline) {
            return Verdict(
                "follow.twin", .warning,
                "our timeline \(sample.timeline) was made again in another term: stopping to be copied anew", facts,
                .stopDiverged(leader.fence))
        }
        if !world.isPaused, let theirs = world.leaderTimeline {
            if sample.timeline > theirs {
                return Verdict(
                    "follow.diverged", .warning, "our timeline is not the leader's past: stopping to rejoin", facts,
                    .stopDiverged(leader.fence))
            }
            if world.isHistoryDifferent {
                return Verdict(
                    "follow.diverged", .warning, "our timeline \(sample.timeline) has another past than the cluster's",
                    facts, .stopDiverged(leader.fence))
            }
            if world.isOrphan(sample.timeline) {
                return Verdict(
                    "follow.diverged", .warning, "our timeline \(sample.timeline) is not in the leader's history",
                    facts, .stopDiverged(leader.fence))
            }
            // A standby never has more than the primary it follows.
            if sample.timeline == theirs, let since = world.notStreamingSince,
                world.now - since >= divergencePatience, let peer = world.peers[leader.name], peer.askedAt >= since,
                peer.timeline == theirs, let position = peer.position, let replayed = sample.replayLSN,
                replayed > position
            {
                return Verdict(
                    "follow.diverged", .warning, "our WAL goes beyond the leader's: stopping to rejoin",
                    facts + [Fact("leader_position", position)], .stopDiverged(leader.fence))
            }
            // Received is not replayed: what was not, is left behind at the switch of the timeline.
            // A standby whose receiver has just ended may stand on a newer timeline than it can tell; one that cannot
            // stream for this long has another reason.
            if sample.timeline < theirs, let since = world.notStreamingSince,
                world.now - since >= divergencePatience, let end = world.end(of: sample.timeline),
                (sample.replayLSN ?? sample.position) > end
            {
                return Verdict(
                    "follow.diverged", .warning, "our WAL goes beyond the end of our timeline: stopping to rejoin",
                    facts + [Fact("timeline_end", end)], .stopDiverged(leader.fence))
            }
        }
        if !world.isPaused {
            let wanted = world.wantedUpstream
            if let wanted, !isSame(world.upstream, wanted) {
                if world.now < world.nextJobAt { return .wait("job.backoff", "waiting before the next try") }
                return Verdict(
                    "follow.upstream", .action, "following \(wanted.name)",
                    facts + [Fact("upstream", wanted.name)], .startJob(.follow(wanted)))
            }
        }
        if sample.receiver?.status == "streaming" {
            return .wait(
                "follow.streaming",
                "\(prefix)no action. I am (\(world.me)), a secondary, and following a leader (\(leader.name))",
                [Fact("leader", leader.name)])
        }
        return .wait(
            "follow.notStreaming", "\(prefix)a secondary that does not stream from \(leader.name) yet",
            [Fact("leader", leader.name)])
    }

    static func isSame(_ current: UpstreamTarget??, _ wanted: UpstreamTarget) -> Bool {
        guard case .some(.some(let current)) = current else { return false }
        return current.name == wanted.name && current.connURL == wanted.connURL
    }

    private static func start(_ world: World, _ rule: RuleCode, _ facts: [Fact]) -> Verdict {
        let upstream = world.wantedUpstream
        return Verdict(
            rule, .action, "starting as a standby of \(upstream?.name ?? "nobody")", facts,
            .startJob(.start(.standby(upstream))))
    }

    private static func diverged(_ world: World, _ why: String, _ facts: [Fact]) -> Verdict {
        let told = facts + [Fact("why", why)]
        guard let target = world.leaderTarget, let leader = world.view?.leader else {
            return .wait("rejoin.wait", "diverged: waiting until the leader can be reached", told)
        }
        guard let theirs = world.leaderTimeline else {
            return .wait("rejoin.wait", "diverged: waiting until \(leader.name) shows its timeline", told)
        }
        if world.view?.member(leader.name)?.checkpointAfterPromote == false {
            return .wait(
                "rejoin.waitCheckpoint", "diverged: waiting for the checkpoint of \(leader.name) after its promotion",
                told + [Fact("leader_timeline", theirs)])
        }
        if world.rewoundTo == leader.fence {
            return clone(world, "rewinding did not help: \(why)", facts)
        }
        if world.settings.usesRewind {
            return Verdict(
                "rejoin.rewind", .action, "rewinding to \(leader.name): \(why)", told, .startJob(.rewind(target)))
        }
        return clone(world, why, facts)
    }

    private static func clone(_ world: World, _ why: String, _ facts: [Fact]) -> Verdict {
        let told = facts + [Fact("why", why)]
        guard let target = BootstrapRules.cloneSource(world) else {
            return .wait("rejoin.wait", "to be copied anew: waiting until the leader can be copied from", told)
        }
        return Verdict(
            "rejoin.clone", .warning, "copying the data of \(target.name) anew beside the old: \(why)", told,
            .startJob(.clone(target, reason: why)))
    }
}
