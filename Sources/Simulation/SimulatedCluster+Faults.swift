import ClusterModel
import HighAvailability

/// Faults begin, and end again.
extension SimulatedCluster {
    /// Begins a fault; its end is planned with it.
    func begin(_ fault: Fault) {
        let node = all[fault.target % all.count]
        let other = all[(fault.target + 1 + Int(fault.choice % UInt64(max(1, all.count - 1)))) % all.count]
        tally[fault.kind.rawValue, default: 0] += 1
        onLine?("FAULT \(fault.kind.rawValue) \(node.name) (other \(other.name)) for \(fault.lasts.milliseconds) ms")
        func finally(_ action: @escaping () -> Void) {
            after(fault.lasts) { [unowned self] in
                self.onLine?("END of \(fault.kind.rawValue) \(node.name)")
                action()
            }
        }
        switch fault.kind {
        case .killAgent:
            killAgent(node)
            finally { self.start(node, resume: fault.choice % 3 != 0) }
        case .freezeAgent:
            freeze(node)
            finally { self.thaw(node) }
        case .killGuard: if !node.isServerFrozen { killGuard(node) }
        case .freezeGuard:
            guard !node.isServerFrozen else { return }
            freezeGuard(node)
            finally { self.thawGuard(node) }
        case .freezeAgentAndGuard:
            guard !node.isServerFrozen else { return }
            freeze(node)
            freezeGuard(node)
            finally {
                self.thawGuard(node)
                self.thaw(node)
            }
        case .crashServer: crashPostgres(node)
        case .freezeServer:
            guard !node.isGuardFrozen, node.guardian.isUp else { return }
            freezeServer(node)
            finally { self.thawServer(node) }
        case .freezeAgentAndServer:
            guard !node.isGuardFrozen, node.guardian.isUp else { return }
            freeze(node)
            freezeServer(node)
            finally {
                self.thawServer(node)
                self.thaw(node)
            }
        case .killHost:
            killHost(node)
            finally { self.startHost(node) }
        case .killEverything: killEverything(fault)
        case .cutStore:
            cutStore(node)
            finally { self.joinStore(node) }
        case .cutPeers:
            cut(node, from: all, oneWay: false)
            finally { self.join(node) }
        case .cutHost:
            cutStore(node)
            cut(node, from: all, oneWay: false)
            finally {
                self.join(node)
                self.joinStore(node)
            }
        case .deaf:
            cut(node, from: fault.choice % 2 == 0 ? [other] : all, oneWay: true)
            finally { self.join(node) }
        case .splitZones: splitZones(fault)
        case .lossyNetwork:
            wordsLost = 300
            wordsTwice = 300
            finally {
                self.wordsLost = 0
                self.wordsTwice = 0
            }
        case .storeOutage, .storeElection:
            stopStore()
            finally { self.startStore(electsLeader: fault.kind == .storeElection) }
        case .storeLost, .storeEmptied, .storeSetBack: beginStoreLoss(fault)
        case .grantorForgets, .unlistedReturns: beginFailsafeTrial(fault, node)
        case .slowStore:
            let usual = storeDelay
            storeDelay = .milliseconds(Int64(100 + fault.choice % 1900))
            finally { self.storeDelay = usual }
        case .lateAnswers:
            // Up to as long as a renewal is waited for.
            node.answersLate = ttl * Int(fault.choice % 25) / 100
            finally { node.answersLate = .zero }
        case .slowStart, .slowPromotion, .hangingStop, .failingStart, .diskFull, .heldReplication, .rewindImpossible:
            beginPostgresFault(fault, node)
        case .migrate: beginMigration(fault)
        case .oneStoreOutage:
            let number = ruling + Int(fault.choice % 2)
            stopOne(number)
            finally { self.startOne(number) }
        case .lateCutOver: cutOverTrial = fault
        case .cutOneStore:
            cutOne(node, ruling + Int(fault.choice % 2))
            finally { self.joinStore(node) }
        case .switchover, .failover, .restart, .reinitialize, .changeConfiguration, .pause, .stopAgent:
            beginOperatorFault(fault, node, other)
        case .freezeGuardAndServer:
            node.isExcused = true
            freezeGuard(node)
            freezeServer(node)
            finally {
                self.thawServer(node)
                self.thawGuard(node)
                self.after(.milliseconds(20)) { node.isExcused = false }
            }
        case .pauseHost:
            pauseHost(node)
            finally { self.resumeHost(node) }
        }
    }

