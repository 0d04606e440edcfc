import Dispatch
import Glibc
import Simulation
import Synchronization

/// Many runs on all processors, and a table of what they found.
final class Campaign: Sendable {
    private struct State {
        var next: Int
        var done = 0
        var failed: [(number: Int, scenario: Scenario, violations: [String])] = []
        var steps = 0
        var handled = 0
        var promotions = 0
        var acknowledged = 0
        var residual = 0
        var virtualSeconds = 0.0
        var tally: [String: Int] = [:]
        var toldAt = 0
    }

    private let state: Mutex<State>
    private let first: Int
    private let count: Int
    private let mode: SimulationMode
    private let failuresWanted: Int
    private let isWanted: @Sendable (Scenario) -> Bool
    private let make: @Sendable (Int) -> Scenario
    private let isQuiet: Bool
    private let minimizes: Bool
    /// When no further run is begun, on the monotonic clock; nil: when all are done.
    private let end: Int?

    init(
        from first: Int, count: Int, mode: SimulationMode, failuresWanted: Int, isQuiet: Bool, minimizes: Bool,
        seconds: Int? = nil, isWanted: @escaping @Sendable (Scenario) -> Bool = { _ in true },
        make: @escaping @Sendable (Int) -> Scenario
    ) {
        self.first = first
        self.count = count
        self.mode = mode
        self.failuresWanted = failuresWanted
        self.isWanted = isWanted
        self.make = make
        self.isQuiet = isQuiet
        self.minimizes = minimizes
        self.end = seconds.map { Self.now().tv_sec + $0 }
        self.state = Mutex(State(next: first))
    }

    /// Runs them; true when nothing was wrong.
    func run(jobs: Int) -> Bool {
        let began = Self.now()
        DispatchQueue.concurrentPerform(iterations: max(1, jobs)) { _ in work() }
        let ended = Self.now()
        let seconds = Double(ended.tv_sec - began.tv_sec) + Double(ended.tv_nsec - began.tv_nsec) / 1e9
        report(seconds)
        return state.withLock { $0.failed.isEmpty }
    }

    private static func now() -> timespec {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return time
    }

    private var isOver: Bool { end.map { Self.now().tv_sec >= $0 } ?? false }

    private func work() {
        while let number = take() {
            let scenario = make(number)
            guard isWanted(scenario) else { continue }
            let outcome = SimulationRun(scenario, mode: mode).run()
            let told = state.withLock { state -> Int? in
                state.done += 1
                state.steps += outcome.steps
                state.handled += outcome.handled
                state.promotions += outcome.promotions
                state.acknowledged += outcome.acknowledged
                state.residual += outcome.residualDoubles
                state.virtualSeconds += outcome.virtualTime.asSeconds
                for (name, times) in outcome.tally { state.tally[name, default: 0] += times }
                if !outcome.violations.isEmpty { state.failed.append((number, scenario, outcome.violations)) }
                let share = state.done * 20 / max(1, count)
                guard share > state.toldAt else { return nil }
                state.toldAt = share
                return state.done
            }
            if let told, !isQuiet, count >= 2000 { log("... \(told) of \(count)") }
        }
    }

    private func take() -> Int? {
        state.withLock { state in
            guard state.next < first + count, state.failed.count < failuresWanted, !isOver else { return nil }
            defer { state.next += 1 }
            return state.next
        }
    }

    private func report(_ seconds: Double) {
        let state = self.state.withLock { $0 }
        let rate = seconds > 0 ? Int(Double(state.done) / seconds) : 0
        print(
            "\(state.done) runs in \(rounded(seconds)) s (\(rate) a second): \(state.handled) events handled in "
                + "\(state.steps) steps, \(Int(state.virtualSeconds / 3600)) hours of virtual time, \(state.promotions) "
                + "promotions, \(state.acknowledged) acknowledged writes")
        if state.residual > 0 {
            print("residual risks: two members could acknowledge in \(state.residual) steps (measured, not promised)")
        }
        print("failed: \(state.failed.count)")
        for failure in state.failed.sorted(by: { $0.number < $1.number }).prefix(5) { tell(failure) }
        if state.failed.count > 5 {
            let further = state.failed.map(\.number).sorted().dropFirst(5)
            print("further: \(further.map(String.init).joined(separator: " "))")
        }
    }

    private func tell(_ failure: (number: Int, scenario: Scenario, violations: [String])) {
        print("\nseed \(failure.number): \(failure.violations.joined(separator: "; "))")
        if !minimizes { return }
        var minimizer = Minimizer()
        guard let (scenario, outcome) = minimizer.minimize(failure.scenario, mode: mode) else {
            print("  it does not fail again: the run is not a function of its seed, which is a fault of the simulator")
            return
        }
        print("  minimised: \(outcome.violations.joined(separator: "; "))")
        print("  \(scenario.members) members, \(scenario.store.name), ttl \(scenario.ttl), seed \(scenario.seed)")
        for fault in scenario.faults { print("  \(fault)") }
        print("  the last decisions:")
        for line in outcome.story.suffix(25) { print("    \(line)") }
    }
}

/// To standard error: what is not the result.
func log(_ text: String) {
    let line = Array((text + "\n").utf8)
    _ = line.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
}

func rounded(_ value: Double) -> Double { (value * 10).rounded() / 10 }

extension Duration {
    var asSeconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }
}
