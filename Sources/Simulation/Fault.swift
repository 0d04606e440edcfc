import ClusterModel

/// One kind of thing that goes wrong, or that an operator does at an unlucky moment.
package enum FaultKind: String, CaseIterable, Sendable {
    // Processes.
    case killAgent, freezeAgent, killGuard, freezeGuard, freezeAgentAndGuard
    case crashServer, freezeServer, freezeAgentAndServer, killHost, killEverything
    // Network.
    case cutStore, cutPeers, cutHost, deaf, splitZones, lossyNetwork
    // Store.
    case storeOutage, storeElection, slowStore, lateAnswers
    // PostgreSQL.
    case slowStart, slowPromotion, hangingStop, failingStart, diskFull, heldReplication, rewindImpossible
    // Operators.
    case switchover, failover, restart, reinitialize, changeConfiguration, pause, stopAgent
    // To another store, and one of the two out of reach.
    case migrate, oneStoreOutage, cutOneStore, lateCutOver
    // The store away for many leases, emptied, set back: drawn apart from the others.
    case storeLost, storeEmptied, storeSetBack
    // The leader cut off from the store, and a member without what it owes to it: drawn apart as well.
    case grantorForgets, unlistedReturns
    // Residual risks: tried only when asked for, and counted apart.
    case freezeGuardAndServer, pauseHost

    /// What no rule covers (safety rules, section 9): measured, not promised.
    package var isResidual: Bool { self == .freezeGuardAndServer || self == .pauseHost }

    /// Those of a cluster that moves to another store: they come beside the others, see `Scenario`.
    package var isOfMigrations: Bool { [.migrate, .oneStoreOutage, .cutOneStore, .lateCutOver].contains(self) }

    /// The store is not what it was.
    package var isStoreLoss: Bool { self == .storeLost || self == .storeEmptied || self == .storeSetBack }

    /// Those of a cluster with a failsafe: what makes them dangerous seldom meets by itself.
    package var isOfFailsafe: Bool { self == .grantorForgets || self == .unlistedReturns }

    /// Those that a run draws from unless it is told otherwise.
    package static var usual: [FaultKind] {
        allCases.filter { !$0.isResidual && !$0.isStoreLoss && !$0.isOfMigrations && !$0.isOfFailsafe }
    }
}

/// One fault of a plan: what, on whom, when and for how long.
package struct Fault: Sendable, CustomStringConvertible {
    package var kind: FaultKind
    /// After the cluster was first healthy.
    package var at: Duration
    package var lasts: Duration
    /// The number of the member; for store faults without meaning.
    package var target: Int
    /// A free choice of the fault's own: another member, a direction.
    package var choice: UInt64

    package init(_ kind: FaultKind, at: Duration, lasts: Duration, target: Int, choice: UInt64 = 0) {
        self.kind = kind
        self.at = at
        self.lasts = lasts
        self.target = target
        self.choice = choice
    }

    package var description: String {
        "\(at.milliseconds) ms: \(kind.rawValue) pg\(target + 1) for \(lasts.milliseconds) ms (choice \(choice % 1000))"
    }
}