    /// Power is lost everywhere, and comes back in some order.
    private func killEverything(_ fault: Fault) {
        var draw = SplitMix(seed: fault.choice)
        for member in all { killHost(member) }
        for member in all {
            let member = member
            after(fault.lasts + draw.duration(upTo: .seconds(2))) { [unowned self] in
                if member.isHostDown { self.startHost(member) }
            }
        }
    }

    /// Two zones that do not hear each other; the store is with one of them.
    private func splitZones(_ fault: Fault) {
        var draw = SplitMix(seed: fault.choice)
        let far = all.filter { _ in draw.percent(50) }
        let near = all.filter { member in !far.contains { $0 === member } }
        for member in far {
            cut(member, from: near, oneWay: false)
            if fault.choice % 3 != 0 { cutStore(member) }
        }
        after(fault.lasts) { [unowned self] in
            for member in far {
                self.join(member)
                self.joinStore(member)
            }
        }
    }

    private func beginPostgresFault(_ fault: Fault, _ node: SimulatedMember) {
        func finally(_ action: @escaping () -> Void) { after(fault.lasts, action) }
        switch fault.kind {
        case .slowStart:
            let usual = node.postgres.startTakes
            node.postgres.startTakes = fault.lasts
            crashPostgres(node)
            finally { node.postgres.startTakes = usual }
        case .slowPromotion:
            let usual = node.postgres.promoteTakes
            node.postgres.promoteTakes = fault.lasts
            finally { node.postgres.promoteTakes = usual }
        case .hangingStop:
            node.postgres.hangsInStop = true
            finally { node.postgres.hangsInStop = false }
        case .failingStart:
            node.postgres.startFailures = 1 + Int(fault.choice % 4)
            crashPostgres(node)
        case .diskFull:
            node.postgres.isDiskFull = true
            crashPostgres(node)
            finally { node.postgres.isDiskFull = false }
        case .heldReplication:
            node.postgres.isReplicationHeld = true
            finally { node.postgres.isReplicationHeld = false }
        case .rewindImpossible:
            node.postgres.rewindEnd =
                fault.choice % 2 == 0 ? .needsClone("neither checksums nor wal_log_hints") : .failed("it failed")
        // It stays so: the way back is a fresh copy.
        default: break
        }
    }

    private func beginOperatorFault(_ fault: Fault, _ node: SimulatedMember, _ other: SimulatedMember) {
        guard node.machine != nil else { return }
        // `/sync` names a pair that nobody changes here: an operator who led past it would have to change it as well.
        if let sync = store.sync?.value, [.failover, .switchover].contains(fault.kind),
            other.name != sync.leader, !sync.standbys.contains(other.name)
        {
            return
        }
        // The low bits choose whom it meets; these how it is asked.
        let way = fault.choice >> 32 % 8
        switch fault.kind {
        case .switchover: askForSwitchover(node, fault.choice % 2 == 0 ? other.name : nil, way)
        case .failover: ask(node.name, .failover(candidate: other.name))
        case .restart: askForRestart(node, way)
        case .reinitialize: ask(node.name, .reinitialize(force: fault.choice % 2 == 0, fromLeader: way == 0))
        case .changeConfiguration:
            let lag = JSONValue.integer(Int64(fault.choice % 1000))
            guard way == 0, var whole = store.configuration?.value else {
                ask(node.name, .patchConfiguration(["maximum_lag_on_failover": lag]))
                return
            }
            whole["maximum_lag_on_failover"] = lag
            ask(node.name, .replaceConfiguration(whole))
        case .pause:
            ask(node.name, .patchConfiguration(["pause": true]))
            after(fault.lasts) { [unowned self, unowned node] in
                guard node.machine != nil, !node.isFrozen else { return }
                self.ask(node.name, .patchConfiguration(["pause": .null]))
            }
        case .stopAgent:
            deliver(node, .stopAsked)
            watchEnd(of: node, node.instance)
            after(fault.lasts) { [unowned self, unowned node] in
                if node.machine == nil { self.start(node) }
            }
        default: break
        }
    }

