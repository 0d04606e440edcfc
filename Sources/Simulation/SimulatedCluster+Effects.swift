import ClusterModel
import HighAvailability

/// What the runtime would do with the effects.
extension SimulatedCluster {
    func begin(_ node: SimulatedMember, _ effect: Effect) {
        node.counts[effect.kind, default: 0] += 1
        if let id = effect.identifier, !node.ids.insert(id).inserted {
            complain("\(node.name): \(effect) uses an id again")
        }
        let mishap = self.fault?(node, effect)
        if case .crashBefore? = mishap { return crash(node) }
        carryOut(node, effect, mishap)
        if case .crashAfter? = mishap { crash(node) }
    }

    private func crash(_ node: SimulatedMember) {
        tally["crashes at an effect", default: 0] += 1
        killAgent(node)
        restartLater(node)
    }

    /// A supervisor starts what ended by itself.
    func restartLater(_ node: SimulatedMember) {
        guard node.isSupervised else { return }
        let resume = random.percent(70)
        after(.milliseconds(200) + random.duration(upTo: .seconds(2))) { [unowned self, unowned node] in
            guard node.machine == nil, !node.isHostDown, node.isSupervised else { return }
            self.start(node, resume: resume)
        }
    }

    private func carryOut(_ node: SimulatedMember, _ effect: Effect, _ fault: Mishap?) {
        switch effect {
        case .openSession(let id, _, let resume): openSession(node, id, resume)
        case .closeSession(let abandon):
            if !abandon, let session = node.session, node.storeReachable, !isStoreStopped {
                if store.end(session) { signalAll() }
            }
            node.session = nil
        case .read(let id, let scope): read(node, id, scope, fault)
        case .commit(let id, let change):
            let name = node.name
            let isSeen = change.writes.contains { store.model.tells($0) }
            let known = node.machine?.world.newestFence ?? .none
            commit(
                node, fault, isSeen,
                { [unowned self] in
                    let isAcquire = change.writes.contains { if case .acquireLeader = $0 { true } else { false } }
                    let before = self.store.failover?.value
                    let outcome = self.store.commit(change, name: name, session: $0, at: self.now)
                    if isAcquire, case .committed = outcome { self.acquired(node, before, known) }
                    return outcome
                }, { .committed(id, $0) })
        case .release(let id):
            if node.canAcknowledge { complain("\(node.name): release while writable") }
            commit(
                node, fault, true,
                { [unowned self] session in session.map { self.store.release($0) } ?? .notSent("no session") },
                { .released(id, $0) })
        case .renew(let id, let holding, let within): renew(node, id, holding, within, fault)
        case .arm(let fence, let deadlines): arm(node, fence, deadlines)
        case .endTerm: endTerm(node)
        case .posture(let posture): setPosture(node, posture)
        case .stopServer(let mode): stopServer(node, mode)
        case .startJob(let id, let job): startJob(node, id, job, fault)
        case .cancelJob(let id): cancelJob(node, id)
        case .sample: sample(node, fault)
        case .queryPeers(let peers, let within): query(node, peers, within)
        case .watchPeers(let peers):
            let fresh = Set(peers.map(\.name)).subtracting(node.watches)
            node.watches = Set(peers.map(\.name))
            query(node, peers.filter { fresh.contains($0.name) }, .seconds(2))
        case .persistMarker(let id, let marker):
            let instance = node.instance
            after(.milliseconds(3)) { [unowned self, unowned node] in
                guard node.instance == instance else { return }
                node.marker = marker
                self.deliverInOrder(node, .persisted(id, succeeded: true))
            }
        case .persistGrant(let id, let record): persist(node, id, record, fault)
        case .requestGrants(let id, let peers, let request, let within):
            requestGrants(node, id, peers, request, within)
        case .answerGrant(let id, let answer): answerGrant(node, id, answer)
        case .checkpoint(let id):
            let isUp = node.postgres.run?.isReady == true && !node.isServerFrozen
            let started = node.postgres.run?.started
            after(.milliseconds(20)) { [unowned node] in
                guard isUp, node.postgres.run?.started == started else { return }
                node.postgres.controlTimeline = node.postgres.branch.timeline
            }
            deliverInOrder(node, .checkpointed(id, succeeded: isUp), after: .milliseconds(21))
        case .readHistory(let id):
            deliver(node, .localHistory(id, node.postgres.history), after: .milliseconds(2))
        case .callback(let action, let role, _): node.callbacks.append("\(action.rawValue) \(role.rawValue)")
        case .answer(let id, let answer):
            node.answers[id, default: []].append(answer)
            if node.answers[id, default: []].count > 1 { complain("\(node.name): request answered twice") }
            open[id] = nil
        case .probeDuplicate(let url):
            let other = all.first { $0.apiURL == url && $0 !== node }
            let isAlive =
                other.map { $0.machine != nil && reachable(node, $0) } ?? aliens.keys.contains { url.contains($0) }
            deliver(node, .duplicateProbed(isAlive: isAlive), after: .milliseconds(10))
        case .exit(let code, let text):
            node.exit = (code, text)
            killAgent(node)
            if code != 0 || isHealed { restartLater(node) }
        // Without its agent a server outside of pause is stopped by the guard in the end; here the exit stops it.
        }
    }

