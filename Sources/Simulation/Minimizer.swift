import ClusterModel

/// Finds the few faults of a failing scenario that are enough to make it fail.
package struct Minimizer {
    /// Runs that may be spent.
    package var budget = 400

    package init() {}

    /// The scenario with as few faults and as little noise as still break a promise, and what they break. Nil: it does not
    /// fail at all.
    package mutating func minimize(
        _ scenario: Scenario, mode: SimulationMode
    ) -> (scenario: Scenario, outcome: SimulationRun.Outcome)? {
        var best = scenario
        guard var outcome = failing(best, mode) else { return nil }
        func accept(_ changed: Scenario, _ found: SimulationRun.Outcome) {
            best = changed
            outcome = found
        }
        // Noise first: without it the story is short.
        for quieten in Self.simplifications {
            var changed = best
            quieten(&changed)
            if let found = failing(changed, mode) { accept(changed, found) }
        }
        // Then faults, in halves, quarters and one by one.
        var size = max(1, best.faults.count / 2)
        while size >= 1, budget > 0 {
            var index = 0
            var removed = false
            while index < best.faults.count, budget > 0 {
                var changed = best
                changed.faults.removeSubrange(index..<min(index + size, changed.faults.count))
                if let found = failing(changed, mode) {
                    accept(changed, found)
                    removed = true
                } else {
                    index += size
                }
            }
            if size == 1, !removed { break }
            size = size == 1 ? 1 : size / 2
        }
        return (best, outcome)
    }

    private mutating func failing(_ scenario: Scenario, _ mode: SimulationMode) -> SimulationRun.Outcome? {
        budget -= 1
        let outcome = SimulationRun(scenario, mode: mode).run()
        return outcome.violations.isEmpty ? nil : outcome
    }

    private static let simplifications: [@Sendable (inout Scenario) -> Void] = [
        { $0.noise = Noise() },
        { $0.noise.crashAtEffect = 0 },
        { $0.noise.failingJob = 0 },
        {
            $0.noise.wordLost = 0
            $0.noise.wordTwice = 0
        },
        {
            $0.noise.answerLost = 0
            $0.noise.lost = 0
            $0.noise.notSent = 0
        },
        { $0.noise.late = 0 },
        { $0.clocksDrift = false },
        { $0.viaFollower = 0 },
        { $0.staysBroken = nil },
        { $0.hasPrePromote = false },
        { $0.priorities = [] },
        { $0.jitter = .milliseconds(1) },
    ]
}
