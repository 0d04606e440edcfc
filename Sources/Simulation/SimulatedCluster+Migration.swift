import ClusterModel
import HighAvailability

/// A second store, and the way there.
extension SimulatedCluster {
    /// What the runtime would do at the other store.
    func carryOut(_ node: SimulatedMember, _ effect: OtherStoreEffect, _ fault: Mishap?) {
        // What is made ready is the next store, wherever the record says that it is.
        let number = node.home + 1
        switch effect {
        case .openSession(let id, _):
            openSession(
                node, number, false, failed: { .other(.sessionFailed(id, $0)) },
                opened: { .other(.sessionOpened(id, $0)) })
        case .closeSession(let abandon): endSession(node, number, abandon)
        case .read(let id):
            read(node, number, fault, failed: { .other(.viewFailed(id, $0)) }) { .other(.view(id, $0)) }
        case .commit(let id, let change):
            guard stores.indices.contains(number) else { return }
            let name = node.name
            commit(
                node, number, fault, true,
                { [unowned self] session in
                    let outcome = self.stores[number].commit(change, name: name, session: session, at: self.now)
                    if case .committed = outcome, number == self.ruling, change.writes.contains(.removeCopy) {
                        self.complain("\(name): takes the copy out of the store that rules")
                    }
                    return outcome
                }, { .other(.committed(id, $0)) })
        case .renew(let id, let holding, let within):
            renew(node, number, holding, within, fault) { .other(.renewed(id, $0)) }
        case .adopt(let id, let keeps):
            if keeps { endSession(node, node.home, false) }
            node.home = number
            tally["changes of store", default: 0] += 1
            if let session = node.session, stores[number].sessions[session] == nil {
                node.session = nil
                tell(node, .sessionLost("it expired"), after: .milliseconds(5))
            }
            // The record reaches the disk a moment later.
            let instance = node.instance
            after(.milliseconds(3)) { [unowned node] in
                guard node.instance == instance else { return }
                node.recordedHome = number
                node.movedBy = id
            }
            if answers(node, number) { tell(node, .storeConnected, after: .milliseconds(1)) }
        }
    }

    /// What this member's disk says of a migration.
    func record(of node: SimulatedMember) -> MigrationRecord? {
        if let prepared = node.prepared, prepared.number == node.home + 1 {
            return MigrationRecord(id: prepared.id, isOver: false, isConfigured: node.isPreparedConfigured)
        }
        return node.movedBy.map { MigrationRecord(id: $0, isOver: true) }
    }

    /// An operator reads that the cluster has moved, changes the configuration and starts the agent again.
    func correctConfiguration(_ node: SimulatedMember) {
        guard !node.isHostDown, node.home < ruling else { return }
        tally["configurations corrected", default: 0] += 1
        onLine?("OPERATOR: \(node.name) is told of store \(ruling)")
        killAgent(node)
        // An agent that was told of that store by a migration which it has not seen end begins with the one before.
        if node.prepared?.number == ruling, node.recordedHome == ruling - 1 {
            node.isPreparedConfigured = true
        } else {
            node.recordedHome = ruling
            node.prepared = nil
            node.movedBy = nil
        }
        node.sessions = [:]
        start(node)
    }

    func isCutOver(_ change: ClusterChange) -> Bool {
        change.writes.contains { write in
            if case .putMigration(let mark?) = write { mark.state == .moved } else { false }
        }
    }

    /// The next cut-over is long on its way; its agent may end meanwhile and come back before it arrives.
    func delayCutOver(_ node: SimulatedMember) -> Mishap? {
        guard let trial = cutOverTrial, !isHealed else { return nil }
        cutOverTrial = nil
        tally["late cut-overs", default: 0] += 1
        if trial.choice % 2 == 0 {
            after(.milliseconds(2)) { [unowned self, unowned node] in self.killAgent(node) }
            after(.milliseconds(30)) { [unowned self, unowned node] in self.start(node, resume: true) }
        }
        return .late(trial.lasts)
    }

    /// The cut-over is the store's: from this moment the next one rules.
    func noteMoved(_ change: ClusterChange, _ number: Int, _ node: SimulatedMember) {
        guard isCutOver(change) else { return }
        judgeCutOver(number, node)
        ruling = number + 1
        tally["cut-overs", default: 0] += 1
        onLine?("CUT-OVER to store \(ruling)")
        if stores[ruling].leader?.value.name != stores[number].leader?.value.name {
            // Allowed only where nobody can write; `check` sees to that.
            tally["cut-overs without a leader", default: 0] += 1
        }
    }

