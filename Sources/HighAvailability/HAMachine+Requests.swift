import ClusterModel

extension HAMachine {
    mutating func answer(_ id: RequestID, _ answer: OperatorAnswer) {
        emit(.answer(id, answer))
        world.pending.removeAll { $0.id == id }
    }

    mutating func absorb(request id: RequestID, _ request: OperatorRequest) {
        switch request {
        case .switchover(let leader, let candidate, let scheduledAt):
            if leader == nil {
                emit(
                    .answer(
                        id, OperatorAnswer(.badRequest, "Switchover could be performed only from a specific leader")))
                return
            }
            ask(id, request, FailoverRequest(leader: leader, candidate: candidate, scheduledAt: scheduledAt))
        case .failover(let candidate):
            guard candidate != nil else {
                emit(
                    .answer(id, OperatorAnswer(.badRequest, "Failover could be performed only to a specific candidate"))
                )
                return
            }
            ask(id, request, FailoverRequest(candidate: candidate))
        case .cancelSwitchover:
            guard let view = world.view, view.failover?.scheduledAt != nil else {
                emit(.answer(id, OperatorAnswer(.notFound, "no switchover is scheduled")))
                return
            }
            var pending = pendingRequest(id, request)
            pending.commit = commit(
                ClusterChange(if: [.failoverVersion(view.failoverVersion)], [.putFailover(nil)]), "request")
            world.pending.append(pending)
        case .restart(let restart):
            absorb(restart: id, request, restart)
        case .cancelRestart:
            if world.scheduledRestart == nil {
                emit(.answer(id, OperatorAnswer(.notFound, "no restarts are scheduled")))
            } else {
                world.scheduledRestart = nil
                world.publishedMember = nil
                emit(.answer(id, OperatorAnswer(.done, "scheduled restart deleted")))
            }
        case .reinitialize(let force, _):
            absorb(reinitialize: id, force: force)
        case .patchConfiguration(let patch):
            guard let view = world.view, let configuration = view.configuration else {
                emit(.answer(id, OperatorAnswer(.unavailable, "the dynamic configuration is not available")))
                return
            }
            let merged = configuration.merging(patch)
            var pending = pendingRequest(id, request)
            pending.document = .object(merged)
            if JSONValue.object(merged).isLooselyEqual(to: .object(configuration)) {
                emit(.answer(id, OperatorAnswer(.done, "", document: .object(configuration))))
                return
            }
            pending.commit = commit(
                ClusterChange(
                    if: [.configurationVersion(view.configurationVersion)], [.putConfiguration(merged)]), "request")
            world.pending.append(pending)
        case .migrate(let migration): absorb(migrate: id, migration)
        case .replaceConfiguration(let document):
            var pending = pendingRequest(id, request)
            pending.document = .object(document)
            pending.commit = commit(
                ClusterChange(
                    if: world.view.map { [.configurationVersion($0.configurationVersion)] } ?? [],
                    [.putConfiguration(document)]), "request")
            world.pending.append(pending)
        }
    }

    func pendingRequest(_ id: RequestID, _ request: OperatorRequest) -> PendingRequest {
        let patience = max(.seconds(10), world.settings.loopWait) * 2
        return PendingRequest(
            id: id, request: request, deadline: world.now + patience, leader: world.view?.leader?.name)
    }

    func describe(_ request: OperatorRequest) -> [Fact] {
        switch request {
        case .switchover(let leader, let candidate, let at):
            [Fact("from", leader), Fact("to", candidate), Fact("at", at?.iso8601())]
        case .failover(let candidate): [Fact("to", candidate)]
        default: []
        }
    }

