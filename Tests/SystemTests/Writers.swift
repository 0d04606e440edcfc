import Glibc
import Synchronization

/// A write that PostgreSQL acknowledged to a client.
struct Acknowledgement: Sendable, Hashable {
    var member: String
    var writer: String
    var number: Int
    /// The timeline it was written on.
    var timeline: Int
    /// When it was sent and when the acknowledgement was read.
    var sent: Double
    var acknowledged: Double
}

/// Clients that insert every 5 ms, one on each member, each with a session that was opened before the fault. Where a
/// session breaks another is opened, so that a member that comes back is heard of as well.
final class Writers {
    private final class Shared: Sendable {
        struct State: Sendable {
            var acknowledgements: [Acknowledgement] = []
            var sessions: [String: Int] = [:]
            var running = 0
        }

        let state = Mutex(State())
        let isStopping = Atomic(false)
    }

    private let shared = Shared()
    private let cluster: TestCluster

    /// Makes the table on the leader, waits until everybody has it, opens the sessions and begins.
    init(_ cluster: TestCluster) throws {
        self.cluster = cluster
        let leader = try cluster.leader()
        _ = try cluster.query(
            leader,
            "create table if not exists writes (writer text, number int, at timestamptz default clock_timestamp(), "
                + "primary key (writer, number))")
        for member in cluster.members {
            try waitUntil("\(member.name) has the table", within: 15) {
                try cluster.query(member, "select count(*) from pg_class where relname = 'writes'") == "1"
            }
        }
        for member in cluster.members { start(on: member) }
        let shared = shared
        let names = cluster.members.map(\.name)
        try waitUntil("a session is open on every member and writes are acknowledged", within: 15) {
            shared.state.withLock { state in
                names.allSatisfy { state.sessions[$0] ?? 0 > 0 } && state.acknowledgements.count > 20
            }
        }
    }

    private func start(on member: TestCluster.Member) {
        let shared = shared
        let name = member.name
        let parameters = cluster.connectionString(member, name: "writer")
        let writer = "\(name)-\(UInt32.random(in: .min ... .max))"
        shared.state.withLock { $0.running += 1 }
        Self.onThread {
            var number = 0
            var session: Session?
            while !shared.isStopping.load(ordering: .relaxed) {
                guard let open = session else {
                    session = try? Session(parameters, within: 3)
                    if session == nil {
                        pauseFor(0.02)
                    } else {
                        shared.state.withLock { $0.sessions[name, default: 0] += 1 }
                    }
                    continue
                }
                number += 1
                session = Self.write(number, on: name, writer, open, shared) ? open : nil
                pauseFor(0.005)
            }
            shared.state.withLock { $0.running -= 1 }
        }
    }

    /// One insert; whether the session is still good.
    private static func write(
        _ number: Int, on member: String, _ writer: String, _ session: Session, _ shared: Shared
    ) -> Bool {
        let sent = clockNow()
        guard
            session.send(
                "insert into writes (writer, number) values ('\(writer)', \(number)) "
                    + "returning substring(pg_walfile_name(pg_current_wal_insert_lsn()) for 8)")
        else { return false }
        while true {
            switch session.outcome(within: 0.5) {
            case .done(let timeline):
                let acknowledgement = Acknowledgement(
                    member: member, writer: writer, number: number,
                    timeline: timeline.flatMap { Int($0, radix: 16) } ?? 0, sent: sent, acknowledged: clockNow())
                shared.state.withLock { $0.acknowledgements.append(acknowledgement) }
                return true
            case .refused: return true
            case .broken: return false
            case .pending: if shared.isStopping.load(ordering: .relaxed) { return false }
            }
        }
    }

    /// A statement of some seconds in a session of its own, begun now: its end counts as an acknowledgement too.
    func beginLongStatement(on member: TestCluster.Member, seconds: Int) throws {
        let session = try Session(cluster.connectionString(member, name: "long"))
        let sent = clockNow()
        let writer = "long-\(UInt32.random(in: .min ... .max))"
        guard
            session.send(
                "with slept as materialized (select pg_sleep(\(seconds))) insert into writes (writer, number) "
                    + "select '\(writer)', 1 from slept "
                    + "returning substring(pg_walfile_name(pg_current_wal_insert_lsn()) for 8)")
        else { throw SystemFailure("the long statement could not be sent") }
        let shared = shared
        let name = member.name
        shared.state.withLock { $0.running += 1 }
        let box = Unshared(session)
        Self.onThread {
            waiting: while !shared.isStopping.load(ordering: .relaxed) {
                switch box.value.outcome(within: 0.5) {
                case .done(let timeline):
                    let acknowledgement = Acknowledgement(
                        member: name, writer: writer, number: 1, timeline: timeline.flatMap { Int($0, radix: 16) } ?? 0,
                        sent: sent, acknowledged: clockNow())
                    shared.state.withLock { $0.acknowledgements.append(acknowledgement) }
                    break waiting
                case .refused, .broken: break waiting
                case .pending: continue
                }
            }
            shared.state.withLock { $0.running -= 1 }
        }
    }

