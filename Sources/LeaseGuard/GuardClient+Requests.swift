import CLeaseGuard
public import ClusterModel
import Glibc

/// What is asked of the guard. Each call ends within its time; it is not ended early by cancelling the task, so that its
/// outcome is known. `.refused` means that nothing happened; after `.timedOut` or `.disconnected` it may have: look at the
/// status.
extension GuardClient {
    /// Starts PostgreSQL as the guard's child.
    ///
    /// In an enforced mode the term is armed first. Refused while anything of the previous PostgreSQL is left: await
    /// `.silent`. That the program was loaded does not mean that PostgreSQL accepts connections.
    /// - Returns: the postmaster's process.
    public func start(_ request: PostmasterStart, within: Duration = .seconds(5)) async throws(GuardError) -> Int32 {
        guard let bytes = request.blob() else {
            throw GuardError(.invalid, "an argument or a variable holds a NUL")
        }
        guard bytes.count <= Int(MG_BLOB_LIMIT) else {
            throw GuardError(.invalid, "arguments and environment take \(bytes.count) bytes, the limit is 131072")
        }
        let blob = mg_blob_create(bytes, bytes.count)
        guard blob >= 0 else { throw GuardError(.invalid, "no memory for the arguments: \(describe(errno))") }
        var raw = new(MG_START)
        raw.mode = request.mode.rawValue
        raw.term = request.term?.raw ?? mg_term()
        raw.arguments = UInt32(request.arguments.count + 1)
        raw.environment = UInt32(request.environment.count)
        raw.blob_length = UInt32(bytes.count)
        return try await connection.ask(raw, blob: blob, within: within).pid
    }

    /// Passes a signal on to the postmaster.
    public func signal(_ signal: PostmasterSignal, within: Duration = .seconds(2)) async throws(GuardError) {
        var raw = new(MG_SIGNAL)
        raw.signal =
            switch signal {
            case .fastShutdown: SIGINT
            case .smartShutdown: SIGTERM
            case .immediateShutdown: SIGQUIT
            case .reload: SIGHUP
            case .user1: SIGUSR1
            case .kill: SIGKILL
            }
        _ = try await connection.ask(raw, within: within)
    }

    /// Has the guard stop PostgreSQL at once: SIGQUIT to all its processes, SIGKILL after the given time (never after K).
    /// It is not revoked, and the armed term is over. Await `.silent`.
    public func stopImmediately(killAfter: Duration = .milliseconds(500), within: Duration = .seconds(2))
        async throws(GuardError)
    {
        var raw = new(MG_STOP)
        raw.duration = killAfter.nanosecondsClamped
        _ = try await connection.ask(raw, within: within)
    }

    /// Has the guard give the promote signal: it makes the promote file and sends SIGUSR1 itself.
    ///
    /// Refused unless a deadline is armed for this very term with at least an eighth of the lease left. Enforced from then
    /// on, although PostgreSQL may be in recovery for a while. Say `.primary` when it is not any more.
    public func promote(dataDirectory: String, term: Fence, within: Duration = .seconds(2)) async throws(GuardError) {
        var raw = new(MG_PROMOTE)
        raw.term = term.raw
        _ = try await connection.ask(raw, text: dataDirectory, within: within)
    }

    /// Puts a running postmaster that others started under the guard's eyes. It gets no death signal.
    /// - Parameters:
    ///   - startTime: as `startTime(of:)` gave it; another process by now is refused. Nil: not compared.
    ///   - mode: `.adopted` (a primary needs a term within the grace, or is stopped), `.replica`, `.paused`, or, with `term`
    ///     armed, `.primary`.
    public func adopt(
        pid: Int32, startTime: UInt64?, dataDirectory: String, mode: GuardMode = .adopted, term: Fence? = nil,
        grace: Duration = .seconds(30), within: Duration = .seconds(2)
    ) async throws(GuardError) {
        var raw = new(MG_ADOPT)
        raw.pid = pid
        raw.start_time = startTime ?? 0
        raw.mode = mode.rawValue
        raw.term = term?.raw ?? mg_term()
        raw.duration = grace.nanosecondsClamped
        _ = try await connection.ask(raw, text: dataDirectory, within: within)
    }

    /// Tells what PostgreSQL is by now. The guard refuses what would loosen its grip without cause: see the module's page.
    /// - Parameters:
    ///   - term: needed for `.primary` and `.failsafe`, and armed.
    ///   - grace: needed for `.resumed`: how long a primary may be without a renewal (T).
    @discardableResult
    public func setMode(
        _ mode: GuardMode, term: Fence? = nil, grace: Duration = .zero, within: Duration = .seconds(2)
    ) async throws(GuardError) -> GuardStatus {
        var raw = new(MG_SET_MODE)
        raw.mode = mode.rawValue
        raw.term = term?.raw ?? mg_term()
        raw.duration = grace.nanosecondsClamped
        return GuardStatus(try await connection.ask(raw, within: within).status)
    }

    /// Asks for everything the guard knows; waits for its answer.
    public func status(within: Duration = .seconds(2)) async throws(GuardError) -> GuardStatus {
        GuardStatus(try await connection.ask(new(MG_QUERY), within: within).status)
    }

    /// Tells the guard to end. Refused unless PostgreSQL is silent.
    public func leave(within: Duration = .seconds(2)) async throws(GuardError) {
        _ = try await connection.ask(new(MG_LEAVE), within: within)
    }

    /// When a process was started, in clock ticks since boot; nil if there is no such process.
    public static func startTime(of pid: Int32) -> UInt64? {
        let ticks = mg_start_time(pid)
        return ticks > 0 ? ticks : nil
    }

    private func new(_ type: mg_type) -> mg_request {
        var raw = mg_request()
        raw.header.type = UInt16(type.rawValue)
        return raw
    }
}
