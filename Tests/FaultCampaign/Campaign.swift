import ClusterHarness
import ClusterModel
import Glibc

/// Runs faults one after another on real clusters, judges each, and keeps the report current.
///
/// Faults of one setting share a cluster as long as they pass; after a failure the next one gets a new cluster, so that
/// a failure tells of its own fault only.
final class Campaign {
    private let store: StoreKind
    private let ttl: Int
    private let hasNetwork: Bool
    private let report: Report
    private var cluster: TestCluster?

    init(store: StoreKind, ttl: Int, hasNetwork: Bool, report: Report) {
        self.store = store
        self.ttl = ttl
        self.hasNetwork = hasNetwork
        self.report = report
    }

    /// Runs the faults; those that the machine does not allow are recorded as such.
    func run(_ faults: [Fault], rounds: Int, missing: [Fault.Need: String]) throws {
        defer { end() }
        for setting in Fault.Setting.allCases {
            for fault in faults where fault.setting == setting {
                // Faults of servers that the store does not have are none of this store's.
                if fault.needs.contains(.storeServers), !store.hasServers { continue }
                let obstacles = fault.needs.compactMap { need in missing[need].map { "\(need.rawValue): \($0)" } }
                if !obstacles.isEmpty {
                    var record = RunRecord(fault, store: store, round: 1)
                    record.outcome = .notRun
                    record.notes = obstacles
                    tell(record.line + ": " + obstacles.joined(separator: "; "))
                    try report.add(record)
                    continue
                }
                for round in 1...max(1, rounds) { try run(fault, round) }
            }
            end()
        }
    }

    private func run(_ fault: Fault, _ round: Int) throws {
        var record = RunRecord(fault, store: store, round: round)
        do {
            let cluster = try self.cluster ?? begin(fault.setting)
            self.cluster = cluster
            try cluster.waitUntilHealthy()
            try perform(fault, cluster, &record)
        } catch {
            record.failures.append("\(error)")
        }
        record.outcome = !record.failures.isEmpty ? .failed : fault.promise == .nothing ? .measured : .passed
        tell(record.line)
        var words: String?
        if !record.failures.isEmpty, let cluster {
            words = cluster.lastWords()
            cluster.end()
            self.cluster = nil
        }
        try report.add(record, lastWords: words)
    }

    // MARK: Clusters

    private func begin(_ setting: Fault.Setting) throws -> TestCluster {
        var plan = ClusterPlan(store, ttl: ttl, ensemble: store.hasServers ? 3 : 1)
        plan.usesFollowersOnly = false
        plan.hasNetwork = hasNetwork
        plan.hasStoreLinks = !hasNetwork && store.hasServers
        switch setting {
        case .usual: break
        case .smallDisk:
            plan.diskBytes = 400 << 20
            // A new segment is asked of the disk, not taken from the pool.
            plan.parameters = ["wal_recycle": "'off'", "wal_init_zero": "'on'", "wal_keep_size": "64MB"]
        case .archive: plan.archives = true
        case .failsafe, .links:
            plan.hasFailsafe = setting == .failsafe
            plan.hasNetwork = false
            plan.hasStoreLinks = store.hasServers
        case .bigLog:
            plan.parameters = [
                "max_wal_size": "8GB", "checkpoint_timeout": "1h", "wal_keep_size": "2GB", "full_page_writes": "'on'",
            ]
        }
        let cluster = try TestCluster(plan)
        do {
            try cluster.startAll()
        } catch {
            let words = cluster.lastWords()
            cluster.end()
            throw SystemFailure("the cluster did not start: \(error)\n\(words)")
        }
        return cluster
    }

    /// Ends the cluster as an operator would; that nothing is left behind is part of the judgement.
    private func end() {
        guard let cluster else { return }
        self.cluster = nil
        do {
            try cluster.stopAll()
        } catch {
            report.complain("the \(store.rawValue) cluster did not end cleanly: \(error)")
            tell("FAILED to stop: \(error)")
        }
        cluster.end()
    }