    /// Checks a switchover or failover against what is known now, then writes it for the leader to carry out.
    private mutating func ask(_ id: RequestID, _ request: OperatorRequest, _ wanted: FailoverRequest) {
        func refuse(_ code: OperatorAnswer.Code, _ text: String) {
            record("operator.refused", .action, text)
            emit(.answer(id, OperatorAnswer(code, text)))
        }
        let word = wanted.isSwitchover ? "Switchover" : "Failover"
        guard let view = world.view, world.sessionFacts != nil else {
            return refuse(.unavailable, "\(word) failed: the store is not available")
        }
        if wanted.scheduledAt != nil {
            if world.isPaused { return refuse(.badRequest, "Can't schedule switchover in the paused state") }
            if !wanted.isSwitchover { return refuse(.badRequest, "Failover can't be scheduled") }
        }
        if world.isPaused, wanted.candidate == nil {
            return refuse(.badRequest, "\(word) is possible only to a specific candidate in a paused state")
        }
        if let leader = wanted.leader, leader == wanted.candidate {
            return refuse(.badRequest, "Switchover target and source are the same")
        }
        if wanted.scheduledAt == nil {
            if let leader = wanted.leader, view.leader?.name != leader {
                return refuse(.conditionsNotMet, "leader name does not match")
            }
            if let candidate = wanted.candidate, view.member(candidate) == nil {
                return refuse(.conditionsNotMet, "candidate does not exists")
            }
            if wanted.candidate != nil, wanted.candidate == view.leader?.name {
                return refuse(.conditionsNotMet, "\(wanted.candidate ?? "") is the leader already")
            }
            let others = view.members.filter { $0.name != view.leader?.name }
            if others.isEmpty {
                return refuse(
                    .conditionsNotMet,
                    "\(word.lowercased()) is not possible: cluster does not have members except leader")
            }
            let considered = others.filter { wanted.candidate == nil || $0.name == wanted.candidate }
            let isHopeless = considered.allSatisfy { member in
                member.tags.isNoFailover || world.silentPeers[member.name] != nil && member.name != world.me
            }
            if isHopeless {
                return refuse(
                    .conditionsNotMet, "\(word.lowercased()) is not possible: no good candidates have been found")
            }
        }
        var pending = pendingRequest(id, request)
        pending.commit = commit(
            ClusterChange(if: [.failoverVersion(view.failoverVersion)], [.putFailover(wanted)]), "request")
        world.pending.append(pending)
    }

    private mutating func absorb(restart id: RequestID, _ request: OperatorRequest, _ restart: RestartRequest) {
        if let at = restart.scheduledAt {
            if world.isPaused {
                emit(.answer(id, OperatorAnswer(.failed, "Can't schedule restart in the paused state")))
            } else if world.scheduledRestart != nil {
                emit(.answer(id, OperatorAnswer(.conflict, "Another restart is already scheduled")))
            } else {
                world.scheduledRestart = restart
                world.scheduledRestartStart = world.sample?.postmasterStartTime
                world.publishedMember = nil
                emit(.answer(id, OperatorAnswer(.accepted, "Restart scheduled for \(at.iso8601())")))
            }
            return
        }
        if let why = RestartRules.conditions(restart, world) {
            emit(.answer(id, OperatorAnswer(.unavailable, "restart conditions are not satisfied: \(why)")))
            return
        }
        if let job = world.job {
            emit(.answer(id, OperatorAnswer(.unavailable, "\(job.job.name) already in progress")))
            return
        }
        guard world.isServerUp, world.sample != nil else {
            emit(.answer(id, OperatorAnswer(.unavailable, "PostgreSQL is still starting, or down")))
            return
        }
        var pending = pendingRequest(id, request)
        pending.deadline = world.now + max(restart.timeout ?? .zero, world.settings.primaryStartTimeout, .seconds(60))
        world.pending.append(pending)
    }

    private mutating func absorb(reinitialize id: RequestID, force: Bool) {
        guard let leader = world.view?.leader else {
            emit(.answer(id, OperatorAnswer(.unavailable, "Cluster has no leader, can not reinitialize")))
            return
        }
        if leader.name == world.me {
            emit(.answer(id, OperatorAnswer(.unavailable, "I am the leader, can not reinitialize")))
            return
        }
        if let job = world.job, !force {
            emit(.answer(id, OperatorAnswer(.unavailable, "\(job.job.name) already in progress")))
            return
        }
        if let job = world.job, !job.isCancelling {
            world.job?.isCancelling = true
            emit(.cancelJob(job.id))
        }
        world.needsClone = "an operator asked for it"
        world.stopForClone = true
        world.nextJobAt = .distantPast
        emit(.answer(id, OperatorAnswer(.done, "reinitialize started")))
    }

    // MARK: - Waiting requests

