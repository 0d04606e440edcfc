import CLeaseGuard
public import ClusterModel
import Dispatch
import Glibc

/// The agent's connection to its guard.
///
/// A guard serves one agent at a time: connecting replaces whoever was connected before, and whatever that one still writes
/// goes nowhere. Nothing here computes a deadline; the guard is told Q, K and E'.
///
/// ```swift
/// let client = try await GuardClient.connect(stateDirectory: "/var/lib/matriarch/main")
/// client.arm(deadline)
/// let pid = try await client.start(start)
/// for await report in client.reports { ... }
/// ```
public final class GuardClient: Sendable {
    let connection: GuardConnection

    private init(_ connection: GuardConnection) {
        self.connection = connection
    }

    deinit {
        connection.close("closed by the agent")
    }

    /// The guard's program: `matriarch-guard` beside the running program.
    public static var defaultExecutable: String {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let length = readlink("/proc/self/exe", &buffer, buffer.count)
        let path = String(decoding: buffer.prefix(max(0, length)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        guard let slash = path.lastIndex(of: "/") else { return "matriarch-guard" }
        return path[...slash] + "matriarch-guard"
    }

    /// Connects to the guard in the state directory; if none answers there and `launch` is set, launches one first.
    ///
    /// Ends within the given time, whatever happens. A launched guard is a daemon and outlives this process.
    /// - Parameter longestTerm: the guard refuses deadlines granted for longer than this.
    /// - Throws: `.unreachable` (nobody there, `launch` not set), `.launchFailed` (with what the program said), `.timedOut`,
    ///   `.incompatible`.
    public static func connect(
        stateDirectory: String, executable: String = GuardClient.defaultExecutable, launch: Bool = true,
        longestTerm: Duration = .seconds(300), within: Duration = .seconds(5)
    ) async throws(GuardError) -> GuardClient {
        let launcher = GuardLauncher(
            stateDirectory: stateDirectory, executable: executable, launch: launch, longestTerm: longestTerm,
            until: BootClock.now + within)
        let result: Result<GuardClient, GuardError> = await withCheckedContinuation { waiter in
            // A serial queue has a thread of its own; the global queues share theirs with Swift's tasks.
            DispatchQueue(label: "matriarch.guard.connect").async {
                waiter.resume(returning: launcher.connect().map { GuardClient(GuardConnection($0)) })
            }
        }
        return try result.get()
    }

    /// What the guard tells; one consumer. Begins with `.status`, ends with `.disconnected`.
    public var reports: AsyncStream<GuardReport> { connection.reports }

    /// The status that came with the latest answer or report.
    public var latestStatus: GuardStatus { connection.status }

    /// The connection stands. A stopped guard still counts: watch `rounds`.
    public var isAlive: Bool { connection.isOpen }

    /// How often the guard has looked at the page. It looks at least every T/8 or 4 s while a deadline is armed and each
    /// second otherwise: a number that stands still for longer is a stopped guard (`StallWatch`), and the agent stops
    /// PostgreSQL itself.
    public var rounds: UInt64 { connection.page.rounds }

    /// When the guard last looked at the page; nil if that cannot be read just now.
    public var lastRound: Instant? {
        connection.page.published.map { Instant(nanoseconds: $0.looked_at) }
    }

    /// Ends the connection. The guard goes on with the last deadlines; during a bootstrap it stops PostgreSQL.
    public func close() {
        connection.close("closed by the agent")
    }

    // MARK: The page

    /// Moves the deadline. From any thread; waits for nobody but another caller of these three, for nanoseconds.
    ///
    /// The first deadline of a term is answered by the report `.armed`, a refused one by `.refused`. `succeeds`: the
    /// holding that PostgreSQL runs under goes on under this term, of a later era, in another store.
    /// - Returns: false, and nothing is written, if the deadline would shrink, its term is older, over or frozen, its
    ///   instants are out of order, or the connection has ended.
    @discardableResult
    public func arm(_ deadline: GuardDeadline, succeeds: Bool = false) -> Bool {
        connection.page.arm(deadline, succeeds: succeeds)
    }

    /// The term's deadlines stand from here on as they are. Answered by `.status` with `isFrozen`.
    public func freeze() {
        connection.page.freeze()
    }

    /// The term is over, now and for good. If PostgreSQL runs on its strength, the guard stops it at once.
    public func endTerm() {
        connection.page.endTerm()
    }
}
