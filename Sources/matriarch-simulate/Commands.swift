import ArgumentParser
import Glibc
import Simulation

extension SimulationMode: ExpressibleByArgument {}

extension FaultKind: ExpressibleByArgument {}

/// Runs seeds.
struct Seeds: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "seeds", abstract: "Runs one seed, or many from one on.",
        discussion: """
            Status 0: every promise was kept; 1: one was broken, and the seed is told; 2: used wrongly.

            Examples:
              matriarch-simulate --count 10000
              matriarch-simulate --seed 4711 --trace
              matriarch-simulate --count 1000000 --from 1 --mode safety
            """)

    @Option(help: "Runs this seed alone.") var seed: Int?
    @Option(help: "The first seed.") var from = 1
    @Option(help: "How many seeds.") var count = 1000
    @Option(help: "Begins no further seed after so many seconds.") var seconds: Int?
    @Option(help: "safety: what must never be. liveness: the same, and a cluster that works again after the chaos.")
    var mode = SimulationMode.liveness
    @Option(help: "At most so many faults in a run.") var steps = 10
    @Option(parsing: .upToNextOption, help: "Only these kinds of faults (see 'kinds').") var faults: [FaultKind] = []
    @Option(parsing: .upToNextOption, help: "Only seeds whose plan has a fault of one of these kinds.")
    var having: [FaultKind] = []
    @Option(parsing: .upToNextOption, help: "Only seeds whose plan has no fault of these kinds.")
    var lacking: [FaultKind] = []
    @Flag(help: "Also the residual risks, which are counted and not promised.") var residual = false
    @Option(help: "So many members (2 to 7) instead of a draw.") var members: Int?
    @Option(help: "Only this store: zookeeper, etcd, consul or embedded.") var store: String?
    @Flag(help: "Prints everything that happens.") var trace = false
    @Option(help: "Runs at the same time.") var jobs = max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    @Option(help: "Stops after so many failing seeds.") var failures = 5
    @Flag(help: "No progress on standard error.") var quiet = false
    @Flag(inversion: .prefixedNo, help: "Looks for the few faults that are enough to make a failing seed fail.")
    var minimize = true

    func validate() throws {
        if let members, !(2...7).contains(members) { throw ValidationError("--members: 2 to 7, not \(members)") }
        if let store, !["zookeeper", "etcd", "consul", "embedded"].contains(store) {
            throw ValidationError("--store: zookeeper, etcd, consul or embedded, not '\(store)'")
        }
        if count < 1 || from < 0 || (seed ?? 0) < 0 || steps < 1 || jobs < 1 || failures < 1 {
            throw ValidationError("numbers have to be positive")
        }
    }

    func run() throws {
        var limits = Scenario.Limits()
        limits.kinds = faults.isEmpty ? (residual ? FaultKind.allCases : FaultKind.usual) : faults
        limits.members = members
        limits.store = store
        limits.steps = steps
        if let seed, trace {
            let scenario = Scenario.make(seed: UInt64(seed), limits: limits)
            let outcome = SimulationRun(scenario, mode: mode).run { print($0) }
            for violation in outcome.violations { print("broken: \(violation)") }
            if !outcome.violations.isEmpty { throw ExitCode(1) }
            return
        }
        let fixed = limits
        let having = Set(having)
        let lacking = Set(lacking)
        let campaign = Campaign(
            from: seed ?? from, count: seed == nil ? count : 1, mode: mode, failuresWanted: failures, isQuiet: quiet,
            minimizes: minimize, seconds: seconds,
            isWanted: { scenario in
                let kinds = Set(scenario.faults.map(\.kind))
                return (having.isEmpty || !having.isDisjoint(with: kinds)) && lacking.isDisjoint(with: kinds)
            }, make: { Scenario.make(seed: UInt64($0), limits: fixed) })
        if !campaign.run(jobs: seed == nil ? jobs : 1) { throw ExitCode(1) }
    }
}

/// Every placing of up to two faults.
struct Explore: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explore",
        abstract: "Tries every placing of up to two faults in coarse time, in every order of turns.")

    @Option(help: "2 or 3 members.") var members = 2
    @Option(help: "0, 1 or 2 faults.") var faults = 2
    @Option(help: "Slots of coarse time in which a fault may begin.") var slots = 4
    @Option(help: "Runs at the same time.") var jobs = max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    @Option(help: "One placing alone, with everything that happens.") var placing: Int?
    @Flag(help: "No progress on standard error.") var quiet = false

    func validate() throws {
        if !(2...3).contains(members) { throw ValidationError("--members: 2 or 3, not \(members)") }
        if !(0...2).contains(faults) { throw ValidationError("--faults: 0, 1 or 2, not \(faults)") }
        if !(1...20).contains(slots) { throw ValidationError("--slots: 1 to 20, not \(slots)") }
    }

    func run() throws {
        let exploration = Exploration(members: members, faults: faults, slots: slots)
        if let placing {
            guard (0..<exploration.count).contains(placing) else {
                throw ValidationError("--placing: below \(exploration.count)")
            }
            let scenario = exploration.scenario(placing)
            for fault in scenario.faults { print(fault) }
            let outcome = SimulationRun(scenario, mode: .liveness).run { print($0) }
            for violation in outcome.violations { print("broken: \(violation)") }
            if !outcome.violations.isEmpty { throw ExitCode(1) }
            return
        }
        log("\(exploration.count) placings")
        let campaign = Campaign(
            from: 0, count: exploration.count, mode: .liveness, failuresWanted: 5, isQuiet: quiet,
            minimizes: true
        ) { exploration.scenario($0) }
        if !campaign.run(jobs: jobs) { throw ExitCode(1) }
    }
}

/// What can go wrong.
struct Kinds: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "kinds", abstract: "Lists the kinds of faults.")

    func run() {
        for kind in FaultKind.allCases { print(kind.rawValue + (kind.isResidual ? "  (residual risk)" : "")) }
    }
}
