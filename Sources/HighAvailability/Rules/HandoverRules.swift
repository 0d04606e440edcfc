import ClusterModel

/// A planned change of leader: check, checkpoint, stop, confirm, release.
enum HandoverRules {
    /// How long candidates are given to answer the check.
    static let choosingLimit: Duration = .seconds(2)
    /// How long the checkpoint before the stop may take; a longer one is left behind.
    static let checkpointLimit: Duration = .seconds(60)
    /// How long a candidate is waited for once PostgreSQL is silent.
    static let confirmingLimit: Duration = .seconds(3)
    static let askInterval: Duration = .milliseconds(20)
    /// The same after the first moments: a candidate that does not answer is not flooded.
    static let laterAskInterval: Duration = .milliseconds(200)

    /// A request in the store that concerns us as the leader.
    static func request(_ world: World, _ request: FailoverRequest) -> Verdict? {
        if let scheduled = request.scheduledAt {
            let late = world.wall - scheduled
            if late < .zero {
                return nil
            }
            if late > world.settings.loopWait * 3 / 2 + .seconds(1) {
                return Verdict(
                    "switchover.stale", .warning, "dropping a scheduled switchover whose time has passed",
                    [Fact("scheduled_at", request.scheduledText)], .clearFailover("its time has passed"))
            }
        }
        let facts = [Fact("from", request.leader), Fact("to", request.candidate)]
        if let leader = request.leader, leader != world.me {
            return Verdict(
                "switchover.notLeader", .warning, "dropping a switchover from \(leader), who does not lead", facts,
                .clearFailover("\(leader) is not the leader"))
        }
        if request.candidate == world.me {
            return Verdict(
                "switchover.toItself", .warning, "dropping a request for the leader itself", facts,
                .clearFailover("the candidate leads already"))
        }
        return Verdict(
            "switchover.begin", .action, "switchover: asking the candidates", facts,
            .beginHandover(candidate: request.candidate, isLeaving: false, request: request))
    }

