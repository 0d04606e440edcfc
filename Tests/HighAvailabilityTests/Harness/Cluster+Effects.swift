import ClusterModel
import HighAvailability

/// What the runtime would do with the effects.
extension Cluster {
    static let storeDelay: Duration = .milliseconds(2)

    func begin(_ node: Node, _ effect: Effect) {
        node.counts[effect.kind, default: 0] += 1
        if let id = effect.identifier, !node.ids.insert(id).inserted {
            complain("\(node.name): \(effect) uses an id again")
        }
        let fault = self.fault?(node, effect)
        switch effect {
        case .openSession(let id, _, let resume): openSession(node, id, resume)
        case .closeSession(let abandon):
            if !abandon, let session = node.session, node.storeReachable {
                if store.end(session) { signalAll() }
            }
            node.session = nil
        case .read(let id, let scope): read(node, id, scope, fault)
        case .commit(let id, let change):
            commit(
                node, fault,
                { store, session in
                    store.commit(change, name: node.name, session: session)
                }, { .committed(id, $0) })
        case .release(let id):
            if node.postgres.isWritable { complain("\(node.name): release while writable") }
            commit(
                node, fault,
                { store, session in
                    session.map { store.release($0) } ?? .notSent("no session")
                }, { .released(id, $0) })
        case .renew(let id, let holding, let within): renew(node, id, holding, within, fault)
        case .arm(let fence, let deadlines): arm(node, fence, deadlines)
        case .endTerm: endTerm(node)
        case .posture(let posture): setPosture(node, posture)
        case .stopServer(let mode): stopServer(node, mode)
        case .startJob(let id, let job): startJob(node, id, job, fault)
        case .cancelJob(let id):
            guard let running = node.job, running.id == id else { break }
            after(.milliseconds(5)) { [unowned self, unowned node] in
                guard let running = node.job, running.id == id else { return }
                self.end(node, id, .cancelled)
            }
        case .sample:
            let sample = node.postgres.sample(at: now, upstream: nil)
            let delay: Duration = if case .late(let delay)? = fault { delay } else { .milliseconds(2) }
            deliver(node, sample.map(Event.sample) ?? .sampleFailed("it does not answer"), after: delay)
        case .queryPeers(let peers, let within): query(node, peers, within)
        case .watchPeers(let peers):
            let fresh = Set(peers.map(\.name)).subtracting(node.watches)
            node.watches = Set(peers.map(\.name))
            query(node, peers.filter { fresh.contains($0.name) }, .seconds(2))
        case .persistMarker(let id, let marker):
            after(.milliseconds(3)) { [unowned self, unowned node] in
                node.marker = marker
                self.deliver(node, .persisted(id, succeeded: true))
            }
        case .checkpoint(let id):
            let isUp = node.postgres.run?.isReady == true
            after(.milliseconds(20)) { [unowned node] in node.postgres.controlTimeline = node.postgres.branch.timeline }
            deliver(node, .checkpointed(id, succeeded: isUp), after: .milliseconds(21))
        case .readHistory(let id):
            deliver(node, .localHistory(id, node.postgres.history), after: .milliseconds(2))
        case .callback(let action, let role, _): node.callbacks.append("\(action.rawValue) \(role.rawValue)")
        case .answer(let id, let answer):
            node.answers[id, default: []].append(answer)
            if node.answers[id, default: []].count > 1 { complain("\(node.name): request answered twice") }
        case .probeDuplicate(let url):
            let other = all.first { $0.apiURL == url && $0 !== node }
            let isAlive =
                other.map { $0.machine != nil && reachable(node, $0) } ?? aliens.keys.contains { url.contains($0) }
            deliver(node, .duplicateProbed(isAlive: isAlive), after: .milliseconds(10))
        case .exit(let code, let text):
            node.exit = (code, text)
            killAgent(node)
        // Without its agent a server outside of pause is stopped by the guard in the end; here the exit stops it.
        }
    }

    // MARK: - Store

    private func openSession(_ node: Node, _ id: EffectID, _ resume: Bool) {
        guard node.storeReachable else {
            deliver(node, .sessionFailed(id, "no server answers"), after: .milliseconds(500))
            return
        }
        after(Cluster.storeDelay) { [unowned self, unowned node] in
            guard node.storeReachable, node.machine != nil else {
                self.deliver(node, .sessionFailed(id, "no server answers"))
                return
            }
            var isResumed = false
            if resume, let session = node.session, self.store.touch(session, at: self.now) {
                isResumed = true
            } else {
                node.session = self.store.open(lifetime: self.ttl, at: self.now)
            }
            self.beat(node, node.instance, node.session)
            self.deliver(
                node,
                .sessionOpened(
                    id,
                    SessionFacts(
                        id: node.session ?? SessionID(""), granted: self.ttl, renewalInterval: self.ttl / 4,
                        isResumed: isResumed)), after: .milliseconds(1))
        }
    }

    /// The client library's own heartbeats keep the session, as long as the process runs and the store is reached.
    private func beat(_ node: Node, _ instance: Int, _ session: SessionID?) {
        guard let session, node.instance == instance, node.session == session, !node.isHostDown else { return }
        if node.storeReachable, !node.isFrozen {
            guard store.touch(session, at: now) else {
                node.session = nil
                deliver(node, .sessionLost("it expired"))
                return
            }
        }
        if let next = store.sessions[session]?.expiresAt { at(next) {} }
        after(ttl / 3) { [unowned self, unowned node] in self.beat(node, instance, session) }
    }