    /// The leader entry is this member's now: how much it may have missed is settled at this moment.
    private func acquired(_ node: SimulatedMember, _ request: FailoverRequest?, _ known: Fence) {
        let terms = store.terms.suffix(2).map(\.fence)
        // Who has not heard of it before the store lost it, or lost the memory on its own disk, cannot know.
        if terms.count == 2, terms[1] <= terms[0], known >= terms[0] || exchangedAt == .distantPast {
            complain("\(node.name): the term \(terms[1]) comes after \(terms[0])")
        }
        let isNamed = request?.candidate == node.name
        let isPaused = store.configuration?.value["pause"]?.bool == true
        node.boundAtAcquisition =
            isNamed || isPaused || node.postgres.run?.isPrimary == true
            ? nil
            : store.status?.value.optime.map {
                LSN($0.bytes - min($0.bytes, node.settings.maximumLagOnFailover))
            }
    }

    private func sample(_ node: SimulatedMember, _ fault: Mishap?) {
        var delay: Duration = .milliseconds(2)
        if case .late(let more)? = fault { delay = more }
        guard !node.isServerFrozen else {
            deliver(node, .sampleFailed("it does not answer"), after: .seconds(1))
            return
        }
        var sample = node.postgres.sample(at: now, upstream: nil)
        sample?.takenAt = node.local(now)
        deliver(node, sample.map(Event.sample) ?? .sampleFailed("it does not answer"), after: delay)
    }

    // MARK: - Store

    private func answers(_ node: SimulatedMember) -> Bool { node.storeReachable && !isStoreStopped }

    private func openSession(_ node: SimulatedMember, _ id: EffectID, _ resume: Bool) {
        guard answers(node) else {
            deliver(node, .sessionFailed(id, "no server answers"), after: .milliseconds(500))
            return
        }
        let instance = node.instance
        after(storeDelay) { [unowned self, unowned node] in
            guard node.instance == instance else { return }
            guard self.answers(node), node.machine != nil else {
                self.deliver(node, .sessionFailed(id, "no server answers"))
                return
            }
            var isResumed = false
            if resume, let session = node.session, self.store.sessions[session] != nil,
                self.store.touch(session, at: self.now)
            {
                isResumed = true
            } else {
                node.session = self.store.open(lifetime: self.ttl, at: self.now)
            }
            node.connection += 1
            node.proofs = []
            self.beat(node, node.instance, node.session)
            let isBehind = node.isViaFollower
            self.deliver(
                node,
                .sessionOpened(
                    id,
                    SessionFacts(
                        id: node.session ?? SessionID(""), granted: self.ttl,
                        renewalInterval: isBehind ? self.ttl / 6 : self.ttl / 4, isResumed: isResumed,
                        needsIdleRenewal: !self.store.model.beatsByItself, intervalsBehind: isBehind ? 2 : 0)),
                after: .milliseconds(1))
        }
    }

    /// The store's clock is looked at when a session may end, whatever else happens.
    private func touch(_ session: SessionID) -> Bool {
        guard store.touch(session, at: now) else { return false }
        if let end = store.sessions[session]?.expiresAt { at(end) {} }
        return true
    }