    static func steps(_ world: World) -> Verdict? {
        guard let handover = world.handover else { return nil }
        var facts = [Fact("to", handover.candidate), Fact("leaving", .bool(handover.isLeaving))]
        switch handover.phase {
        case .choosing(let since):
            guard world.term != nil else {
                return Verdict(
                    "switchover.leaseLost", .warning, "the lease was lost before the hand-over", facts,
                    .cancelHandover("the lease was lost"))
            }
            let wanted = world.otherMembers.filter { handover.candidate == nil || $0.name == handover.candidate }
            let unheard = wanted.filter { member in
                member.apiURL != nil && (world.peers[member.name]?.askedAt ?? .distantPast) < since
                    && (world.silentSince[member.name] ?? .distantPast) < since
            }
            if !unheard.isEmpty, world.now - since < choosingLimit {
                return .wait("switchover.asking", "waiting for the candidates' answers", facts)
            }
            let (fit, reasons) = candidates(world, handover, since)
            facts.append(Fact("candidates", .array(fit.map(JSONValue.string))))
            if !reasons.isEmpty {
                facts.append(Fact("refused", .object(JSONObject(reasons.map { ($0.0, .string($0.1)) }))))
            }
            if fit.isEmpty {
                if handover.isLeaving {
                    return Verdict(
                        "stop.noSuccessor", .action, "nobody can take over: stopping PostgreSQL", facts, .handOver([]))
                }
                return Verdict(
                    "switchover.noCandidate", .warning, "switchover refused: no candidate can take over", facts,
                    .cancelHandover(
                        "no candidate can take over" + (reasons.isEmpty ? "" : ": ")
                            + reasons.map { "\($0.0): \($0.1)" }.joined(separator: "; ")))
            }
            return Verdict("switchover.handOver", .action, "switchover: a checkpoint first", facts, .handOver(fit))
        case .checkpointing(_, let since):
            facts.append(Fact("since_ms", milliseconds: world.now - since))
            if world.now - since > checkpointLimit {
                return Verdict(
                    "switchover.stop", .action,
                    "switchover: stopping PostgreSQL without waiting longer for the checkpoint",
                    Array(facts.dropLast()), .stopForHandover)
            }
            return .wait("switchover.checkpoint", "waiting for the checkpoint before the stop", Array(facts.dropLast()))
        case .stopping:
            if let control = world.control, world.job == nil, !world.mayAcknowledge {
                facts += [Fact("state", control.state.rawValue), Fact("final", control.checkpoint)]
                if control.state != .shutDown {
                    return Verdict(
                        "switchover.notClean", .warning, "PostgreSQL did not stop cleanly: releasing the leader entry",
                        facts, .releaseToCandidate(control.checkpoint))
                }
                return Verdict(
                    "switchover.confirm", .action, "silent: waiting until the candidate has the last position", facts,
                    .confirmHandover(control.checkpoint))
            }
            if world.job == nil, world.isServerUp {
                // The stop failed; the guard's deadline stands, and until then it is asked again.
                return Verdict(
                    "switchover.stopHarder", .warning, "PostgreSQL did not stop: stopping it at once", facts,
                    .stopServer(.immediate))
            }
            if world.job == nil, world.dataDirectory != nil, !world.mayAcknowledge {
                return Verdict(
                    "switchover.noData", .warning, "PostgreSQL is down and its data unreadable: releasing", facts,
                    .release)
            }
            return .wait("switchover.stopping", "waiting until PostgreSQL is silent", facts)
        case .confirming(let final, let since, let askedAt):
            facts.append(Fact("final", final))
            let ready = handover.candidates.first { name in
                guard let peer = world.peers[name], let position = peer.position else { return false }
                // The position must lie behind the shutdown checkpoint's start: then its record was received whole.
                return position > final
            }
            if let ready {
                return Verdict(
                    "switchover.release", .action, "\(ready) has everything: releasing the leader entry",
                    facts + [Fact("confirmed", ready), Fact("its_position", world.peers[ready]?.position)],
                    .releaseToCandidate(final))
            }
            if handover.candidates.isEmpty || world.now - since > confirmingLimit {
                return Verdict(
                    "switchover.releaseUnconfirmed", .warning,
                    "no candidate confirmed the last position: whoever has it may take the lead", facts,
                    .releaseToCandidate(final))
            }
            if world.now - askedAt >= (world.now - since < .milliseconds(300) ? askInterval : laterAskInterval) {
                return Verdict(
                    "switchover.confirming", .routine, "waiting until the candidate has the last position", facts,
                    .askCandidate)
            }
            return .wait("switchover.confirming", "waiting until the candidate has the last position", facts)
        case .releasing:
            return .wait("switchover.releasing", "releasing the leader entry", facts)
        }
    }

    /// Who could take over now, and why the others could not.
    static func candidates(_ world: World, _ handover: Handover, _ since: Instant) -> ([String], [(String, String)]) {
        var fit: [(name: String, position: LSN)] = []
        var reasons: [(String, String)] = []
        let members = world.otherMembers.filter { handover.candidate == nil || $0.name == handover.candidate }
        if members.isEmpty, let name = handover.candidate { reasons.append((name, "no such member")) }
        for member in members {
            guard let peer = world.peers[member.name], peer.askedAt >= since else {
                reasons.append((member.name, "does not answer"))
                continue
            }
            if peer.tags.isNoFailover {
                reasons.append((member.name, "its tags forbid it"))
            } else if peer.watchdogFailed {
                reasons.append((member.name, "its watchdog failed"))
            } else if peer.state != .running || peer.isInRecovery != true {
                reasons.append((member.name, "its PostgreSQL is no running standby"))
            } else if let ours = world.sample?.timeline, let theirs = peer.timeline, theirs < ours {
                reasons.append((member.name, "it is on timeline \(theirs), we are on \(ours)"))
            } else if let position = peer.position, let ours = world.position {
                let lag = ours.bytes(aheadOf: position)
                if lag > world.settings.maximumLagOnFailover {
                    reasons.append((member.name, "it is \(lag) bytes behind"))
                } else if !(world.view?.sync.admits(member.name) ?? true) {
                    reasons.append((member.name, "the synchronous state does not name it"))
                } else {
                    fit.append((member.name, position))
                }
            } else {
                reasons.append((member.name, "its position is not known"))
            }
        }
        return (fit.sorted { ($0.position, $1.name) > ($1.position, $0.name) }.map(\.name), reasons)
    }
}
