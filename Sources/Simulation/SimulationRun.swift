import ClusterModel
import HighAvailability

/// Which promises a run looks at.
package enum SimulationMode: String, Sendable, CaseIterable {
    /// What must never be, through the chaos.
    case safety
    /// The same, and afterwards: healed, the cluster must work again within bounds.
    case liveness
}

/// One run of a scenario, from an empty store to its end.
package struct SimulationRun {
    package var scenario: Scenario
    package var mode: SimulationMode

    /// What came of a run.
    package struct Outcome: Sendable {
        package var violations: [String] = []
        package var steps = 0
        package var handled = 0
        package var promotions = 0
        package var acknowledged = 0
        package var lostBytes: UInt64 = 0
        package var residualDoubles = 0
        package var virtualTime: Duration = .zero
        package var tally: [String: Int] = [:]
        /// The newest decisions before the end, when something was wrong.
        package var story: [String] = []
    }

    package init(_ scenario: Scenario, mode: SimulationMode) {
        self.scenario = scenario
        self.mode = mode
    }

    /// Bounds of virtual time for what must happen once nothing goes wrong any more.
    private var bound: Duration { scenario.ttl * 8 + .seconds(60) }

    package func run(onLine: ((String) -> Void)? = nil) -> Outcome {
        let cluster = build()
        if let onLine {
            cluster.onLine = { [unowned cluster] line in onLine("\(cluster.elapsed.milliseconds) ms  \(line)") }
        }
        cluster.startAll()
        if cluster.run(until: { $0.isHealthy($0.all) || !$0.violations.isEmpty }, within: .seconds(60)) == nil {
            cluster.complain("no healthy cluster within a minute of the first start")
        }
        if cluster.violations.isEmpty { chaos(cluster) }
        if cluster.violations.isEmpty, mode == .liveness { recover(cluster) }
        if !cluster.violations.isEmpty { for line in cluster.summary { cluster.onLine?(line) } }
        defer { cluster.end() }
        return outcome(cluster)
    }

    // MARK: - Parts

    private func build() -> SimulatedCluster {
        let scenario = scenario
        let cluster = SimulatedCluster(scenario.members, ttl: scenario.ttl, seed: scenario.seed) { settings, name in
            let index = (Int(name.dropFirst(2)) ?? 1) - 1
            settings.loopWait = scenario.loopWait
            settings.retryTimeout = .seconds(1)
            settings.maximumLagOnFailover = scenario.maximumLag
            settings.checkTimeline = scenario.checkTimeline
            settings.primaryStartTimeout = scenario.primaryStartTimeout
            settings.hasPrePromote = scenario.hasPrePromote
            settings.usesRewind = scenario.usesRewind
            var tags = JSONObject()
            if index < scenario.priorities.count, scenario.priorities[index] != 1 {
                tags["failover_priority"] = .integer(scenario.priorities[index])
            }
            if scenario.noFailover.contains(index) { tags["nofailover"] = true }
            if !tags.members.isEmpty { settings.tags = Tags(tags) }
        }
        if scenario.hasFailsafe {
            for member in cluster.all { member.settings.bootstrapConfiguration?["failsafe_mode"] = true }
        }
        cluster.grantsLost = scenario.grantsLost
        cluster.diskBusy = scenario.ttl / 8
        cluster.keepsStory = false
        cluster.jitter = scenario.jitter
        cluster.storeDelay = scenario.storeDelay
        cluster.store.model = scenario.store
        var random = SplitMix(seed: scenario.seed ^ 0xC10C)
        for member in cluster.all {
            member.isSupervised = true
            member.isViaFollower = scenario.viaFollower >> UInt64(member.index) & 1 == 1
            if scenario.clocksDrift {
                member.clockOffset = Int64(random.below(UInt64(3_600_000_000_000)))
                member.clockDrift = Int64(random.below(UInt64(8000))) - 4000
            }
            if let place = scenario.order.firstIndex(of: member.index) { member.turn = .milliseconds(place * 3) }
            if scenario.isSynchronous, member.index < 2 { member.postgres.synchronousNames = ["pg1", "pg2"] }
        }
        if scenario.isSynchronous {
            cluster.store.setSync(SyncState(leader: "pg1", quorum: 1, standbys: ["pg2"]))
            // Whoever is not named by /sync must not begin the cluster either.
            for member in cluster.all where member.index >= 2 { member.settings.bootstrapConfiguration = nil }
        }
        return cluster
    }

    private func chaos(_ cluster: SimulatedCluster) {
        let noise = scenario.noise
        cluster.wordsLost = noise.wordLost
        cluster.wordsTwice = noise.wordTwice
        var random = SplitMix(seed: scenario.seed ^ 0x0150)
        if !noise.isQuiet {
            cluster.fault = { _, effect in Self.mishap(effect, noise, &random) }
        }
        var writes = SplitMix(seed: scenario.seed ^ 0x3217)
        func write() {
            cluster.clientsWrite(1 + writes.below(scenario.writeBytes))
            cluster.after(scenario.writeEvery, write)
        }
        write()
        var end = Duration.zero
        for fault in scenario.faults {
            cluster.after(fault.at) { [unowned cluster] in cluster.begin(fault) }
            end = max(end, fault.at + fault.lasts)
        }
        var last = min(end, (scenario.faults.last?.at ?? .zero) + scenario.ttl * 2)
        // The store's return is part of its loss.
        for fault in scenario.faults where fault.kind.isStoreLoss {
            last = max(last, fault.at + fault.lasts + scenario.ttl * 2)
        }
        let limit = cluster.now + last + .milliseconds(500)
        while cluster.violations.isEmpty, cluster.step(until: limit) {}
    }

    private static func mishap(
        _ effect: Effect, _ noise: Noise, _ random: inout SplitMix
    ) -> SimulatedCluster.Mishap? {
        if random.perMille(noise.crashAtEffect) { return random.percent(50) ? .crashBefore : .crashAfter }
        switch effect {
        case .commit, .release, .renew, .read, .other(.commit), .other(.renew), .other(.read):
            var draw = random.below(UInt64(1000))
            if draw < noise.answerLost { return .answerLost }
            draw -= min(draw, noise.answerLost)
            if draw < noise.lost { return .lost }
            draw -= min(draw, noise.lost)
            if draw < noise.notSent { return .notSent }
            draw -= min(draw, noise.notSent)
            if draw < noise.late { return .late(random.duration(upTo: noise.lateUpTo)) }
            return nil
        case .startJob: return random.perMille(noise.failingJob) ? .notSent : nil
        case .sample: return random.perMille(noise.late) ? .late(random.duration(upTo: noise.lateUpTo)) : nil
        default: return nil
        }
    }

    /// The quorum is healed and the rest left broken: a primary, followers, answers, a complete history.
    private func recover(_ cluster: SimulatedCluster) {
        let broken = scenario.staysBroken.map { cluster.all[$0] }.flatMap { mayStayBroken($0, cluster) ? $0 : nil }
        cluster.onLine?("HEAL except \(broken?.name ?? "nobody")")
        cluster.heal(except: broken)
        let living = cluster.all.filter { $0 !== broken }
        cluster.after(bound / 3) { [unowned cluster] in cluster.orderFailoverIfForgotten(living) }
        func wait(_ what: String, _ living: [SimulatedMember]) -> Bool {
            let end = cluster.now + bound
            var isHealthy = false
            while !isHealthy, cluster.violations.isEmpty, cluster.now < end {
                // A pause that was asked for before the heal may come after it; in pause nobody takes over.
                cluster.takeBackPause()
                isHealthy =
                    cluster.run(
                        until: { $0.isHealthy(living) || !$0.violations.isEmpty || $0.isPauseWanted },
                        within: end - cluster.now) != nil && cluster.isHealthy(living)
            }
            if !isHealthy, cluster.violations.isEmpty {
                cluster.complain("\(what): not healthy within \(bound.milliseconds) ms of virtual time")
            }
            return cluster.violations.isEmpty
        }
        guard wait("after the heal", living) else { return }
        // Every request has its patience; nothing may be left of them after that.
        cluster.run(until: { $0.open.isEmpty || !$0.violations.isEmpty }, within: .seconds(70))
        cluster.judgeAnswers()
        cluster.takeBackPause()
        let leading = cluster.primary
        let position = leading.map { cluster[$0].postgres.lsn }
        let entry = cluster.store.leader?.version
        // What was late before the heal still is.
        cluster.run(for: scenario.loopWait * 2 + .seconds(2) + scenario.noise.lateUpTo)
        // What was on its way at the heal may still have cost it the lead, or the entry (and Consul's lock delay is to be over).
        if let position, cluster.primary == leading, let entry, cluster.store.leader?.version == entry {
            cluster.judgeRecords(position)
        }
        if cluster.primary == leading { cluster.judgeHistory() }
        cluster.judgeFences(living)
        guard cluster.violations.isEmpty, wait("when quiet", living) else { return }
        if let promoted = cluster.primary, promoted != leading {
            // Promoted in the meantime, it may have yet to write it.
            cluster.run(for: .seconds(2))
            if cluster.primary == promoted { cluster.judgeHistory() }
        }
        guard cluster.violations.isEmpty, living.count > 2 || broken == nil else { return }
        // Once in four: it takes as long as all the rest.
        if scenario.seed % 4 == 0 { loseThePrimary(cluster, living) }
    }

    /// Everybody streams: when the primary's host is lost for good another must lead.
    private func loseThePrimary(_ cluster: SimulatedCluster, _ living: [SimulatedMember]) {
        guard let name = cluster.primary, let primary = cluster.member(name) else { return }
        let heirs = living.filter { member in
            member !== primary && !scenario.noFailover.contains(member.index)
                && !(scenario.isSynchronous && member.index >= 2) && member.settings.tags.failoverPriority > 0
        }
        if heirs.isEmpty { return }
        // One that was seen in pause counts as unfenced until it says that it is not: an operator's case.
        cluster.run(
            until: { _ in living.allSatisfy { $0.machine?.world.lastHolder?.wasPaused != true } }, within: .seconds(5))
        cluster.killHost(primary)
        let limit = scenario.ttl * 4 + .seconds(15)
        let isLed: (SimulatedCluster) -> Bool = { cluster in
            cluster.primary != nil && cluster.primary != name && cluster.leader == cluster.primary
                || !cluster.violations.isEmpty
        }
        if cluster.run(until: isLed, within: limit) == nil {
            cluster.complain("no new primary within \(limit.milliseconds) ms after the old one was lost for good")
        }
    }

    /// Whoever may have what nobody else has is not left broken: the rest would rightly wait for it.
    private func mayStayBroken(_ member: SimulatedMember, _ cluster: SimulatedCluster) -> Bool {
        if cluster.all.count < 3 || scenario.isSynchronous && member.index < 2 { return false }
        if cluster.store.leader?.value.name == member.name || member.postgres.run?.isPrimary == true { return false }
        if member.name == (cluster.store.history?.value.rows.last?.newLeader ?? cluster.store.terms.last?.name) {
            return false
        }
        let electable = cluster.all.filter { $0 !== member && !scenario.noFailover.contains($0.index) }
        return !electable.isEmpty && cluster.store.terms.last?.name != member.name
    }

    private func outcome(_ cluster: SimulatedCluster) -> Outcome {
        var outcome = Outcome()
        outcome.violations = cluster.violations
        outcome.steps = cluster.steps
        outcome.handled = cluster.all.map(\.handled).reduce(0, +)
        outcome.promotions = cluster.tally["promotions"] ?? 0
        outcome.acknowledged = cluster.clients.count
        outcome.lostBytes = cluster.clients.lostBytes
        outcome.residualDoubles = cluster.residualDoubles
        outcome.virtualTime = cluster.elapsed
        outcome.tally = cluster.tally
        if !cluster.violations.isEmpty {
            outcome.story = cluster.story(last: 60).split(separator: "\n").map(String.init)
        }
        return outcome
    }
}
