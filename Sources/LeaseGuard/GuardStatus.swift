import CLeaseGuard
public import ClusterModel

/// Everything the guard knows, at one moment.
public struct GuardStatus: Hashable, Sendable {
    /// The guard's own process.
    public var pid: Int32
    /// The running postmaster; nil when there is none, also while some of its processes are left.
    public var postmaster: Int32?
    /// When that postmaster was started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    public var postmasterStart: UInt64?
    /// Its data directory, also while some of its processes are left.
    public var dataDirectory: String?
    /// The postmaster is not the guard's child: no death signal protects it.
    public var isAdopted: Bool
    public var mode: GuardMode
    /// The armed term; nil when no deadline is in force.
    public var term: Fence?
    /// The highest term that is over and takes no deadline any more.
    public var endedTerm: Fence?
    public var quit: Instant?
    public var kill: Instant?
    public var end: Instant?
    /// The term's deadlines take no further change.
    public var isFrozen: Bool
    /// Nothing of that PostgreSQL is left that could acknowledge anything.
    public var isSilent: Bool
    /// The guard is stopping PostgreSQL. This is never revoked.
    public var isStopping: Bool
    /// PostgreSQL is there, and a deadline that passes stops it.
    public var isEnforced: Bool
    /// How often the guard has looked at the page.
    public var rounds: UInt64
    /// What the guard would like to have and may not: each a short sentence.
    public var degradations: [String]

    init(_ raw: mg_status) {
        func has(_ flag: UInt32) -> Bool { raw.flags & flag != 0 }
        let isArmed = has(MG_FLAG_ARMED)
        pid = raw.guard
        postmaster = raw.postmaster > 0 ? raw.postmaster : nil
        postmasterStart = raw.postmaster > 0 && raw.start_time > 0 ? raw.start_time : nil
        let directory = withUnsafePointer(to: raw) { String(cString: mg_status_directory($0)) }
        dataDirectory = directory.isEmpty ? nil : directory
        isAdopted = has(MG_FLAG_ADOPTED)
        mode = GuardMode(rawValue: raw.mode) ?? .none
        term = isArmed ? Fence(raw.term) : nil
        endedTerm = mg_term_is_none(raw.over) ? nil : Fence(raw.over)
        quit = isArmed ? Instant(nanoseconds: raw.quit) : nil
        kill = isArmed ? Instant(nanoseconds: raw.kill) : nil
        end = isArmed ? Instant(nanoseconds: raw.end) : nil
        isFrozen = has(MG_FLAG_FROZEN)
        isSilent = has(MG_FLAG_SILENT)
        isStopping = has(MG_FLAG_STOPPING)
        isEnforced = has(MG_FLAG_ENFORCED)
        rounds = raw.rounds
        degradations = Self.texts.filter { raw.degraded & $0.0 != 0 }.map(\.1)
    }

    private static let texts: [(UInt32, String)] = [
        (MG_DEGRADED_MEMORY, "its memory is not locked"),
        (MG_DEGRADED_OOM, "the kernel may choose it when memory runs out"),
        (MG_DEGRADED_PRIORITY, "its priority is not raised"),
        (MG_DEGRADED_CHILDREN, "the kernel does not list children: a slower search is used"),
        (MG_DEGRADED_WATCHDOG, "the watchdog is not armed"),
        (MG_DEGRADED_TIMER, "it has no timer for its own end"),
    ]
}

extension Fence {
    init(_ raw: mg_term) {
        self.init(era: raw.era, number: raw.number)
    }

    var raw: mg_term { mg_term(era: era, reserved: 0, number: number) }
}