    // MARK: One run

    private func perform(_ fault: Fault, _ cluster: TestCluster, _ record: inout RunRecord) throws {
        record.members = cluster.members.map(\.name)
        record.leaseLength = Double(cluster.ttl)
        let since = wallNow()
        // What of `matriarch explain` is on the wall clock is put on ours by this.
        let offset = clockNow() - Double(since.microseconds) / 1e6
        let run = try FaultRun(cluster)
        let before = Footprint(cluster)
        record.leaderBefore = run.leader.name
        record.origin = clockNow()
        do {
            try fault.act(run)
        } catch {
            record.failures.append("during the fault: \(error)")
        }
        run.end()
        try? cluster.healNetwork()
        record.origin = run.began ?? record.origin
        record.lastsUntil = (run.ended ?? clockNow()) - record.origin
        record.victims = run.victims
        record.notes = run.notes

        do {
            try cluster.waitUntilWhole(within: fault.patience)
            record.wholeAfter = clockNow() - record.origin
        } catch {
            record.failures.append("not everybody came back: \(error)")
        }
        // A picture that ends with the return shows nothing of what came after it.
        pauseFor(0.5)
        do { try run.writers.stop() } catch { record.failures.append("\(error)") }

        let all = run.writers.acknowledgements
        record.acknowledgements = all
        record.judgement = Judgement(all)
        let outside = all.filter { $0.place == .outside }
        record.gaps = Judgement.gaps(outside, around: record.origin, longerThan: 0.2)
        record.longestGap = Judgement.gap(outside, around: record.origin)
        record.marks = marks(cluster, since, offset: offset - record.origin)
        if fault.promise != .nothing, let complaint = record.judgement.complaint {
            record.failures.append(complaint)
        }
        if record.wholeAfter != nil {
            do {
                // A deadline that passed soon after the return moves the lead once more.
                let leader = try waitUntil("one member leads", within: fault.patience, every: 0.1) {
                    try cluster.leader()
                }
                record.leaderAfter = leader.name
                record.lost = try run.writers.missing(all, on: leader)
                // A server that crashed and was recovered, or never went, has every write that it acknowledged.
                let moved = Set(all.map(\.member)).count > 1
                if !record.lost.isEmpty, fault.promise == .keepsAll || (!moved && leader === run.leader) {
                    record.failures.append("\(record.lost.count) acknowledged writes are lost")
                }
            } catch {
                record.failures.append("what was kept cannot be told: \(error)")
            }
            record.failures += Footprint(cluster).complaints(since: before, cluster)
        }
    }

    private func marks(_ cluster: TestCluster, _ since: WallTime, offset: Double) -> [RunRecord.Mark] {
        guard let decisions = try? cluster.explain(since: since) else { return [] }
        return decisions.map { one in
            RunRecord.Mark(
                at: Double(one.at.microseconds) / 1e6 + offset, member: one.member, rule: one.rule, text: one.text,
                facts: JSONValue.object(one.facts).serialized())
        }.sorted { $0.at < $1.at }
    }
}

extension TestCluster {
    /// Healthy by what everybody says, and by what they do: a row written on the leader arrives at every replica.
    func waitUntilWhole(within seconds: Double) throws {
        let deadline = clockNow() + seconds
        try waitUntilHealthy(within: seconds)
        try waitUntil("what the leader writes arrives everywhere", within: max(5, deadline - clockNow()), every: 0.1) {
            let leader = try leader()
            let mark = try query(
                leader,
                "insert into writes (writer, number) values ('whole-' || gen_random_uuid(), 0) returning writer"
            )
            for member in members where member !== leader {
                try waitUntil("\(member.name) has it", within: 5) {
                    try query(member, "select count(*) from writes where writer = '\(mark)'") == "1"
                }
            }
            return true
        }
    }
}
