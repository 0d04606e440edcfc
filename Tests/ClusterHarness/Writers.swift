import ClusterModel
import Glibc
import Synchronization

/// Clients that insert every few milliseconds, each with a session that was opened before the fault: one for each
/// member from outside, and one more on each member's own host where the members have hosts of their own. Where a
/// session breaks another is opened, so that a member that comes back is heard of as well; one that hangs is held and
/// listened to until it breaks, while another is tried.
package final class Writers {
    private final class Shared: Sendable {
        struct State: Sendable {
            var acknowledgements: [Acknowledgement] = []
            var sessions: [String: Int] = [:]
            var running = 0
        }

        let state = Mutex(State())
        let isStopping = Atomic(false)
        /// What to add to PostgreSQL's clock (seconds since 1970) to have ours.
        let clockOffset = clockNow() - Double(wallNow().microseconds) / 1e6
        let network: Network?

        init(_ network: Network?) {
            self.network = network
        }

        var stops: Bool { isStopping.load(ordering: .relaxed) }

        func acknowledge(_ statement: Statement, _ answer: String?) {
            let now = clockNow()
            let words = (answer ?? "").split(separator: " ")
            let crossed = network?.wasCut(statement.member, statement.host.name, from: statement.sent, to: now) ?? false
            let one = Acknowledgement(
                member: statement.member, writer: statement.writer, number: statement.number,
                timeline: words.first.flatMap { Int($0, radix: 16) } ?? 0, place: statement.place, sent: statement.sent,
                acknowledged: now, executed: words.last.flatMap { Double($0) }.map { $0 + clockOffset },
                crossedCut: crossed)
            state.withLock { $0.acknowledgements.append(one) }
        }
    }

    /// A write under way.
    private struct Statement: Sendable {
        var member: String
        var host: Host
        var place: Acknowledgement.Place
        var writer: String
        var number: Int
        var sent: Double

        static let returning =
            " returning substring(pg_walfile_name(pg_current_wal_insert_lsn()) for 8) || ' ' || "
            + "extract(epoch from clock_timestamp())"
    }

    private let shared: Shared
    private let cluster: TestCluster

    /// Makes the table on the leader, waits until everybody has it, opens the sessions and begins.
    package init(_ cluster: TestCluster) throws {
        self.cluster = cluster
        shared = Shared(cluster.network)
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
        var writers: [String] = []
        for member in cluster.members {
            writers.append(start(on: member, from: cluster.network?.outside ?? .loopback, .outside, every: 0.005))
            if member.host.isSeparate { writers.append(start(on: member, from: member.host, .inside, every: 0.01)) }
        }
        try waitUntil("a session is open on every member and writes are acknowledged", within: 15) {
            shared.state.withLock { state in
                writers.allSatisfy { state.sessions[$0] ?? 0 > 0 } && state.acknowledgements.count > 20
            }
        }
    }

    private func start(
        on member: TestCluster.Member, from host: Host, _ place: Acknowledgement.Place, every pause: Double
    ) -> String {
        let shared = shared
        let parameters = cluster.connectionString(member, name: "writer")
        let writer = "\(member.name)-\(place)-\(UInt32.random(in: .min ... .max))"
        let prototype = Statement(
            member: member.name, host: host, place: place, writer: writer, number: 0, sent: 0)
        Self.onThread(shared, host) {
            var number = 0
            var session: Session?
            while !shared.stops {
                guard let open = session else {
                    session = try? Session(parameters, within: 3)
                    if session == nil {
                        pauseFor(0.02)
                    } else {
                        shared.state.withLock { $0.sessions[writer, default: 0] += 1 }
                    }
                    continue
                }
                number += 1
                var statement = prototype
                statement.number = number
                session = Self.write(statement, open, shared) ? open : nil
                pauseFor(pause)
            }
        }
        return writer
    }

    /// One insert; whether the session is still good for more.
    private static func write(_ statement: Statement, _ session: Session, _ shared: Shared) -> Bool {
        var statement = statement
        statement.sent = clockNow()
        guard
            session.send(
                "insert into writes (writer, number) values ('\(statement.writer)', \(statement.number))"
                    + Statement.returning)
        else { return false }
        let patience = clockNow() + 1
        while clockNow() < patience {
            switch session.outcome(within: 0.25) {
            case .done(let answer):
                shared.acknowledge(statement, answer)
                return true
            case .refused: return true
            case .broken: return false
            case .pending: if shared.stops { return false }
            }
        }
        listen(to: session, statement, shared)
        return false
    }

    /// Holds a session until its statement ends, on a thread of its own.
    private static func listen(to session: Session, _ statement: Statement, _ shared: Shared) {
        let box = Unshared(session)
        onThread(shared, statement.host) {
            while !shared.stops {
                switch box.value.outcome(within: 0.5) {
                case .done(let answer): return shared.acknowledge(statement, answer)
                case .refused, .broken: return
                case .pending: continue
                }
            }
        }
    }

    /// A statement of some seconds in a session of its own, begun now: its end counts as an acknowledgement too.
    package func beginLongStatement(on member: TestCluster.Member, seconds: Int) throws {
        let host = member.host
        let session = try host.inside { try Session(cluster.connectionString(member, name: "long")) }
        let statement = Statement(
            member: member.name, host: host, place: .inside, writer: "long-\(UInt32.random(in: .min ... .max))",
            number: 1, sent: clockNow())
        guard
            session.send(
                "with slept as materialized (select pg_sleep(\(seconds))) insert into writes (writer, number) "
                    + "select '\(statement.writer)', 1 from slept" + Statement.returning)
        else { throw SystemFailure("the long statement could not be sent") }
        Self.listen(to: session, statement, shared)
    }

    /// The acknowledgements so far, in the order in which they were read.
    package var acknowledgements: [Acknowledgement] {
        shared.state.withLock { $0.acknowledgements }.sorted { $0.acknowledged < $1.acknowledged }
    }

    /// Waits for an acknowledgement after an instant.
    @discardableResult
    package func waitForWrite(
        after instant: Double, on member: String? = nil, otherThan other: String? = nil,
        from place: Acknowledgement.Place? = nil, within seconds: Double
    ) throws -> Acknowledgement {
        try waitUntil("a write is acknowledged again", within: seconds, every: 0.02) {
            shared.state.withLock { state in
                state.acknowledgements.first { one in
                    one.sent > instant && (member == nil || one.member == member) && one.member != other
                        && (place == nil || one.place == place)
                }
            }
        }
    }

    /// Ends the clients.
    package func stop() throws {
        shared.isStopping.store(true, ordering: .relaxed)
        let shared = shared
        try waitUntil("the writers end", within: 15) { shared.state.withLock { $0.running } == 0 }
    }

    deinit {
        shared.isStopping.store(true, ordering: .relaxed)
    }

    /// Judges what was acknowledged: no timeline with two members, no two timelines that acknowledge at one time.
    package static func requireOneWriter(_ acknowledgements: [Acknowledgement]) throws {
        if let complaint = Judgement(acknowledgements).complaint { throw SystemFailure(complaint) }
    }

    /// The acknowledged writes that the leader does not have.
    package func missing(_ acknowledgements: [Acknowledgement], on leader: TestCluster.Member) throws
        -> [Acknowledgement]
    {
        let session = try Session(cluster.connectionString(leader))
        let text = try session.value(
            "select coalesce(string_agg(writer || ':' || number, ' '), '') from writes", within: 30)
        let there = Set(text.split(separator: " ").map(String.init))
        return acknowledgements.filter { !there.contains($0.key) }
    }

    /// How many acknowledged writes the leader does not have.
    package func lost(_ acknowledgements: [Acknowledgement], on leader: TestCluster.Member) throws -> Int {
        try missing(acknowledgements, on: leader).count
    }

    /// The longest time without any acknowledgement after an instant, in seconds.
    package static func gap(_ acknowledgements: [Acknowledgement], around instant: Double) -> Double {
        Judgement.gap(acknowledgements, around: instant)
    }

    /// Runs a client on a thread of its own, on a host.
    private static func onThread(_ shared: Shared, _ host: Host, _ body: @escaping @Sendable () -> Void) {
        shared.state.withLock { $0.running += 1 }
        let isStarted: Void? = try? startThread {
            if (try? host.enter()) != nil { body() }
            shared.state.withLock { $0.running -= 1 }
        }
        if isStarted == nil { shared.state.withLock { $0.running -= 1 } }
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

/// Tells a measurement, for whoever reads the tests' output.
package func tell(_ text: String) {
    let line = Array("  \(text)\n".utf8)
    _ = line.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
}