    /// The acknowledgements so far, in the order in which they were read.
    var acknowledgements: [Acknowledgement] {
        shared.state.withLock { $0.acknowledgements }.sorted { $0.acknowledged < $1.acknowledged }
    }

    /// Waits for an acknowledgement after an instant.
    @discardableResult
    func waitForWrite(after instant: Double, on member: String? = nil, within seconds: Double) throws -> Acknowledgement
    {
        try waitUntil("a write is acknowledged again", within: seconds, every: 0.02) {
            acknowledgements.first { $0.sent > instant && (member == nil || $0.member == member) }
        }
    }

    /// Ends the clients.
    func stop() throws {
        shared.isStopping.store(true, ordering: .relaxed)
        let shared = shared
        try waitUntil("the writers end", within: 15) { shared.state.withLock { $0.running } == 0 }
    }

    deinit {
        shared.isStopping.store(true, ordering: .relaxed)
    }

    /// Judges what was acknowledged: no timeline with two members, no two timelines that acknowledge at one time.
    static func requireOneWriter(_ acknowledgements: [Acknowledgement]) throws {
        let byTimeline = Dictionary(grouping: acknowledgements, by: \.timeline)
        try check(byTimeline[0] == nil, "an acknowledgement names no timeline")
        for (timeline, group) in byTimeline {
            let members = Set(group.map(\.member))
            try check(members.count == 1, "two members acknowledged on timeline \(timeline): \(members.sorted())")
        }
        let ordered = byTimeline.sorted { $0.key < $1.key }
        for (earlier, later) in zip(ordered, ordered.dropFirst()) {
            guard let last = earlier.value.max(by: { $0.acknowledged < $1.acknowledged }),
                let first = later.value.min(by: { $0.acknowledged < $1.acknowledged })
            else { continue }
            // The same member on two timelines is one server, which cannot overlap with itself.
            if last.member == first.member { continue }
            let doubled = earlier.value.count { $0.acknowledged >= first.acknowledged }
            try check(
                last.acknowledged < first.acknowledged,
                "\(last.member) acknowledged \(doubled) writes on timeline \(earlier.key) up to "
                    + "\(milliseconds(last.acknowledged - first.acknowledged)) ms after \(first.member) had acknowledged "
                    + "on timeline \(later.key)")
        }
    }

    /// How many acknowledged writes the leader does not have.
    func lost(_ acknowledgements: [Acknowledgement], on leader: TestCluster.Member) throws -> Int {
        let session = try Session(cluster.connectionString(leader))
        let text = try session.value(
            "select coalesce(string_agg(writer || ':' || number, ' '), '') from writes", within: 30)
        let there = Set(text.split(separator: " ").map(String.init))
        return acknowledgements.count { !there.contains("\($0.writer):\($0.number)") }
    }

    /// The longest time without any acknowledgement after an instant, in seconds.
    static func gap(_ acknowledgements: [Acknowledgement], around instant: Double) -> Double {
        let times = acknowledgements.map(\.acknowledged).sorted()
        return zip(times, times.dropFirst()).filter { $0.1 > instant }.map { $0.1 - $0.0 }.max() ?? 0
    }

    private static func onThread(_ body: @escaping @Sendable () -> Void) {
        Task.detached { _ = try? await SystemTests.onThread { body() } }
    }
}

/// A value handed from one thread to another, which alone uses it from then on.
private final class Unshared<Value>: @unchecked Sendable {
    let value: Value

    /// The giver must not use the value any more: that makes the unchecked conformance sound.
    init(_ value: Value) {
        self.value = value
    }
}

func milliseconds(_ seconds: Double) -> Int { Int((seconds * 1000).rounded()) }

/// Tells a measurement, for whoever reads the tests' output.
func tell(_ text: String) {
    let line = Array("  \(text)\n".utf8)
    _ = line.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
}