    private func at(_ instant: Instant, _ action: @escaping () -> Void) {
        after(max(.zero, instant - now), action)
    }

    private func read(_ node: Node, _ id: EffectID, _ scope: ReadScope, _ fault: Fault?) {
        let asked = now
        guard node.storeReachable, node.session != nil else {
            deliver(node, .viewFailed(id, "no server answers"), after: .milliseconds(200))
            return
        }
        var back = Cluster.storeDelay / 2
        switch fault {
        case .late(let delay)?: back = back + delay
        case .answerLost?, .lost?, .notSent?:
            deliver(node, .viewFailed(id, "timed out"), after: .seconds(1))
            return
        case nil: break
        }
        after(Cluster.storeDelay / 2) { [unowned self, unowned node] in
            guard node.storeReachable else {
                self.deliver(node, .viewFailed(id, "timed out"), after: .seconds(1))
                return
            }
            self.store.expire(at: self.now)
            let view = self.store.view(at: asked)
            if case .glimpse = scope {
                self.deliver(node, .glimpse(id, view.glimpse), after: back)
            } else {
                self.deliver(node, .view(id, view), after: back)
            }
        }
    }

    private func commit(
        _ node: Node, _ fault: Fault?, _ apply: @escaping (inout VirtualStore, SessionID?) -> ChangeOutcome,
        _ event: @escaping (ChangeOutcome) -> Event
    ) {
        guard node.storeReachable, node.session != nil else {
            deliver(node, event(.notSent("no server answers")), after: .milliseconds(5))
            return
        }
        if case .notSent? = fault {
            deliver(node, event(.notSent("not connected")), after: .milliseconds(1))
            return
        }
        let session = node.session
        let delay: Duration = if case .late(let delay)? = fault { delay } else { Cluster.storeDelay / 2 }
        after(delay) { [unowned self, unowned node] in
            guard node.storeReachable else {
                self.deliver(node, event(.unknown("connection lost")), after: .milliseconds(500))
                return
            }
            if case .lost? = fault {
                self.deliver(node, event(.unknown("connection lost")), after: .milliseconds(500))
                return
            }
            self.store.expire(at: self.now)
            let outcome = apply(&self.store, session)
            if case .committed = outcome { self.signalAll() }
            if case .answerLost? = fault {
                self.deliver(node, event(.unknown("connection lost")), after: .milliseconds(500))
            } else {
                self.deliver(node, event(outcome), after: Cluster.storeDelay / 2)
            }
        }
    }

    private func renew(_ node: Node, _ id: EffectID, _ holding: Bool, _ within: Duration, _ fault: Fault?) {
        let sent = now
        let granted = ttl
        guard node.storeReachable, let session = node.session else {
            // A client without a connection fails fast.
            deliver(node, .renewed(id, .unknown("no server answers")), after: min(within, .milliseconds(100)))
            return
        }
        var back = Cluster.storeDelay / 2
        switch fault {
        case .late(let delay)?: back = back + delay
        case .answerLost?, .lost?, .notSent?:
            deliver(node, .renewed(id, .unknown("timed out")), after: within)
            return
        case nil: break
        }
        after(Cluster.storeDelay / 2) { [unowned self, unowned node] in
            guard node.storeReachable else {
                self.deliver(node, .renewed(id, .unknown("timed out")), after: within)
                return
            }
            let outcome: RenewalOutcome
            if !self.store.touch(session, at: self.now) {
                outcome = .gone("the session expired")
            } else if holding, self.store.leader?.value.session != session || self.store.leader?.value.name != node.name
            {
                outcome = .gone("the leader entry is not ours")
            } else {
                outcome = .proven(sent: sent, notExpiredBefore: sent + granted)
            }
            self.deliver(node, .renewed(id, outcome), after: back)
        }
    }

    // MARK: - Peers

    private func query(_ node: Node, _ peers: [PeerAddress], _ within: Duration) {
        let asked = now
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
            guard let other = nodes[peer.name], reachable(node, other), !other.isFrozen else {
                deliver(node, .peerSilent(peer.name, "timed out"), after: within)
                continue
            }
            after(.milliseconds(1)) { [unowned self, unowned node, unowned other] in
                guard let machine = other.machine, !other.isFrozen else {
                    self.deliver(node, .peerSilent(peer.name, "connection refused"), after: .milliseconds(1))
                    return
                }
                // The API takes a fresh look at its PostgreSQL.
                var status = self.peerStatus(machine.status)
                if let sample = other.postgres.sample(at: self.now, upstream: nil) {
                    status.isInRecovery = sample.isInRecovery
                    status.position = sample.position
                    status.timeline = sample.timeline
                } else {
                    status.isInRecovery = nil
                    status.position = nil
                }
                status.askedAt = asked
                self.deliver(node, .peer(status), after: .milliseconds(1))
            }
        }
    }
}

extension Effect {
    var kind: String {
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
            .persistMarker(let id, _), .checkpoint(let id), .readHistory(let id), .openSession(let id, _, _):
            id
        default: nil
        }
    }
}