    mutating func settleRequests(commit id: EffectID, _ outcome: ChangeOutcome) {
        guard let index = world.pending.firstIndex(where: { $0.commit == id }) else { return }
        let pending = world.pending[index]
        world.pending[index].commit = nil
        switch outcome {
        case .committed:
            world.pending[index].writtenAt = world.now
            switch pending.request {
            case .patchConfiguration, .replaceConfiguration:
                answer(pending.id, OperatorAnswer(.done, "", document: pending.document))
            case .cancelSwitchover:
                answer(pending.id, OperatorAnswer(.done, "scheduled switchover deleted"))
            case .switchover(_, _, .some):
                answer(pending.id, OperatorAnswer(.accepted, "Switchover scheduled"))
            default: break
            }
        case .refused:
            switch pending.request {
            case .patchConfiguration, .replaceConfiguration, .cancelSwitchover:
                answer(pending.id, OperatorAnswer(.conflict, "somebody else changed it at the same moment: try again"))
            default:
                answer(pending.id, OperatorAnswer(.unavailable, "failed to write failover key into DCS"))
            }
        case .notSent(let why), .unknown(let why):
            let code: OperatorAnswer.Code =
                if case .replaceConfiguration = pending.request { .storeFailed } else { .unavailable }
            var text = "the store did not take it: \(why)"
            if case .unknown = outcome { text = "whether the store took it is not known: \(why)" }
            answer(pending.id, OperatorAnswer(code, text))
        }
    }

    /// Ends the switchovers and failovers that are waited for: a new leader, an emptied request, or no more patience.
    mutating func keepRequests() {
        for pending in world.deferred {
            if world.now >= pending.deadline {
                world.deferred.removeAll { $0.id == pending.id }
                answer(pending.id, OperatorAnswer(.unavailable, "\(pending.request.name): the store does not answer"))
            } else {
                wake(at: pending.deadline)
            }
        }
        for pending in world.pending {
            switch pending.request {
            case .switchover(_, let candidate, nil), .failover(let candidate):
                guard let writtenAt = pending.writtenAt else { break }
                let isFailover = if case .failover = pending.request { true } else { false }
                if let view = world.view, view.requestedAt >= writtenAt, view.failover == nil, world.handover == nil,
                    view.leader != nil, view.leader?.name == pending.leader
                {
                    answer(pending.id, OperatorAnswer(.unavailable, "Switchover failed"))
                    continue
                }
                if let leader = world.view?.leader?.name, leader != pending.leader {
                    let member = world.view?.member(leader)
                    let isWritable =
                        world.peers[leader]?.isInRecovery == false || member?.role == .primary
                        || leader == world.me && world.isRunningPrimary
                    guard isWritable || pending.deadline <= world.now else {
                        world.readWanted = world.readWanted || world.now - world.storeLastSeenAt > .milliseconds(200)
                        wake(at: world.now + .milliseconds(100))
                        break
                    }
                    let verb = isFailover ? "failed over" : "switched over"
                    let text =
                        candidate == nil || candidate == leader
                        ? "Successfully \(verb) to \"\(leader)\""
                        : "Switched over to \"\(leader)\" instead of \"\(candidate ?? "")\""
                    answer(pending.id, OperatorAnswer(.done, text))
                    continue
                }
            default: break
            }
            if world.now >= pending.deadline {
                answer(
                    pending.id,
                    OperatorAnswer(.unavailable, "\(pending.request.name) status unknown: it was not done in time"))
            } else {
                wake(at: pending.deadline)
            }
        }
        attachRestart()
        if let scheduled = world.scheduledRestart, let at = scheduled.scheduledAt,
            RestartRules.isStale(scheduled, world)
        {
            record(
                "restart.dropped", .warning,
                "dropping a scheduled restart: its time has passed, or the server restarted",
                [Fact("scheduled_at", at.iso8601()), Fact("conditions", RestartRules.conditions(scheduled, world))])
            world.scheduledRestart = nil
            world.scheduledRestartStart = nil
            world.publishedMember = nil
        }
    }

    /// A restart that a rule began answers the request that asked for it.
    private mutating func attachRestart() {
        guard let job = world.job, case .restart = job.job else { return }
        if let index = world.pending.firstIndex(where: { RestartRules.isRestart($0) }) {
            world.pending[index].job = job.id
        } else if world.scheduledRestart != nil {
            world.scheduledRestart = nil
        }
    }

    /// A hand-over that did not happen: whoever asked for it is told.
    mutating func settle(_ handover: Handover, _ answer: OperatorAnswer) {
        guard handover.request != nil else { return }
        settleSwitchover(answer)
    }

    mutating func settleSwitchover(_ answer: OperatorAnswer) {
        for pending in world.pending where pending.writtenAt != nil {
            switch pending.request {
            case .switchover(_, _, nil), .failover: self.answer(pending.id, answer)
            default: break
            }
        }
    }
}