    /// An agent that is asked to stop ends soon, whatever has become of its store and of the other members.
    private func watchEnd(of node: SimulatedMember, _ instance: Int, undisturbed: Int = 0) {
        after(.seconds(1)) { [unowned self, unowned node] in
            guard node.machine != nil, node.instance == instance else { return }
            // A cut-over that is on its way is waited for: the lease bounds that.
            let isDisturbed =
                node.isFrozen || node.isGuardFrozen || node.isServerFrozen || node.isHostPaused || node.job != nil
                || node.machine?.world.migration?.isCutting == true
            if !isDisturbed, undisturbed >= Self.mostSecondsToLeave {
                self.complain("\(node.name): asked to stop, and still there after \(undisturbed) s")
                return
            }
            self.watchEnd(of: node, instance, undisturbed: isDisturbed ? 0 : undisturbed + 1)
        }
    }

    private static let mostSecondsToLeave = 12

    private func askForSwitchover(_ node: SimulatedMember, _ candidate: String?, _ way: UInt64) {
        let leader = store.leader?.value.name
        guard way < 3 else {
            ask(node.name, .switchover(leader: leader, candidate: candidate, scheduledAt: nil))
            return
        }
        let ahead = Duration.milliseconds(Int64(500 + 2500 * way))
        ask(node.name, .switchover(leader: leader, candidate: candidate, scheduledAt: wall + ahead))
        // Some think better of it: in time, or as it begins.
        guard way > 0 else { return }
        after(ahead - .milliseconds(way == 1 ? 1000 : 1)) { [unowned self, unowned node] in
            guard node.machine != nil, !node.isFrozen else { return }
            self.ask(node.name, .cancelSwitchover)
        }
    }

    private func askForRestart(_ node: SimulatedMember, _ way: UInt64) {
        switch way {
        case 0: ask(node.name, .restart(RestartRequest(role: .primary)))
        case 1: ask(node.name, .restart(RestartRequest(timeout: .milliseconds(50))))
        case 2, 3:
            ask(node.name, .restart(RestartRequest(scheduledAt: wall + .seconds(2))))
            guard way == 3 else { return }
            after(.milliseconds(1990)) { [unowned self, unowned node] in
                guard node.machine != nil, !node.isFrozen else { return }
                self.ask(node.name, .cancelRestart)
            }
        default: ask(node.name, .restart(RestartRequest()))
        }
    }

    /// One that nobody repairs: dead, without the store, or with an agent that stands still.
    private func leaveBroken(_ member: SimulatedMember) {
        switch random.below(4) {
        case 0:
            member.isSupervised = true
            thaw(member)
            if !member.isHostDown, member.machine == nil { start(member) }
            cutStore(member)
            join(member)
        case 1:
            freeze(member)
            // Who stands still answers nobody.
            open = open.filter { $0.value.member != member.name }
        default: killHost(member)
        }
    }

    /// By the store, or by those who saw the pause last where the store has lost it.
    var isPauseWanted: Bool {
        guard let configuration = store.configuration else {
            return all.contains { $0.machine?.world.isPaused == true }
        }
        return configuration.value["pause"]?.bool == true
    }

    func takeBackPause() {
        guard isPauseWanted else { return }
        store.setConfiguration("pause", false)
        signalAll()
    }

    /// Ends whatever is still wrong, on all members but one that stays broken.
    func heal(except broken: SimulatedMember?) {
        isHealed = true
        fault = nil
        wordsLost = 0
        wordsTwice = 0
        jitter = min(jitter, .milliseconds(3))
        storeDelay = min(storeDelay, .milliseconds(5))
        for number in stoppedStores.sorted() { startOne(number) }
        startStore(electsLeader: false)
        takeBackPause()
        if let broken { leaveBroken(broken) }
        for member in all where member !== broken {
            member.answersLate = .zero
            join(member)
            var postgres = member.postgres
            postgres.hangsInStop = false
            postgres.isDiskFull = false
            postgres.isReplicationHeld = false
            postgres.startFailures = 0
            postgres.startTakes = .milliseconds(100)
            postgres.promoteTakes = .milliseconds(80)
            member.postgres = postgres
            if member.isHostPaused { resumeHost(member) }
            thawServer(member)
            thawGuard(member)
            thaw(member)
            if member.isHostDown { member.isHostDown = false }
            if member.isStoreCut || !member.cutFrom.isEmpty { joinStore(member) }
            member.isSupervised = true
            if member.machine == nil { start(member) }
        }
    }
}
