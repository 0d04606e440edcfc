public import ClusterModel
import Glibc
public import Logging
import PluginInterfaces

/// Starts and signals the postmaster; the guard does it in production.
public protocol PostmasterControl: Sendable {
    /// Starts the server and returns its process number once it was forked.
    func start(_ command: ServerCommand) async throws(PostgresError) -> Int32
    /// Signals the running postmaster: SIGHUP, SIGTERM, SIGINT, SIGQUIT.
    func signal(_ number: Int32, to process: RunningPostmaster) async throws(PostgresError)
}

/// One postmaster that was seen running, named so that a reused process number is never taken for it.
public struct RunningPostmaster: Hashable, Sendable {
    public var processID: Int32
    /// In clock ticks after boot.
    public var startTicks: UInt64

    public init(processID: Int32, startTicks: UInt64) {
        self.processID = processID
        self.startTicks = startTicks
    }

    /// The process of this number as it is now; nil when there is none.
    public init?(processID: Int32) {
        guard let facts = ProcessFacts.read(processID), !facts.isDead else { return nil }
        self.init(processID: processID, startTicks: facts.startTicks)
    }

    /// Whether it still runs; a dead process that nobody has collected yet does not.
    public var isRunning: Bool {
        guard let facts = ProcessFacts.read(processID) else { return false }
        return !facts.isDead && facts.startTicks == startTicks
    }
}

/// How a start went.
public enum StartOutcome: Hashable, Sendable {
    /// Connections are taken.
    case accepting
    /// Up, in recovery, and takes no connections by its configuration.
    case acceptingNone
    /// The postmaster ended: its log says why.
    case exited
    /// Neither in time; it goes on starting.
    case stillStarting
}

/// How hard to stop.
public enum StopMode: String, Hashable, Sendable, CaseIterable {
    /// SIGTERM: waits for the clients.
    case smart
    /// SIGINT: ends sessions, writes a checkpoint.
    case fast
    /// SIGQUIT: ends at once; the next start recovers.
    case immediate

    public var signal: Int32 {
        switch self {
        case .smart: SIGTERM
        case .fast: SIGINT
        case .immediate: SIGQUIT
        }
    }
}

/// How a stop went.
public enum StopOutcome: Hashable, Sendable {
    /// It ran no more when we came.
    case wasStopped
    case stopped(by: StopMode)
    /// Still there after the last mode's time: the guard's SIGKILL is what is left.
    case stillRunning
}

/// The postmaster of one data directory: found, started, waited for, stopped.
public struct Postmaster: Sendable {
    public var layout: PostgresLayout
    public var control: any PostmasterControl
    public var logger: Logger

    public init(layout: PostgresLayout, control: any PostmasterControl, logger: Logger) {
        self.layout = layout
        self.control = control
        self.logger = logger
    }

    /// The postmaster that runs on the data directory, verified against its process: nil when none does.
    ///
    /// The file alone proves nothing: it stays after a crash, and its number may belong to somebody else by now.
    public static func running(dataDirectory: String) -> RunningPostmaster? {
        guard let file = PostmasterFile.read(dataDirectory: dataDirectory), !file.isSingleUser,
            let facts = ProcessFacts.read(file.processID), !facts.isDead, file.processID != getpid()
        else { return nil }
        let process = RunningPostmaster(processID: file.processID, startTicks: facts.startTicks)
        if let mine = Files.facts(dataDirectory), let theirs = Files.facts("/proc/\(file.processID)/cwd") {
            return mine.device == theirs.device && mine.inode == theirs.inode ? process : nil
        }
        guard let start = facts.startTime else { return nil }
        return abs(start - file.startTime) <= 3 ? process : nil
    }

    /// The postmaster of this layout's data directory.
    public func running() -> RunningPostmaster? { Self.running(dataDirectory: layout.dataDirectory) }

    /// Starts the server. Refuses while another one runs on the data directory.
    public func start(
        scope: ListeningScope = .configured, asStandby: Bool, logFile: String? = nil
    ) async throws(PostgresError) -> RunningPostmaster {
        if let other = running() {
            throw PostgresError(.refused, "a postmaster (process \(other.processID)) runs on \(layout.dataDirectory)")
        }
        var control: ControlData?
        do throws(PostgresError) {
            control = try await ControlFile.load(dataDirectory: layout.dataDirectory)?.data
        } catch {
            // The server itself will say what is wrong with it; here it only tells how high a standby's settings must be.
            logger.warning("the control file cannot be read before the start: \(error)")
        }
        var command = ServerCommand.start(layout, scope: scope, asStandby: asStandby, control: control)
        command.logFile = logFile
        if let stale = PostmasterFile.read(dataDirectory: layout.dataDirectory),
            Files.facts("/proc/\(stale.processID)/cwd") != nil || ProcessFacts.read(stale.processID)?.isDead == true
        {
            // The number in the file of a crashed server may belong to another process of our account by now (it often
            // does in containers), or to its own corpse that nobody has collected yet; the server takes it for its own ancestor, and starts, when it is told so.
            command.environment["PG_GRANDPARENT_PID"] = String(stale.processID)
        }
        let processID = try await self.control.start(command)
        guard let process = RunningPostmaster(processID: processID) else {
            throw PostgresError(.program, "\(command.executable) ended as soon as it was started")
        }
        return process
    }