    /// What the cut-over compares, and what it waits for.
    private func judgeCutOver(_ number: Int, _ node: SimulatedMember) {
        let old = stores[number]
        let new = stores[number + 1]
        if old.leader?.value.name != node.name {
            complain(
                "\(node.name): cuts over, and \(old.leader?.value.name ?? "nobody") leads in the store that is left")
        }
        func configuration(_ store: ModelStore) -> JSONObject? {
            // To those who stay on it the old store looks paused from now on.
            var value = store.configuration?.value
            value?["pause"] = nil
            return value
        }
        if old.sync?.value != new.sync?.value || old.history?.value != new.history?.value
            || configuration(old) != configuration(new)
        {
            complain("\(node.name): cuts over, and the copy is not what the store that is left holds")
        }
        // A cut-over of an earlier instance, under a term that knows nothing of it.
        if let term = node.machine?.world.term, node.machine?.world.migration == nil,
            old.leader.map({ Fence(era: old.era, number: $0.version.created) }) == term.fence
        {
            complain("\(node.name): a late cut-over moves the cluster under the term \(term.fence)")
        }
        guard let deadlines = node.guardian.deadlines, !node.isUnfenced, !node.isExcused,
            let session = node.sessions[number + 1].flatMap({ new.sessions[$0] }), new.leader?.value.name == node.name
        else { return }
        if node.global(deadlines.end) > session.promised {
            complain(
                "\(node.name): the deadline at the cut-over outlives the new store's promise by "
                    + "\((node.global(deadlines.end) - session.promised).milliseconds) ms")
        }
    }

    func beginMigration(_ fault: Fault) {
        if ruling < 3 { migrate(to: fault.choice >> 8 % 2 == 0 ? stores[0].model : .etcd) }
    }

    /// An operator moves the cluster: members are told of the new store one after another, then the leader is asked.
    package func migrate(to model: StoreModel = .plain) {
        let next = ruling + 1
        if !stores.indices.contains(next) {
            var store = ModelStore()
            store.model = model
            stores.append(store)
        }
        attempts += 1
        let id = "m\(next).\(attempts)"
        var delay = Duration.zero
        for member in all {
            let member = member
            delay = delay + .milliseconds(5)
            after(delay) { [unowned self, unowned member] in
                guard let world = member.machine?.world, !member.isFrozen, !member.isHostDown, member.home == next - 1,
                    world.migration == nil, let view = world.view, view.migration?.state != .arriving
                else { return }
                member.prepared = (next, id)
                member.isPreparedConfigured = false
                self.deliver(member, .prepared(id, store: "store \(next)"))
            }
        }
        after(delay + .milliseconds(20)) { [unowned self] in
            guard let leader = self.stores[next - 1].leader?.value.name, let member = self.member(leader),
                member.machine != nil, !member.isFrozen, !member.isHostDown
            else { return }
            self.ask(leader, .migrate(id))
        }
        // The operator, or the command, takes the record back from nobody: a record of what never was does no harm.
    }

    package func stopOne(_ number: Int) {
        guard !stoppedStores.contains(number) else { return }
        stoppedStores.insert(number)
        for member in all {
            member.proofs[number] = []
            if member.home == number {
                tell(member, .storeDisconnected("no server answers"), after: .milliseconds(300))
            }
        }
    }

    package func startOne(_ number: Int) {
        guard stoppedStores.remove(number) != nil, stores.indices.contains(number), !isStoreStopped else { return }
        if stores[number].expire(at: now) { expired(number) }
        for member in all where member.home == number && !member.isStoreCut && !member.cutFrom.contains(number) {
            if let session = member.session, stores[number].sessions[session] == nil {
                member.session = nil
                tell(member, .sessionLost("it expired"), after: .milliseconds(5))
            } else if member.session != nil {
                tell(member, .storeConnected, after: .milliseconds(5))
            }
        }
    }

    func cutOne(_ node: SimulatedMember, _ number: Int) {
        guard node.cutFrom.insert(number).inserted else { return }
        node.proofs[number] = []
        if node.home == number { tell(node, .storeDisconnected("connection lost"), after: .milliseconds(5)) }
    }
}
