import ClusterModel
import HighAvailability

/// What goes wrong with single effects and messages, in thousandths: the background of a run.
package struct Noise: Sendable {
    package var answerLost: UInt64 = 0
    package var lost: UInt64 = 0
    package var notSent: UInt64 = 0
    package var late: UInt64 = 0
    package var lateUpTo: Duration = .milliseconds(500)
    package var failingJob: UInt64 = 0
    package var crashAtEffect: UInt64 = 0
    package var wordLost: UInt64 = 0
    package var wordTwice: UInt64 = 0

    package init() {}

    var isQuiet: Bool {
        answerLost + lost + notSent + late + failingJob + crashAtEffect + wordLost + wordTwice == 0
    }
}

/// Everything that distinguishes one run from another; made from a seed, or by hand.
package struct Scenario: Sendable {
    package var seed: UInt64
    package var members = 3
    package var store = StoreModel.zooKeeper(tick: .milliseconds(500))
    package var ttl: Duration = .seconds(3)
    package var loopWait: Duration = .seconds(1)
    package var maximumLag: UInt64 = 1_048_576
    package var checkTimeline = false
    package var primaryStartTimeout: Duration = .seconds(10)
    package var hasPrePromote = false
    package var usesRewind = true
    /// pg1 and pg2 have each other as synchronous standby, and `/sync` names the two.
    package var isSynchronous = false
    package var hasFailsafe = false
    /// Restarts, in hundredths, after which the record of grants is not to be read.
    package var grantsLost: UInt64 = 0
    package var viaFollower: UInt64 = 0
    package var clocksDrift = false
    package var jitter: Duration = .milliseconds(2)
    package var storeDelay: Duration = .milliseconds(2)
    package var writeEvery: Duration = .milliseconds(150)
    package var writeBytes: UInt64 = 4096
    package var priorities: [Int64] = []
    package var noFailover: Set<Int> = []
    package var noise = Noise()
    package var faults: [Fault] = []
    /// Whose events come first among those of one moment, by the members' numbers; empty: by the draw.
    package var order: [Int] = []
    /// Members that stay broken when the rest is healed.
    package var staysBroken: Int?

    package init(seed: UInt64) {
        self.seed = seed
    }

    /// Rules for making scenarios from seeds.
    package struct Limits: Sendable {
        package var kinds = FaultKind.usual
        package var members: Int?
        package var store: String?
        /// Faults in one run at most.
        package var steps = 10
        /// Whether some runs move the cluster to another store.
        package var migrations = true
        /// Whether some runs with a failsafe try what it is there to prevent.
        package var failsafeTrials = true

        package init() {}
    }

    /// The scenario of a seed: which kinds of faults, how many, on whom, under which settings. Each seed makes some rare
    /// things common and leaves others out.
    package static func make(seed: UInt64, limits: Limits = Limits()) -> Scenario {
        var random = SplitMix(seed: seed &* 0x9E37_79B9 &+ 0x1234_5678)
        var scenario = Scenario(seed: seed)
        scenario.members = limits.members ?? random.pick([2, 3, 3, 3, 3, 3, 3, 3, 3, 4, 5, 7]) ?? 3
        scenario.ttl = .seconds(random.pick([2, 3, 3, 3, 5, 10]) ?? 3)
        scenario.loopWait = scenario.ttl >= .seconds(5) ? .seconds(2) : .seconds(1)
        scenario.store = store(named: limits.store, &random)
        if case .consul = scenario.store { scenario.ttl = max(scenario.ttl, .seconds(3)) }
        scenario.maximumLag = random.pick([0, 16_384, 262_144, 1_048_576, 1_048_576]) ?? 1_048_576
        scenario.checkTimeline = random.percent(30)
        scenario.primaryStartTimeout = random.percent(20) ? .zero : .seconds(random.pick([3, 10, 300]) ?? 10)
        scenario.hasPrePromote = random.percent(15)
        scenario.usesRewind = random.percent(85)
        scenario.isSynchronous = scenario.members >= 2 && random.percent(15)
        if case .zooKeeper = scenario.store, scenario.ttl >= .seconds(3), random.percent(40) {
            scenario.viaFollower = random.next()
        }
        scenario.clocksDrift = random.percent(40)
        scenario.jitter = random.duration(upTo: .milliseconds(random.pick([1, 3, 10, 60]) ?? 3))
        scenario.storeDelay = .milliseconds(random.pick([1, 2, 2, 5, 20, 100]) ?? 2)
        scenario.writeEvery = .milliseconds(random.pick([50, 150, 400]) ?? 150)
        scenario.writeBytes = random.pick([200, 4096, 65_536]) ?? 4096
        // The first two may always lead: a cluster in which nobody may is none.
        scenario.priorities = (0..<scenario.members).map { index in
            random.percent(15) ? Int64(random.below(index < 2 ? 3 : 4)) + (index < 2 ? 1 : 0) : 1
        }
        if scenario.members > 2, random.percent(15) { scenario.noFailover = [2 + random.below(scenario.members - 2)] }
        scenario.noise = noise(&random)
        // A few kinds only in each run: so that one meets itself, and pairs meet often.
        let wanted = random.pick([1, 2, 2, 3, 3, 4, 6, limits.kinds.count]) ?? 3
        let kinds = (0..<wanted).compactMap { _ in random.pick(limits.kinds) }
        scenario.faults = faults(kinds, scenario, limits, &random)
        if random.percent(40) { scenario.staysBroken = random.below(scenario.members) }
        drawLosses(&scenario, limits, &random)
        if limits.migrations { addMigrations(to: &scenario) }
        if limits.failsafeTrials { addFailsafeTrial(to: &scenario) }
        return scenario
    }

    /// Drawn last: what the other draws make of a seed stays as it is.
    private static func drawLosses(_ scenario: inout Scenario, _ limits: Limits, _ random: inout SplitMix) {
        scenario.hasFailsafe = random.percent(40)
        if random.percent(30) { scenario.grantsLost = random.below(40) }
        guard limits.kinds == FaultKind.usual, random.percent(scenario.hasFailsafe ? 50 : 12) else { return }
        var kinds: [FaultKind] = [.storeLost, .storeLost, .storeEmptied, .storeSetBack]
        // An old state put back while the whole cluster is down is what nobody can tell from the newest (README).
        if scenario.faults.contains(where: { $0.kind == .killEverything }) { kinds.removeLast() }
        for _ in 0..<(1 + random.below(2)) {
            let lasts = scenario.ttl / 4 + random.duration(upTo: scenario.ttl * (random.percent(30) ? 8 : 3))
            scenario.faults.append(
                Fault(
                    random.pick(kinds) ?? .storeLost, at: random.duration(upTo: .seconds(6)), lasts: lasts,
                    target: random.below(scenario.members), choice: random.next()))
        }
        scenario.faults.sort { $0.at < $1.at }
    }

    /// In half of the runs without a failsafe and a lost store the cluster moves, some times, among whatever else happens.
    /// Drawn apart, so that the rest of a seed's scenario is what it was before there were migrations.
    private static func addMigrations(to scenario: inout Scenario) {
        var random = SplitMix(seed: scenario.seed &* 0xA076_1D64_78BD_642F ^ 0x516)
        guard !scenario.hasFailsafe, !scenario.faults.contains(where: { $0.kind.isStoreLoss }), random.percent(50)
        else { return }
        let last = (scenario.faults.last?.at ?? .zero) + .milliseconds(500)
        for _ in 0..<(1 + random.below(3)) {
            let at = random.duration(upTo: last)
            scenario.faults.append(Fault(.migrate, at: at, lasts: .milliseconds(10), target: 0, choice: random.next()))
            if random.percent(20) {
                scenario.faults.append(
                    Fault(
                        .lateCutOver, at: at, lasts: random.duration(upTo: scenario.ttl * 3 / 2), target: 0,
                        choice: random.next()))
            }
            guard random.percent(40) else { continue }
            // One of the two stores fails, for somebody or for all, somewhere between the first step and the last.
            let kind = random.pick([FaultKind.oneStoreOutage, .cutOneStore]) ?? .oneStoreOutage
            scenario.faults.append(
                Fault(
                    kind, at: at + random.duration(upTo: .milliseconds(400)),
                    lasts: random.duration(upTo: scenario.ttl * 3 / 2), target: random.below(scenario.members),
                    choice: random.next()))
        }
        scenario.faults.sort { $0.at < $1.at }
        // A member that is dead at the wrong moment has to be told by hands, which takes its time.
        scenario.staysBroken = nil
    }

    /// The leader lives by grants, and somebody knows nothing of them. Drawn apart, for the same reason.
    private static func addFailsafeTrial(to scenario: inout Scenario) {
        var random = SplitMix(seed: scenario.seed &* 0xE703_7ED1_A0B4_28DB ^ 0x3D8)
        // A store set back or emptied under a leader that cannot see it is nothing that anybody could know of (README).
        guard scenario.hasFailsafe, !scenario.isSynchronous, random.percent(25),
            !scenario.faults.contains(where: { $0.kind == .storeSetBack || $0.kind == .storeEmptied })
        else { return }
        let last = (scenario.faults.last?.at ?? .zero) + .milliseconds(500)
        scenario.faults.append(
            Fault(
                random.pick([.grantorForgets, .unlistedReturns]) ?? .grantorForgets,
                at: random.duration(upTo: last), lasts: scenario.ttl * 3 + random.duration(upTo: scenario.ttl),
                target: random.below(scenario.members), choice: random.next()))
        scenario.faults.sort { $0.at < $1.at }
    }

    private static func store(named name: String?, _ random: inout SplitMix) -> StoreModel {
        let all: [StoreModel] = [
            .zooKeeper(tick: .milliseconds(random.pick([200, 500, 1000]) ?? 500)), .plain, .etcd,
            .consul(lockDelay: .milliseconds(random.pick([0, 1000, 5000]) ?? 1000)),
        ]
        if let name { return all.first { $0.name == name } ?? all[0] }
        return all[random.pick([0, 0, 0, 1, 2, 3]) ?? 0]
    }

    private static func noise(_ random: inout SplitMix) -> Noise {
        var noise = Noise()
        guard random.percent(70) else { return noise }
        if random.percent(50) { noise.answerLost = random.below(30) }
        if random.percent(50) { noise.lost = random.below(30) }
        if random.percent(40) { noise.notSent = random.below(20) }
        if random.percent(50) {
            noise.late = random.below(random.pick([20, 80, 500]) ?? 80)
            noise.lateUpTo = .milliseconds(random.pick([50, 500, 600, 3000]) ?? 500)
        }
        if random.percent(40) { noise.failingJob = random.below(150) }
        if random.percent(40) { noise.crashAtEffect = random.below(15) }
        if random.percent(40) { noise.wordLost = random.below(200) }
        if random.percent(30) { noise.wordTwice = random.below(200) }
        return noise
    }

    private static func faults(
        _ kinds: [FaultKind], _ scenario: Scenario, _ limits: Limits, _ random: inout SplitMix
    ) -> [Fault] {
        let count = 1 + random.below(max(1, limits.steps))
        var at = Duration.zero
        let pace = random.pick([300, 1000, 2500]) ?? 1000
        return (0..<count).map { _ in
            at = at + random.duration(upTo: .milliseconds(pace))
            let kind = random.pick(kinds) ?? .killHost
            // For a half, nine tenths, eleven tenths and three leases, and anything between.
            let lasts: Duration
            switch random.below(8) {
            case 0: lasts = scenario.ttl / 2
            case 1: lasts = scenario.ttl * 9 / 10
            case 2: lasts = scenario.ttl * 11 / 10
            case 3: lasts = scenario.ttl * 2
            case 4: lasts = scenario.ttl * 7 / 10 + random.duration(upTo: scenario.ttl * 4 / 10)
            default: lasts = random.duration(upTo: scenario.ttl * 3 / 2)
            }
            return Fault(
                kind, at: at, lasts: lasts, target: random.below(scenario.members), choice: random.next())
        }
    }
}
