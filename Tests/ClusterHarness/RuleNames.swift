/// The rules' codes by which the tests want faults to be explained; the one place to change them.
package enum Rules {
    /// The entry is ours, with the fence of the term.
    package static let acquired = ["lease.acquired"]
    /// Nobody holds the entry any more, as a follower sees it.
    package static let leaderGone = ["leader.none"]
    package static let promoted = ["promote.done"]
    /// PostgreSQL ended unasked.
    package static let crashed = ["postgres.exited"]
    /// Why a holder's term ended against its will.
    package static let leaseOver = [
        "lease.deadline", "lease.lost", "lease.tooLate", "guard.stopping", "postgres.exited",
    ]
    /// The guard is not there, or said that it stops PostgreSQL.
    package static let guardTrouble = [
        "guard.lost", "guard.stopping", "guard.refused", "postgres.exited", "lease.deadline",
    ]
    package static let switchoverBegun = ["switchover.begin", "operator.asked"]
    package static let handedOver = ["lease.released", "switchover.release"]
    package static let bootstrapped = ["bootstrap.begin"]
}
