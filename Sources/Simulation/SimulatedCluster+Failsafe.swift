import ClusterModel
import HighAvailability

/// What members owe to a leader without a store: the messages, the disk, and what must hold of both.
extension SimulatedCluster {
    /// What a new instance finds of the record of grants.
    func grantFile(_ node: SimulatedMember) -> GrantFile {
        if grantsLost > 0, node.grants != nil, random.below(100) < grantsLost {
            node.grants = nil
            node.isForgetful = true
        }
        guard var record = node.grants else { return .unreadable("there is none") }
        if node.isBootedAnew, record.until > .distantPast { record.until = node.local(now) + record.lasts }
        node.isBootedAnew = false
        return .record(record)
    }

    func persist(_ node: SimulatedMember, _ id: EffectID, _ record: GrantRecord, _ fault: Mishap?) {
        let instance = node.instance
        if case .lost? = fault {
            deliverInOrder(node, .persisted(id, succeeded: false), after: .milliseconds(3))
            return
        }
        var takes: Duration = .milliseconds(3)
        if case .late(let more)? = fault { takes = more }
        let due = max(now + takes, node.diskFreeAt)
        node.diskFreeAt = due
        at(due) { [unowned self, unowned node] in
            guard node.instance == instance, !node.isHostDown else { return }
            node.grants = record
            self.deliverInOrder(node, .persisted(id, succeeded: true))
        }
    }

    func requestGrants(
        _ node: SimulatedMember, _ id: EffectID, _ peers: [PeerAddress], _ request: GrantRequest, _ within: Duration
    ) {
        let isAsking = request.lasts != .zero
        if isAsking { node.round = (id, node.local(now), Set(peers.map(\.name)), [:]) }
        tally[isAsking ? "failsafe rounds" : "failsafe withdrawals", default: 0] += 1
        let instance = node.instance
        for peer in peers {
            let name = peer.name
            // Whatever does not come counts as silence, once the round is over.
            if isAsking { deliver(node, .grantAnswered(id, name, .silent("timed out")), after: within) }
            guard let other = member(name) else { continue }
            if wordsLost > 0, random.perMille(wordsLost) { continue }
            // Said twice: the client tries a broken connection again, and the first try may have arrived.
            let times = wordsTwice > 0 && random.perMille(wordsTwice) ? 2 : 1
            for time in 0..<times {
                let delay = .milliseconds(1) + (time > 0 ? random.duration(upTo: .milliseconds(800)) : .zero)
                after(delay) { [unowned self, unowned node, unowned other] in
                    guard self.arrives(from: node, at: other) else { return }
                    guard other.machine != nil else {
                        self.deliver(
                            node, .grantAnswered(id, name, .silent("connection refused")), after: .milliseconds(1))
                        return
                    }
                    self.lastRequest += 1
                    let ask = RequestID(self.lastRequest)
                    self.asked[ask] = (node.name, instance, id, name, self.now)
                    self.deliver(other, .grantAsked(ask, request))
                }
            }
        }
    }

    func answerGrant(_ node: SimulatedMember, _ id: RequestID, _ answer: GrantAnswer) {
        guard let question = asked.removeValue(forKey: id), let holder = member(question.holder) else { return }
        guard arrives(from: node, at: holder), wordsLost == 0 || !random.perMille(wordsLost) else { return }
        if case .granted(let lasts?, _) = answer, lasts > .zero, holder.round?.id == question.effect {
            switch node.machine?.world.lease {
            case .acquiring, .unresolved, .proving, .held:
                complain("\(node.name): grants the lead to \(holder.name) and takes it itself")
            case nil, .some(.none), .ending, .releasing: break
            }
            // So long is this member bound, by what stands on its disk.
            // One record is for all: it lasts as long as the longest.
            // An answer that was long on its way tells of a grant that may be over by now.
            if let until = node.grants?.until, node.grants?.holder.isEmpty == false,
                until > node.local(now) - lasts || until > node.local(question.at)
            {
                holder.round?.granted[node.name] = node.global(until)
            } else {
                complain("\(node.name): a grant to \(holder.name) is answered that is not on disk")
            }
        }
        guard holder.instance == question.instance else { return }
        deliver(holder, .grantAnswered(question.effect, question.from, answer), after: .milliseconds(1))
    }

    /// True when the members' grants are behind a deadline: then it is theirs to be judged by.
    func judgeGrants(_ member: SimulatedMember, _ deadlines: LeaseDeadlines) -> Bool {
        let end = member.global(deadlines.end)
        let lists = [store.failsafe?.value ?? lastListed, lastListed].compactMap { $0 }
        if lists.contains(where: { $0.keys.allSatisfy { $0 == member.name } }) {
            // Nobody else may lead: there is nobody to ask.
            member.backedUntil = max(member.backedUntil, end)
            return true
        }
        guard let round = member.round, round.peers.allSatisfy({ round.granted[$0] != nil }) else { return false }
        let bound = round.granted.values.min() ?? member.global(round.sent + deadlines.granted)
        guard end <= bound else { return false }
        member.backedUntil = max(member.backedUntil, end)
        return true
    }