    /// The client library's own heartbeats keep the session, as long as the process runs and the store is reached.
    private func beat(_ node: SimulatedMember, _ instance: Int, _ session: SessionID?) {
        guard let session, node.instance == instance, node.session == session, !node.isHostDown else { return }
        if answers(node), !node.isFrozen, !node.isHostPaused {
            guard store.sessions[session] != nil else {
                node.session = nil
                deliver(node, .sessionLost("it expired"))
                return
            }
            if store.model.beatsByItself { _ = touch(session) }
        }
        if let next = store.sessions[session]?.expiresAt { at(next) {} }
        after(ttl / 3) { [unowned self, unowned node] in self.beat(node, instance, session) }
    }

    private func read(_ node: SimulatedMember, _ id: EffectID, _ scope: ReadScope, _ fault: Mishap?) {
        let asked = node.local(now)
        guard answers(node), node.session != nil else {
            deliver(node, .viewFailed(id, "no server answers"), after: .milliseconds(200))
            return
        }
        var back = storeDelay / 2 + node.answersLate
        switch fault {
        case .late(let delay)?: back = back + delay
        case .answerLost?, .lost?, .notSent?:
            deliver(node, .viewFailed(id, "timed out"), after: .seconds(1))
            return
        case .crashBefore?, .crashAfter?, nil: break
        }
        after(storeDelay / 2) { [unowned self, unowned node] in
            guard self.answers(node) else {
                self.deliver(node, .viewFailed(id, "timed out"), after: .seconds(1))
                return
            }
            if self.store.expire(at: self.now) { self.expired() }
            node.knownEra = max(node.knownEra, self.store.era)
            let view = self.store.view(at: asked, known: node.knownEra)
            if let configuration = view.configuration { node.cachedConfiguration = configuration }
            if case .glimpse = scope {
                self.deliver(node, .glimpse(id, view.glimpse), after: back)
            } else {
                self.deliver(node, .view(id, view), after: back)
            }
        }
    }

    private func commit(
        _ node: SimulatedMember, _ fault: Mishap?, _ isSeen: Bool, _ apply: @escaping (SessionID?) -> ChangeOutcome,
        _ event: @escaping (ChangeOutcome) -> Event
    ) {
        guard answers(node), let session = node.session else {
            deliver(node, event(.notSent("no server answers")), after: .milliseconds(5))
            return
        }
        if case .notSent? = fault {
            deliver(node, event(.notSent("not connected")), after: .milliseconds(1))
            return
        }
        let delay: Duration = if case .late(let delay)? = fault { delay } else { storeDelay / 2 }
        let connection = node.connection
        after(delay) { [unowned self, unowned node] in
            guard self.answers(node), node.connection == connection else {
                self.deliver(node, event(.unknown("connection lost")), after: .milliseconds(500))
                return
            }
            if case .lost? = fault {
                self.deliver(node, event(.unknown("connection lost")), after: .milliseconds(500))
                return
            }
            if self.store.expire(at: self.now) { self.expired() }
            let outcome = apply(session)
            if isSeen, case .committed = outcome { self.signalAll() }
            if case .answerLost? = fault {
                self.deliver(node, event(.unknown("connection lost")), after: .milliseconds(500))
            } else {
                self.deliver(node, event(outcome), after: self.storeDelay / 2 + node.answersLate)
            }
        }
    }

    private func renew(
        _ node: SimulatedMember, _ id: EffectID, _ holding: Bool, _ within: Duration, _ fault: Mishap?
    ) {
        let sent = node.local(now)
        guard answers(node), let session = node.session else {
            // A client without a connection fails fast.
            deliver(node, .renewed(id, .unknown("no server answers")), after: min(within, .milliseconds(100)))
            return
        }
        var back = storeDelay / 2 + node.answersLate
        switch fault {
        case .late(let delay)?: back = back + delay
        case .lost?, .notSent?:
            deliver(node, .renewed(id, .unknown("timed out")), after: within)
            return
        case .answerLost?, .crashBefore?, .crashAfter?, nil: break
        }
        after(storeDelay / 2) { [unowned self, unowned node] in
            guard self.answers(node) else {
                self.deliver(node, .renewed(id, .unknown("timed out")), after: within)
                return
            }
            let outcome = self.prove(node, session, holding, sent)
            if case .answerLost? = fault {
                self.deliver(node, .renewed(id, .unknown("timed out")), after: within)
            } else if back > within {
                self.deliver(node, .renewed(id, .unknown("timed out")), after: within)
            } else {
                self.deliver(node, .renewed(id, outcome), after: back)
            }
        }
    }

