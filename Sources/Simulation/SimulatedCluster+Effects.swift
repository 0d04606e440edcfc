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
            endSession(node, node.home, abandon)
        case .read(let id, let scope): read(node, id, scope, fault)
        case .commit(let id, let change):
            let name = node.name
            let number = node.home
            let isSeen = change.writes.contains { stores[number].model.tells($0) }
            let known = node.machine?.world.newestFence ?? .none
            let fault = isCutOver(change) ? delayCutOver(node) ?? fault : fault
            commit(
                node, number, fault, isSeen,
                { [unowned self] in
                    let isAcquire = change.writes.contains { if case .acquireLeader = $0 { true } else { false } }
                    let before = self.stores[number].failover?.value
                    let outcome = self.stores[number].commit(change, name: name, session: $0, at: self.now)
                    if isAcquire, case .committed = outcome { self.acquired(node, number, before, known) }
                    if case .committed = outcome { self.noteMoved(change, number, node) }
                    return outcome
                }, { .committed(id, $0) })
        case .release(let id):
            if node.canAcknowledge { complain("\(node.name): release while writable") }
            let number = node.home
            commit(
                node, number, fault, true,
                { [unowned self] session in session.map { self.stores[number].release($0) } ?? .notSent("no session") },
                { .released(id, $0) })
        case .renew(let id, let holding, let within):
            renew(node, node.home, holding, within, fault) { .renewed(id, $0) }
        case .other(let effect): carryOut(node, effect, fault)
        case .arm(let fence, let deadlines): arm(node, fence, deadlines)
        case .succeed(let fence, let deadlines): arm(node, fence, deadlines, succeeds: true)
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
            // One queue: a mark that is taken back and one that is set never overtake each other.
            // Now and then the disk has something else to do first.
            let wait = diskBusy > .zero && random.percent(20) ? random.duration(upTo: diskBusy) : .zero
            let due = max(now + .milliseconds(3) + wait, node.diskFreeAt)
            node.diskFreeAt = due
            at(due) { [unowned self, unowned node] in
                guard node.instance == instance, !node.isHostDown else { return }
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
    private func acquired(
        _ node: SimulatedMember, _ number: Int, _ request: FailoverRequest?, _ known: Fence
    ) {
        let store = stores[number]
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

    /// An entry of an older term that a store which was set back shows again: it holds nothing.
    func isLeaderEntryPast(for node: SimulatedMember) -> Bool {
        guard let leader = store.leader else { return false }
        return Fence(era: store.era, number: leader.version.created) < node.machine?.world.newestFence ?? .none
    }

    func endSession(_ node: SimulatedMember, _ number: Int, _ abandon: Bool) {
        if !abandon, let session = node.sessions[number], answers(node, number) {
            if number == ruling, node.canAcknowledge, store.leader?.value.session == session, !node.isUnfenced,
                !isLeaderEntryPast(for: node)
            {
                complain("\(node.name): gives up the entry in the store that rules, and can acknowledge")
            }
            if stores[number].end(session) { signalAll(number) }
        }
        node.sessions[number] = nil
    }

    private func openSession(_ node: SimulatedMember, _ id: EffectID, _ resume: Bool) {
        openSession(
            node, node.home, resume, failed: { .sessionFailed(id, $0) }, opened: { .sessionOpened(id, $0) })
    }

    func openSession(
        _ node: SimulatedMember, _ number: Int, _ resume: Bool, failed: @escaping (String) -> Event,
        opened: @escaping (SessionFacts) -> Event
    ) {
        guard answers(node, number), stores.indices.contains(number) else {
            deliver(node, failed("no server answers"), after: .milliseconds(500))
            return
        }
        let instance = node.instance
        after(storeDelay) { [unowned self, unowned node] in
            guard node.instance == instance else { return }
            guard self.answers(node, number), node.machine != nil else {
                self.deliver(node, failed("no server answers"))
                return
            }
            var isResumed = false
            if resume, let session = node.sessions[number], self.stores[number].sessions[session] != nil,
                self.stores[number].touch(session, at: self.now)
            {
                isResumed = true
            } else {
                node.sessions[number] = self.stores[number].open(lifetime: self.ttl, at: self.now)
            }
            node.connections[number, default: 0] += 1
            node.proofs[number] = []
            self.beat(node, number, node.instance, node.sessions[number])
            let isBehind = node.isViaFollower
            self.deliver(
                node,
                opened(
                    SessionFacts(
                        id: node.sessions[number] ?? SessionID(""), granted: self.ttl,
                        renewalInterval: isBehind ? self.ttl / 6 : self.ttl / 4, isResumed: isResumed,
                        needsIdleRenewal: !self.stores[number].model.beatsByItself, intervalsBehind: isBehind ? 2 : 0)),
                after: .milliseconds(1))
        }
    }

    /// The store's clock is looked at when a session may end, whatever else happens.
    private func touch(_ session: SessionID, _ number: Int) -> Bool {
        guard stores[number].touch(session, at: now) else { return false }
        if let end = stores[number].sessions[session]?.expiresAt { at(end) {} }
        return true
    }

    /// The client library's own heartbeats keep the session, as long as the process runs and the store is reached.
    private func beat(_ node: SimulatedMember, _ number: Int, _ instance: Int, _ session: SessionID?) {
        guard let session, node.instance == instance, node.sessions[number] == session, !node.isHostDown else { return }
        if answers(node, number), !node.isFrozen, !node.isHostPaused {
            guard stores[number].sessions[session] != nil else {
                node.sessions[number] = nil
                if number == node.home {
                    tell(node, .sessionLost("it expired"))
                } else if number > node.home {
                    deliver(node, .other(.sessionLost("it expired")))
                }
                return
            }
            if stores[number].model.beatsByItself { _ = touch(session, number) }
        }
        if let next = stores[number].sessions[session]?.expiresAt { at(next) {} }
        after(ttl / 3) { [unowned self, unowned node] in self.beat(node, number, instance, session) }
    }

    private func read(_ node: SimulatedMember, _ id: EffectID, _ scope: ReadScope, _ fault: Mishap?) {
        guard node.session != nil else {
            deliver(node, .viewFailed(id, "no server answers"), after: .milliseconds(200))
            return
        }
        read(node, node.home, fault, failed: { .viewFailed(id, $0) }) { view in
            if case .glimpse = scope { return .glimpse(id, view.glimpse) }
            return .view(id, view)
        }
    }

    func read(
        _ node: SimulatedMember, _ number: Int, _ fault: Mishap?, failed: @escaping (String) -> Event,
        _ seen: @escaping (ClusterView) -> Event
    ) {
        let asked = node.local(now)
        guard answers(node, number), stores.indices.contains(number) else {
            deliver(node, failed("no server answers"), after: .milliseconds(200))
            return
        }
        var back = storeDelay / 2 + node.answersLate
        switch fault {
        case .late(let delay)?: back = back + delay
        case .answerLost?, .lost?, .notSent?:
            deliver(node, failed("timed out"), after: .seconds(1))
            return
        case .crashBefore?, .crashAfter?, nil: break
        }
        after(storeDelay / 2) { [unowned self, unowned node] in
            guard self.answers(node, number) else {
                self.deliver(node, failed("timed out"), after: .seconds(1))
                return
            }
            if self.stores[number].expire(at: self.now) { self.expired(number) }
            let era = max(node.knownEras[number] ?? 0, self.stores[number].era)
            node.knownEras[number] = era
            let view = self.stores[number].view(at: asked, known: era)
            if number == node.home, let configuration = view.configuration { node.cachedConfiguration = configuration }
            self.deliver(node, seen(view), after: back)
        }
    }

    func commit(
        _ node: SimulatedMember, _ number: Int, _ fault: Mishap?, _ isSeen: Bool,
        _ apply: @escaping (SessionID?) -> ChangeOutcome, _ event: @escaping (ChangeOutcome) -> Event
    ) {
        guard answers(node, number), let session = node.sessions[number] else {
            deliver(node, event(.notSent("no server answers")), after: .milliseconds(5))
            return
        }
        if case .notSent? = fault {
            deliver(node, event(.notSent("not connected")), after: .milliseconds(1))
            return
        }
        let delay: Duration = if case .late(let delay)? = fault { delay } else { storeDelay / 2 }
        let connection = node.connections[number]
        let begun = now
        after(delay) { [unowned self, unowned node] in
            // Nothing that was sent to servers which have ended is delivered to those that come after them.
            guard self.answers(node, number), node.connections[number] == connection, begun >= self.requestsCountFrom
            else {
                self.deliver(node, event(.unknown("connection lost")), after: .milliseconds(500))
                return
            }
            if case .lost? = fault {
                self.deliver(node, event(.unknown("connection lost")), after: .milliseconds(500))
                return
            }
            if self.stores[number].expire(at: self.now) { self.expired(number) }
            // A request of a session that has ended is refused, whoever sent it.
            let outcome: ChangeOutcome =
                self.stores[number].sessions[session] == nil && node.sessions[number] != session
                ? .unknown("the session is gone") : apply(session)
            if isSeen, case .committed = outcome { self.signalAll(number) }
            if case .answerLost? = fault {
                self.deliver(node, event(.unknown("connection lost")), after: .milliseconds(500))
            } else {
                self.deliver(node, event(outcome), after: self.storeDelay / 2 + node.answersLate)
            }
        }
    }

    func renew(
        _ node: SimulatedMember, _ number: Int, _ holding: Bool, _ within: Duration, _ fault: Mishap?,
        _ renewed: @escaping (RenewalOutcome) -> Event
    ) {
        let sent = node.local(now)
        guard let session = node.sessions[number] else {
            // A client that was told of its session's end says so whatever it is asked, and asks nobody.
            deliver(node, renewed(.gone("the session is over")), after: .milliseconds(1))
            return
        }
        guard answers(node, number) else {
            // A client without a connection fails fast.
            deliver(node, renewed(.unknown("no server answers")), after: min(within, .milliseconds(100)))
            return
        }
        var back = storeDelay / 2 + node.answersLate
        switch fault {
        case .late(let delay)?: back = back + delay
        case .lost?, .notSent?:
            deliver(node, renewed(.unknown("timed out")), after: within)
            return
        case .answerLost?, .crashBefore?, .crashAfter?, nil: break
        }
        after(storeDelay / 2) { [unowned self, unowned node] in
            guard self.answers(node, number) else {
                self.deliver(node, renewed(.unknown("timed out")), after: within)
                return
            }
            let outcome = self.prove(node, number, session, holding, sent)
            if case .answerLost? = fault {
                self.deliver(node, renewed(.unknown("timed out")), after: within)
            } else if back > within {
                self.deliver(node, renewed(.unknown("timed out")), after: within)
            } else {
                self.deliver(node, renewed(outcome), after: back)
            }
        }
    }

    /// What the store's majority shows at this moment.
    private func prove(
        _ node: SimulatedMember, _ number: Int, _ session: SessionID, _ holding: Bool, _ sent: Instant
    ) -> RenewalOutcome {
        if stores[number].expire(at: now) { expired(number) }
        guard stores[number].sessions[session] != nil else { return .gone("the session expired") }
        if node.isViaFollower {
            // The leader's table learns of it at its next ping of the follower; should it stop before, never.
            let late = random.duration(upTo: .milliseconds(250))
            after(late) { [unowned self] in
                if !self.isStoreStopped, !self.stoppedStores.contains(number) { _ = self.touch(session, number) }
            }
        } else {
            _ = touch(session, number)
        }
        if holding,
            stores[number].leader?.value.session != session || stores[number].leader?.value.name != node.name
        {
            return .gone("the leader entry is not ours")
        }
        guard node.isViaFollower else { return .proven(sent: sent, notExpiredBefore: sent + ttl) }
        // Two within one ping of the leader show no more than one.
        var proofs = node.proofs[number] ?? []
        if proofs.last.map({ sent - $0 >= .milliseconds(260) }) ?? true { proofs.append(sent) }
        if proofs.count > 3 { proofs.removeFirst() }
        node.proofs[number] = proofs
        guard proofs.count == 3 else { return .unknown("the first proofs through a follower show nothing yet") }
        return .proven(sent: sent, notExpiredBefore: proofs[0] + ttl)
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
        case .other: "other"
        case .succeed: "succeed"
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
        case .other(.openSession(let id, _)), .other(.read(let id)), .other(.commit(let id, _)),
            .other(.renew(let id, _, _)):
            id
        default: nil
        }
    }
}