    /// What a member does that is not allowed to lead, or to let itself be followed, any more.
    func judgeFailsafe(_ member: SimulatedMember) {
        // In place: a machine is large.
        guard member.machine?.world.failsafe.leaseLost != nil, let term = member.machine?.world.term, !term.isFrozen,
            member.machine?.world.isGranted == false, member.machine?.world.isFailsafeOn == true
        else { return }
        complain("\(member.name): goes on with a lease that the store has lost, and nobody granted it")
    }

    // MARK: - What the failsafe is there to prevent

    /// The leader loses the store and goes on by grants; another member, which nobody reaches and which reaches the store,
    /// does not know: its record is gone, or it was not on the list of those who were asked.
    func beginFailsafeTrial(_ fault: Fault, _ node: SimulatedMember) {
        guard let name = store.leader?.value.name, let holder = member(name), holder !== node, node.machine != nil,
            !node.isHostDown, !node.isFrozen, !node.isServerFrozen
        else { return }
        func comeBack() {
            guard node.machine == nil, !node.isHostDown else { return }
            if !isHealed { cut(node, from: all, oneWay: false) }
            start(node)
        }
        let part = Int(fault.choice % 100)
        if fault.kind == .grantorForgets {
            cutStore(holder)
            after(ttl * (30 + part) / 100) { [unowned self, unowned node] in
                guard !self.isHealed else { return }
                self.killAgent(node)
                node.grants = nil
                self.after(.milliseconds(50)) { comeBack() }
            }
        } else {
            killAgent(node)
            after(ttl * (150 + part) / 100) { [unowned self, unowned holder] in
                guard !self.isHealed else { return }
                self.cutStore(holder)
                self.after(.milliseconds(50)) { comeBack() }
            }
        }
        after(fault.lasts) { [unowned self, unowned node, unowned holder] in
            self.join(node)
            self.joinStore(holder)
        }
    }

    // MARK: - The store lost

    func beginStoreLoss(_ fault: Fault) {
        switch fault.kind {
        case .storeSetBack:
            // The back-up is of now; it is put back later, while the servers are down for a moment.
            let older = store
            let down = Duration.milliseconds(Int64(100 + fault.choice % 3000))
            after(fault.lasts) { [unowned self] in
                self.onLine?("the store is set back")
                self.stopStore()
                self.after(down) { [unowned self] in
                    guard self.knowsItsStore else { return self.startStore(electsLeader: true) }
                    self.exchangeStore { $0.setBack(to: older, at: self.now) }
                }
            }
        case .storeEmptied:
            stopStore()
            after(fault.lasts) { [unowned self] in
                self.onLine?("the store is emptied")
                self.exchangeStore { $0.empty() }
            }
        default:
            stopStore()
            after(fault.lasts) { [unowned self] in
                self.startStore(electsLeader: fault.choice % 2 == 0)
            }
        }
    }

    /// Whether older data may be put back: while the cluster is whole, and every agent can tell it from the newest (README).
    private var knowsItsStore: Bool {
        let newest = store.terms.last?.fence ?? .none
        let listed = store.failsafe?.value ?? [:]
        return all.allSatisfy { node in
            guard let world = node.machine?.world, !node.isFrozen, !node.isHostPaused, !node.isHostDown,
                !node.isStoreCut, node.isolated.isEmpty, node.deafTo.isEmpty, store.members[node.name] != nil
            else { return false }
            return world.newestFence >= newest && (listed.isEmpty || listed[node.name] != nil)
        }
    }

    /// The servers come back with nothing.
    package func emptyStore() { exchangeStore { $0.empty() } }

    /// The servers come back with what they knew before.
    package func setStoreBack(to older: ModelStore) { exchangeStore { $0.setBack(to: older, at: self.now) } }

    /// What the lost store had promised still stands; what it knew does not.
    private func exchangeStore(_ change: @escaping (inout ModelStore) -> Void) {
        guard !isHealed else { return }
        guard isStoreStopped else {
            // Another outage's end has started it meanwhile: nothing is exchanged under servers that run.
            stopStore()
            after(Self.outageNoticed * 2) { [unowned self] in self.exchangeStore(change) }
            return
        }
        if let leader = store.leader, let session = store.sessions[leader.value.session],
            let holder = member(leader.value.name)
        {
            holder.backedUntil = max(holder.backedUntil, session.promised)
        }
        exchangedAt = now
        // What is sent before the outage is noticed goes to the servers that were.
        requestsCountFrom = max(now, stoppedAt + Self.outageNoticed)
        lastListed = store.failsafe?.value ?? lastListed
        change(&store)
        tally["stores exchanged", default: 0] += 1
        startStore(electsLeader: false)
        signalAll()
    }

    /// The store was emptied, and of all agents none runs that remembers: whoever is left waits for a primary. An operator
    /// orders a failover to the one that has the most.
    func orderFailoverIfForgotten(_ living: [SimulatedMember]) {
        guard store.initialize == nil, store.leader == nil,
            living.allSatisfy({ $0.machine?.world.storeReturn?.before.systemIdentifier == nil })
        else { return }
        let able = living.filter {
            $0.machine != nil && store.members[$0.name] != nil && !$0.settings.tags.isNoFailover
        }
        guard
            let best = able.max(by: {
                ($0.postgres.branch.timeline, $0.postgres.lsn) < ($1.postgres.branch.timeline, $1.postgres.lsn)
            })
        else { return }
        tally["forgotten clusters", default: 0] += 1
        ask(best.name, .failover(candidate: best.name))
    }
}
