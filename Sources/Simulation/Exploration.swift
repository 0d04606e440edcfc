import ClusterModel

/// Every placing of up to two faults in coarse time, for a small cluster: no draw decides what is tried.
///
/// A placing is a kind, a member, a slot of coarse time, and whose messages go first: within a slot the members act in
/// every order. Each placing is run to its end: from every state that it reaches there must be a way back to a cluster
/// that works.
package struct Exploration: Sendable {
    package var members: Int
    package var faults: Int
    /// The length of one slot; faults begin at its start.
    package var slot: Duration = .milliseconds(700)
    package var slots: Int
    package var kinds: [FaultKind]
    package var ttl: Duration = .seconds(3)

    package init(members: Int, faults: Int, slots: Int = 5, kinds: [FaultKind] = Exploration.allKinds) {
        self.members = members
        self.faults = faults
        self.slots = slots
        self.kinds = kinds
    }

    /// One of each way in which a member, a connection or the store can fail, and what operators do.
    package static let allKinds: [FaultKind] = [
        .killAgent, .freezeAgent, .killGuard, .freezeGuard, .freezeAgentAndGuard, .crashServer, .freezeServer,
        .killHost, .killEverything, .cutStore, .cutPeers, .cutHost, .deaf, .storeOutage, .storeElection, .slowStart,
        .slowPromotion, .hangingStop, .heldReplication, .switchover, .failover, .restart, .pause, .stopAgent,
    ]

    /// The faults that concern the store or everybody: whose turn it is makes no difference.
    private static let shared: Set<FaultKind> = [.killEverything, .storeOutage, .storeElection]

    /// One fault at each place.
    private var placings: [Fault] {
        var result: [Fault] = []
        for kind in kinds {
            for target in 0..<(Self.shared.contains(kind) ? 1 : members) {
                for place in 0..<slots {
                    result.append(
                        Fault(
                            kind, at: slot * place, lasts: ttl * 11 / 10, target: target,
                            choice: UInt64(place * 2 + target)))
                }
            }
        }
        return result
    }

    /// How many runs there are.
    package var count: Int {
        let single = placings.count
        let placed = 1 + single + (faults > 1 ? single * (single + 1) / 2 : 0)
        return placed * orders.count
    }

    private var orders: [[Int]] {
        func permutations(_ rest: [Int]) -> [[Int]] {
            if rest.count <= 1 { return [rest] }
            return rest.flatMap { first in permutations(rest.filter { $0 != first }).map { [first] + $0 } }
        }
        return permutations(Array(0..<members))
    }

    /// The scenario of one number below `count`.
    package func scenario(_ number: Int) -> Scenario {
        let orders = self.orders
        let placings = self.placings
        var scenario = Scenario(seed: 1)
        scenario.members = members
        scenario.ttl = ttl
        scenario.jitter = .zero
        scenario.order = orders[number % orders.count]
        var rest = number / orders.count
        if rest == 0 { return scenario }
        rest -= 1
        if rest < placings.count {
            scenario.faults = [placings[rest]]
            return scenario
        }
        rest -= placings.count
        // The pairs with repetition, row by row.
        var first = 0
        while rest >= placings.count - first {
            rest -= placings.count - first
            first += 1
        }
        let pair = [placings[first], placings[first + rest]]
        scenario.faults = pair.sorted { $0.at < $1.at }
        return scenario
    }
}
