/// The rules' codes by which the tests want faults to be explained; the one place to change them.
enum Rules {
    /// The entry is ours, with the fence of the term.
    static let acquired = ["lease.acquired"]
    /// Nobody holds the entry any more, as a follower sees it.
    static let leaderGone = ["leader.none"]
    static let promoted = ["promote.done"]
    /// PostgreSQL ended unasked.
    static let crashed = ["postgres.exited"]
    /// Why a holder's term ended against its will.
    static let leaseOver = ["lease.deadline", "lease.lost", "lease.tooLate", "guard.stopping", "postgres.exited"]
    /// The guard is not there, or said that it stops PostgreSQL.
    static let guardTrouble = ["guard.lost", "guard.stopping", "guard.refused", "postgres.exited", "lease.deadline"]
    static let switchoverBegun = ["switchover.begin", "operator.asked"]
    static let handedOver = ["lease.released", "switchover.release"]
    static let bootstrapped = ["bootstrap.begin"]
}