    /// Waits until the server takes connections, by its own word in `postmaster.pid`: noticed within milliseconds.
    public func waitUntilAccepting(
        _ process: RunningPostmaster, within time: Duration
    ) async throws(PostgresError) -> StartOutcome {
        let begun = SystemClock.now()
        let until = begun + time
        let directory = layout.dataDirectory
        while true {
            let read = try await Blocking.run { () throws(PostgresError) in
                PostmasterFile.read(dataDirectory: directory)
            }
            if let file = read, file.processID == process.processID {
                if file.status == .ready { return .accepting }
                if file.status == .standby { return .acceptingNone }
            }
            if !process.isRunning { return .exited }
            let now = SystemClock.now()
            if now >= until { return .stillStarting }
            try await Self.pause(now - begun < .seconds(10) ? .milliseconds(4) : .milliseconds(20))
        }
    }

    /// Stops the server: each mode in turn, given its time. The plan bounds the whole wait.
    ///
    public func stop(
        _ process: RunningPostmaster, plan: [(mode: StopMode, time: Duration)]
    ) async throws(PostgresError) -> StopOutcome {
        guard process.isRunning else { return .wasStopped }
        for (mode, time) in plan {
            do throws(PostgresError) {
                try await control.signal(mode.signal, to: process)
            } catch {
                if !process.isRunning { return .stopped(by: mode) }
                logger.warning("the \(mode.rawValue) stop was not signalled: \(error)")
            }
            if try await Self.waitForExit(of: process, within: time) { return .stopped(by: mode) }
            logger.warning("PostgreSQL did not end within \(time) of the \(mode.rawValue) stop")
        }
        return .stillRunning
    }

    /// The stop of ordinary times: fast, and immediate after the given time.
    ///
    /// A stopping primary waits for its standbys and its archiver after its last checkpoint, up to `wal_sender_timeout`
    /// for a standby that is cut off. With `lingering`, that part alone gets this much: the data directory is shut down
    /// in order by then, and an immediate stop takes nothing from it.
    public func stopFast(
        _ process: RunningPostmaster, within time: Duration, lingering: Duration? = nil,
        thenImmediate last: Duration = .seconds(5)
    ) async throws(PostgresError) -> StopOutcome {
        guard let lingering else { return try await stop(process, plan: [(.fast, time), (.immediate, last)]) }
        guard process.isRunning else { return .wasStopped }
        let until = SystemClock.now() + time
        do throws(PostgresError) {
            try await control.signal(StopMode.fast.signal, to: process)
        } catch {
            if !process.isRunning { return .stopped(by: .fast) }
            throw error
        }
        let done = try await waitForControlState(
            [.shutDown, .shutDownInRecovery], process: process, within: until - SystemClock.now())
        let left = max(.zero, min(until - SystemClock.now(), done == nil ? .zero : lingering))
        if try await Self.waitForExit(of: process, within: left) { return .stopped(by: .fast) }
        return try await stop(process, plan: [(.immediate, last)])
    }

    /// Makes the server read its configuration again.
    public func reload(_ process: RunningPostmaster) async throws(PostgresError) {
        try await control.signal(SIGHUP, to: process)
    }

    /// Waits until the process is gone; false when it is still there after the time.
    public static func waitForExit(
        of process: RunningPostmaster, within time: Duration
    ) async throws(PostgresError) -> Bool {
        let until = SystemClock.now() + time
        while process.isRunning {
            if SystemClock.now() >= until { return false }
            try await pause(.milliseconds(4))
        }
        return true
    }

    /// Waits until the control file shows the given state, as a stopping primary shows "shut down" while it still waits
    /// for its archiver and its standbys. Returns the data; nil when time is up or the process ended without it.
    public func waitForControlState(
        _ states: Set<ControlData.State>, process: RunningPostmaster?, within time: Duration
    ) async throws(PostgresError) -> ControlData? {
        let until = SystemClock.now() + time
        while true {
            let isGone = process.map { !$0.isRunning } ?? false
            let control = try await ControlFile.load(dataDirectory: layout.dataDirectory)?.data
            if let control, states.contains(control.state) { return control }
            if isGone || SystemClock.now() >= until { return nil }
            try await Self.pause(.milliseconds(5))
        }
    }

    static func pause(_ time: Duration) async throws(PostgresError) {
        do {
            try await Task.sleep(for: time, tolerance: .milliseconds(1))
        } catch {
            throw PostgresError(.cancelled, "cancelled while waiting for PostgreSQL")
        }
    }
}
