public import ClusterModel

/// What a rule wants done. The machine turns it into effects and changes of its world.
public enum Intention: Hashable, Sendable {
    /// Go on as it is.
    case nothing
    case exit(Int32, String)
    /// Leave without stopping PostgreSQL; the leader entry stays until it expires.
    case leaveRunning
    /// Leave: PostgreSQL is down.
    case leave
    case acquire(settling: FailoverRequest?, systemIdentifier: String?)
    /// Take the entry again under the grants in force.
    case retake
    /// Give the entry up; PostgreSQL is silent.
    case release
    /// The term is over: PostgreSQL is silenced this way.
    case endTerm(StopMode, reason: String)
    case startJob(Job)
    case cancelJob
    case stopServer(StopMode)
    /// The data is not the past of this term's leader: stop, to rejoin.
    case stopDiverged(Fence)
    /// Write again what a store that was emptied knew of this cluster.
    case registerAgain(String)
    case beginInitialize
    case finishBootstrap(ControlData)
    case abandonBootstrap(String)
    case beginRace(cause: String)
    case askPeers
    case yield
    case beginPromotion(Fence, Timeline)
    case runPrePromote(Fence)
    case promote(Fence)
    case failPromotion(String)
    case beginHandover(candidate: String?, isLeaving: Bool, request: FailoverRequest?)
    case handOver([String])
    case cancelHandover(String)
    case clearFailover(String)
    case stopForHandover
    case confirmHandover(LSN)
    case askCandidate
    case releaseToCandidate(LSN)
}

/// A rule's answer: what to do and why.
public struct Verdict: Hashable, Sendable {
    public var rule: RuleCode
    public var weight: Decision.Weight
    public var text: String
    public var facts: [Fact]
    public var intention: Intention

    public init(
        _ rule: RuleCode, _ weight: Decision.Weight = .action, _ text: String, _ facts: [Fact] = [],
        _ intention: Intention = .nothing
    ) {
        self.rule = rule
        self.weight = weight
        self.text = text
        self.facts = facts
        self.intention = intention
    }

    /// Nothing is done, and why.
    static func wait(_ rule: RuleCode, _ text: String, _ facts: [Fact] = []) -> Verdict {
        Verdict(rule, .routine, text, facts)
    }
}

extension Fact {
    init(_ name: String, _ lsn: LSN?) {
        self.init(name, lsn.map { .string($0.description) } ?? .null)
    }

    init(_ name: String, _ timeline: Timeline?) {
        self.init(name, timeline.map { .integer(Int64($0.number)) } ?? .null)
    }

    init(_ name: String, milliseconds duration: Duration) {
        self.init(name, .integer(duration.milliseconds))
    }

    init(_ name: String, _ text: String?) {
        self.init(name, text.map(JSONValue.string) ?? .null)
    }

    init(_ name: String, _ fence: Fence) {
        self.init(name, .string(fence.description))
    }
}