    /// What the store's majority shows at this moment.
    private func prove(
        _ node: SimulatedMember, _ session: SessionID, _ holding: Bool, _ sent: Instant
    ) -> RenewalOutcome {
        if store.expire(at: now) { expired() }
        guard store.sessions[session] != nil else { return .gone("the session expired") }
        if node.isViaFollower {
            // The leader's table learns of it at its next ping of the follower; should it stop before, never.
            let late = random.duration(upTo: .milliseconds(250))
            after(late) { [unowned self] in
                if !self.isStoreStopped { _ = self.touch(session) }
            }
        } else {
            _ = touch(session)
        }
        if holding, store.leader?.value.session != session || store.leader?.value.name != node.name {
            return .gone("the leader entry is not ours")
        }
        guard node.isViaFollower else { return .proven(sent: sent, notExpiredBefore: sent + ttl) }
        // Two within one ping of the leader show no more than one.
        if node.proofs.last.map({ sent - $0 >= .milliseconds(260) }) ?? true { node.proofs.append(sent) }
        if node.proofs.count > 3 { node.proofs.removeFirst() }
        guard node.proofs.count == 3 else { return .unknown("the first proofs through a follower show nothing yet") }
        return .proven(sent: sent, notExpiredBefore: node.proofs[0] + ttl)
    }

    // MARK: - Peers

    private func query(_ node: SimulatedMember, _ peers: [PeerAddress], _ within: Duration) {
        let asked = node.local(now)
        for peer in peers {
            if let alien = aliens[peer.name] {
                after(.milliseconds(2)) { [unowned self, unowned node] in
                    if var status = alien() {
                        status.askedAt = asked
                        self.deliver(node, .peer(status))
                    } else {
                        self.deliver(node, .peerSilent(peer.name, "timed out"), after: within)
                    }
                }
                continue
            }
            guard let other = member(peer.name), reachable(node, other), !other.isFrozen,
                wordsLost == 0 || !random.perMille(wordsLost)
            else {
                deliver(node, .peerSilent(peer.name, "timed out"), after: within)
                continue
            }
            after(.milliseconds(1)) { [unowned self, unowned node, unowned other] in
                guard !other.isFrozen, var status = other.machine?.word(askedAt: asked) else {
                    self.deliver(node, .peerSilent(peer.name, "connection refused"), after: .milliseconds(1))
                    return
                }
                // The API takes a fresh look at its PostgreSQL.
                if let sample = other.isServerFrozen ? nil : other.postgres.sample(at: self.now, upstream: nil) {
                    status.isInRecovery = sample.isInRecovery
                    status.position = sample.position
                    status.timeline = sample.timeline
                } else {
                    status.isInRecovery = nil
                    status.position = nil
                }
                self.deliver(node, .peer(status), after: .milliseconds(1))
            }
        }
    }
}

extension Effect {
    package var kind: String {
        switch self {
        case .openSession: "openSession"
        case .closeSession: "closeSession"
        case .read(_, .glimpse): "glimpse"
        case .read: "read"
        case .commit: "commit"
        case .renew: "renew"
        case .release: "release"
        case .arm: "arm"
        case .endTerm: "endTerm"
        case .posture: "posture"
        case .stopServer: "stopServer"
        case .startJob: "startJob"
        case .cancelJob: "cancelJob"
        case .sample: "sample"
        case .queryPeers: "queryPeers"
        case .watchPeers: "watchPeers"
        case .persistMarker: "persistMarker"
        case .persistGrant: "persistGrant"
        case .requestGrants: "requestGrants"
        case .answerGrant: "answerGrant"
        case .checkpoint: "checkpoint"
        case .readHistory: "readHistory"
        case .callback: "callback"
        case .answer: "answer"
        case .probeDuplicate: "probeDuplicate"
        case .exit: "exit"
        }
    }

    var identifier: EffectID? {
        switch self {
        case .read(let id, _), .commit(let id, _), .renew(let id, _, _), .release(let id), .startJob(let id, _),
            .persistMarker(let id, _), .persistGrant(let id, _), .requestGrants(let id, _, _, _), .checkpoint(let id),
            .readHistory(let id), .openSession(let id, _, _):
            id
        default: nil
        }
    }
}
