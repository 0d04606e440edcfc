package import ClusterModel
package import HighAvailability

/// One host: an agent with its machine, a guard, a PostgreSQL, a clock of its own.
package final class SimulatedMember {
    package let name: String
    let index: Int
    package var settings: MachineSettings
    package var apiURL: String
    package var machine: HAMachine?
    /// Whether there is a machine: asking the machine itself copies it, and this is asked at every event.
    var hasMachine = false
    /// Counts the agent's starts: what was meant for an earlier instance does not reach the next.
    var instance = 0
    /// Counts the sessions opened or taken up, by store: it refuses the late requests of what had the session before.
    var connections: [Int: Int] = [:]
    package var handled = 0
    var wakeNumber = 0
    package var postgres = ModelPostgres()
    package var guardian = ModelGuard()
    package var marker: PromotionMarker?
    /// Its session with the store that it lives on.
    package var session: SessionID? {
        get { sessions[home] }
        set { sessions[home] = newValue }
    }
    /// By store: the next one's too while the cluster moves.
    package var sessions: [Int: SessionID] = [:]
    /// The number of the store that it lives on; the first is 0.
    package var home = 0
    /// That number as its record on disk has it, and the one at this instance's start.
    var recordedHome = 0
    var firstHome = 0
    /// The store that it was made ready for and the migration, on disk; and the one that it knows to be over.
    var prepared: (number: Int, id: String)?
    /// The configuration names the store that was prepared.
    var isPreparedConfigured = false
    var movedBy: String?
    /// Stores that it does not reach while it reaches others.
    var cutFrom: Set<Int> = []
    package var isStoreCut = false
    package var storeReachable: Bool { !isStoreCut && !cutFrom.contains(home) }
    /// The record of grants on its disk.
    package var grants: GrantRecord?
    /// A host that was booted anew cannot tell how much of a grant is left.
    var isBootedAnew = false
    /// Its record was lost once.
    var isForgetful = false
    /// What is written to its disk is written in order.
    var diskFreeAt = Instant.distantPast
    /// The dynamic configuration kept beside its data.
    package var cachedConfiguration: JSONObject?
    /// The highest era that its client has seen, by store.
    var knownEras: [Int: UInt32] = [:]
    /// The newest round that it asked for, and what of it was answered: by grantor, until when on this host's clock.
    var round: (id: EffectID, sent: Instant, peers: Set<String>, granted: [String: Instant])?
    /// So long, by the world's clock, may it write whatever the store says: everybody granted, or the store that was lost
    /// had promised.
    var backedUntil = Instant.distantPast
    package var isHostDown = false
    /// The agent's process is stopped.
    package var isFrozen = false
    /// The guard's process is stopped.
    var isGuardFrozen = false
    /// Every process of PostgreSQL is stopped.
    var isServerFrozen = false
    /// The whole machine stands still, its timers too.
    var isHostPaused = false
    /// A residual risk is being tried on this host: what it acknowledges is counted apart.
    var isExcused = false
    var inbox: [Event] = []
    /// The second whose events are counted, and how many there had been before it.
    var hasteSince: Instant = .distantPast
    var hasteFrom = 0
    /// When the last event of those that keep their order comes.
    var lastInOrder = Instant.distantPast
    /// Members that it has no connection with.
    package var isolated: Set<String> = []
    /// Members whose messages do not arrive here, while ours arrive there.
    package var deafTo: Set<String> = []
    var watches: Set<String> = []
    var lastWord: PeerStatus?
    var job: (id: EffectID, job: Job, instance: Int)?
    package var answers: [RequestID: [OperatorAnswer]] = [:]
    package var exit: (code: Int32, text: String)?
    package var counts: [String: Int] = [:]
    var ids: Set<EffectID> = []
    package var callbacks: [String] = []
    /// Its connection to the store ends at a follower: proofs count from the one two before.
    var isViaFollower = false
    /// The store's answers reach it so much later; its requests go out at once.
    var answersLate: Duration = .zero
    /// When the proofs of each store's session were sent, the newest last.
    var proofs: [Int: [Instant]] = [:]
    /// Nanoseconds that this host's clock is ahead, and how many millionths it runs too fast.
    var clockOffset: Int64 = 0
    var clockDrift: Int64 = 0
    /// Where the store stood, in bytes of WAL, when this member took the leader entry; nil: an operator named it.
    var boundAtAcquisition: LSN?
    /// How much later than it might everything reaches this member: whose turn it is.
    var turn: Duration = .zero
    /// An agent that ends by itself is started again, as a supervisor would.
    var isSupervised = false

    /// Nothing enforces a lease here, and everybody knows: in pause.
    var isUnfenced: Bool { guardian.posture == .paused || guardian.posture == .resumed && guardian.graceUntil != nil }

    /// Whether a client that holds a session here may get a commit acknowledged at this moment.
    var canAcknowledge: Bool {
        postgres.isWritable && !isHostDown && !isServerFrozen && !isHostPaused
    }

    init(name: String, index: Int, settings: MachineSettings) {
        self.name = name
        self.index = index
        self.settings = settings
        self.apiURL = "http://\(name):8008/patroni"
    }

    /// What this host's clock shows at a moment of the world.
    func local(_ instant: Instant) -> Instant {
        if clockDrift == 0, clockOffset == 0 { return instant }
        let elapsed = instant.nanoseconds - SimulatedCluster.origin.nanoseconds
        return Instant(
            nanoseconds: SimulatedCluster.origin.nanoseconds + clockOffset + elapsed + elapsed / 1_000_000 * clockDrift)
    }

    /// The moment of the world at which this host's clock shows an instant; never earlier than it does.
    func global(_ local: Instant) -> Instant {
        if clockDrift == 0, clockOffset == 0 { return local }
        if local > Instant(nanoseconds: .max / 8) || local < Instant(nanoseconds: 0) { return local }
        let elapsed = local.nanoseconds - SimulatedCluster.origin.nanoseconds - clockOffset
        return Instant(
            nanoseconds: SimulatedCluster.origin.nanoseconds + elapsed
                - elapsed / (1_000_000 + clockDrift) * clockDrift + (clockDrift == 0 ? 0 : 1000))
    }
}
