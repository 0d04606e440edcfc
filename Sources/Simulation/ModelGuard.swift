package import ClusterModel
package import HighAvailability

/// The guard's side of the bargain: deadlines, postures, and the end of what is not allowed.
package struct ModelGuard {
    package var isUp = true
    package var term: Fence?
    package var over = Fence(era: 0, number: 0)
    package var deadlines: LeaseDeadlines?
    package var posture: GuardPosture = .replica
    /// Promoting, or started as a primary.
    package var isEnforced = false
    var isFrozen = false
    /// The promote signal was given: whatever `pg_control` says, it may be a primary at any moment.
    var hasPromoted = false
    var graceUntil: Instant?
    /// What the agent wrote into the page while the guard was stopped.
    var unread: (fence: Fence, deadlines: LeaseDeadlines, succeeds: Bool)?

    var isArmed: Bool { term != nil && deadlines != nil }
}
