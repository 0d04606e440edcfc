import ClusterModel
import Glibc
import HighAvailability
import LeaseGuard
import Logging
import PluginInterfaces
import PostgresControl
import Synchronization

/// The agent's tie to its guard: connects, launches it again when it is gone, and tells the machine what it reports.
final class GuardLink: Sendable {
    private struct State {
        var client: GuardClient?
        var exit: String?
        var isEnforcing = false
        /// While it enforces: the lease that the rules are for, and the last round seen.
        var stall: (granted: Duration, watch: StallWatch, lastRound: Instant)?
        var watch: RoundsWatch?
        /// What the machine was told last of the server.
        var isToldRunning = false
        var granted: Duration = .seconds(30)
        var isClosed = false
    }

    private let state = Mutex(State())
    private let stateDirectory: String
    private let executable: String
    private let dataDirectory: String
    private let longestTerm: Duration
    private let logger: Logger
    private let events: @Sendable (Event) -> Void
    /// A posture for the guard that was connected when it was decided; another is told anew.
    private struct Order: Sendable {
        var client: GuardClient
        var posture: GuardPosture
        var term: Fence?
        var grace: Duration
    }

    private let orders: AsyncStream<Order>
    private let order: AsyncStream<Order>.Continuation

    init(
        stateDirectory: String, executable: String?, dataDirectory: String, longestTerm: Duration, logger: Logger,
        events: @escaping @Sendable (Event) -> Void
    ) {
        self.stateDirectory = stateDirectory
        self.executable = executable ?? GuardClient.defaultExecutable
        self.dataDirectory = dataDirectory
        self.longestTerm = longestTerm
        self.logger = logger
        self.events = events
        (orders, order) = AsyncStream.makeStream(of: Order.self)
    }

    var client: GuardClient? { state.withLock { $0.client } }

    /// Keeps a guard connected until cancelled. The first connection's outcome comes through `onFirst`.
    func run(onFirst: @Sendable (ServerFacts) -> Void) async {
        var isFirst = true
        while !Task.isCancelled, !state.withLock({ $0.isClosed }) {
            do throws(GuardError) {
                let client = try await GuardClient.connect(
                    stateDirectory: stateDirectory, executable: executable, launch: true, longestTerm: longestTerm,
                    within: .seconds(5))
                let status = try await client.status()
                let facts = try await takeOver(client, status)
                state.withLock {
                    $0.client = client
                    $0.stall = nil
                    $0.isEnforcing = false
                    if case .running = facts.server { $0.isToldRunning = true } else { $0.isToldRunning = false }
                }
                for degradation in status.degradations {
                    logger.info("guard: \(degradation)")
                }
                if isFirst {
                    isFirst = false
                    onFirst(facts.server)
                } else {
                    events(.server(facts.server))
                }
                let now = try await client.status()
                events(
                    .guardReady(
                        isAdopting: facts.isAdopted, isPaused: now.mode == .paused,
                        armed: now.postmaster != nil && !now.isStopping && now.quit != nil ? now.term : nil,
                        isPromoting: now.postmaster != nil && now.mode == .promoting))
                await withTaskCancellationHandler {
                    await listen(client)
                } onCancel: {
                    client.close()
                }
            } catch {
                logger.error("\(error)")
                if isFirst {
                    isFirst = false
                    onFirst(await found())
                }
                try? await Task.sleep(for: .milliseconds(500))
            }
            state.withLock {
                $0.client?.close()
                $0.client = nil
            }
        }
    }

    /// What runs on the data directory according to the guard, and to the process table: a server that others started,
    /// or that an earlier guard left, is put under this guard's eyes.
    ///
    /// Throws when a server runs that the guard cannot watch: nobody would tell of its end, so there is no guard for it.
    private func takeOver(
        _ client: GuardClient, _ status: GuardStatus
    ) async throws(GuardError) -> (server: ServerFacts, isAdopted: Bool) {
        if let pid = status.postmaster {
            return (.running(pid: pid, isAdopted: status.isAdopted), status.isAdopted)
        }
        let until = SystemClock.now() + .seconds(2)
        while let process = Postmaster.running(dataDirectory: dataDirectory) {
            do throws(GuardError) {
                try await client.adopt(
                    pid: process.processID, startTime: process.startTicks, dataDirectory: dataDirectory)
                return (.running(pid: process.processID, isAdopted: true), true)
            } catch {
                // One that is just ending (a killed guard's, for example) has no directory any more to be known by.
                guard SystemClock.now() < until, client.isAlive, !Task.isCancelled else {
                    throw GuardError(
                        error.code, "the running server (process \(process.processID)) cannot be watched: \(error)")
                }
            }
            try? await Task.sleep(for: .milliseconds(20))
        }
        // A dead postmaster is no silence: what it left behind may still answer.
        await waitUntilSilent(client)
        return (await found(), false)
    }

    /// Waits until the guard knows of nothing left, and ends what a former guard's server left behind.
    func waitUntilSilent(_ client: GuardClient) async {
        let directory = dataDirectory
        var rounds = 0
        while !Task.isCancelled {
            let status = try? await client.status()
            if let status, status.postmaster != nil { return }
            let left = await blocking { Leftovers.find(directory) }
            if left.isEmpty, status?.isSilent ?? true { return }
            if rounds % 20 == 0 {
                logger.warning("ending \(left.count) processes that a PostgreSQL without its postmaster left behind")
            }
            for pid in left { kill(pid, rounds < 10 ? SIGQUIT : SIGKILL) }
            rounds += 1
            try? await Task.sleep(for: .milliseconds(20))
        }
    }

    /// After a start that did not end well: returns when the server either runs under the guard or is silent.
    func settle() async {
        guard let client else { return }
        let until = SystemClock.now() + .seconds(10)
        while SystemClock.now() < until, client.isAlive {
            guard let status = try? await client.status() else { return }
            if status.isSilent { return }
            if status.postmaster != nil, !status.isStopping { return }
            try? await Task.sleep(for: .milliseconds(10))
        }
    }

    /// After a stop: the machine hears of the silence before it hears that the stop is done, or it would take the server
    /// for one that did not stop.
    func waitUntilDownIsTold() async {
        let until = SystemClock.now() + .seconds(2)
        while SystemClock.now() < until, state.withLock({ $0.isToldRunning && $0.client != nil }) {
            do {
                try await Task.sleep(for: .milliseconds(2), tolerance: .milliseconds(1))
            } catch {
                return
            }
        }
    }

    /// What runs or lies there, looked at without a guard.
    func found() async -> ServerFacts {
        let directory = dataDirectory
        return await blocking {
            if let process = Postmaster.running(dataDirectory: directory) {
                return .running(pid: process.processID, isAdopted: true)
            }
            return .down(DataFacts.look(directory), exit: nil)
        }
    }

    private func listen(_ client: GuardClient) async {
        let watch = RoundsWatch { [weak self] in self?.lookAtRounds(client) ?? .over }
        state.withLock { $0.watch = watch }
        for await report in client.reports {
            await take(report)
        }
        watch.end()
    }

    private func take(_ report: GuardReport) async {
        switch report {
        case .status:
            break
        case .started(let pid):
            state.withLock {
                $0.exit = nil
                $0.isToldRunning = true
            }
            events(.server(.running(pid: pid, isAdopted: false)))
        case .exited(_, let status):
            let text = Self.explain(status)
            state.withLock {
                $0.exit = text
                $0.isEnforcing = false
            }
            logger.info("the postmaster \(text)")
        case .armed(let fence):
            events(.guardArmed(fence))
        case .refused(let why, let armed):
            events(.guardRefused(why, armed: armed))
        case .stopping(let why):
            state.withLock { $0.isEnforcing = false }
            events(.guardStopping(why))
        case .killed(let what):
            logger.warning("the guard sent SIGKILL: \(what)")
        case .silent:
            // Only now may nothing acknowledge any more, and only now can a start succeed.
            let exit = state.withLock { state in
                defer { state.exit = nil }
                return state.exit
            }
            let directory = dataDirectory
            let facts = await blocking { DataFacts.look(directory) }
            events(.guardSilent)
            events(.server(.down(facts, exit: exit)))
            state.withLock { $0.isToldRunning = false }
        case .disconnected(let why):
            if !state.withLock({ $0.isClosed }) { events(.guardLost(why)) }
        }
    }

    /// A stopped guard enforces nothing until its own timer ends it: the agent ends it at once, and its death ends
    /// PostgreSQL (the death signal), which is started again in place under a new guard.
    private func lookAtRounds(_ client: GuardClient) -> RoundsWatch.Next {
        let lastRound = client.lastRound
        let now = SystemClock.now()
        let finding = state.withLock { state -> StallWatch.Finding? in
            guard state.isEnforcing else { return nil }
            let granted = state.granted
            var stall =
                state.stall
                ?? (granted, StallWatch(granted: granted, stoppingBudget: LeaseDeadlines.stoppingBudget(granted)), now)
            if stall.granted != granted {
                stall.granted = granted
                stall.watch = StallWatch(
                    granted: granted, stoppingBudget: LeaseDeadlines.stoppingBudget(granted))
            }
            // One that was stopped while it wrote shows none: then the last that was seen stands.
            if let lastRound { stall.lastRound = max(stall.lastRound, lastRound) }
            let finding = stall.watch.look(lastRound: stall.lastRound, now: now)
            state.stall = stall
            return finding
        }
        let pid = client.latestStatus.pid
        let stalled: Duration
        switch finding {
        case nil: return .whenToldSo
        case .lookAgain(let pause)?: return .after(pause)
        case .stalled(let duration)?:
            guard pid > 1 else { return .after(.seconds(1)) }
            stalled = duration
        }
        logger.warning("the guard stands still for \(stalled.milliseconds) ms: ending it, and PostgreSQL with it")
        if let process = Postmaster.running(dataDirectory: dataDirectory) { kill(process.processID, SIGQUIT) }
        kill(pid, SIGKILL)
        return .over
    }

    // MARK: - Orders

    func arm(_ fence: Fence, _ deadlines: LeaseDeadlines, succeeds: Bool = false) {
        guard let client else { return }
        state.withLock { $0.granted = deadlines.granted }
        client.arm(
            GuardDeadline(
                term: fence, quit: deadlines.quit, kill: deadlines.kill, end: deadlines.end, granted: deadlines.granted),
            succeeds: succeeds)
    }

    func endTerm() {
        state.withLock { $0.isEnforcing = false }
        client?.endTerm()
    }

    /// Told in the order in which they were decided: each overtakes none.
    func posture(_ posture: GuardPosture, term: Fence?, grace: Duration) {
        guard let client else { return }
        if posture == .stopping { client.freeze() }
        order.yield(Order(client: client, posture: posture, term: term, grace: grace))
    }

    func tellPostures() async {
        for await order in orders where order.client === client {
            await tell(order.posture, client: order.client, term: order.term, grace: order.grace)
        }
    }

    private func tell(_ posture: GuardPosture, client: GuardClient, term: Fence?, grace: Duration) async {
        do throws(GuardError) {
            switch posture {
            case .replica:
                enforce(false)
                try await client.setMode(.replica)
            case .primary:
                let status = try await client.setMode(.primary, term: term)
                if status.isEnforced, status.postmaster != nil { enforce(true) }
            case .failsafe:
                let status = try await client.setMode(.failsafe, term: term)
                if status.isEnforced, status.postmaster != nil { enforce(true) }
            case .stopping: try await client.setMode(.stopping, term: term)
            case .paused:
                enforce(false)
                try await client.setMode(.paused)
            case .resumed: try await client.setMode(.resumed, term: term, grace: grace)
            }
        } catch {
            if client.isAlive { events(.postureRefused(posture, error.message)) }
        }
    }

    /// Only while a running primary has a deadline does the guard look often enough for its standing still to be noticed.
    private func enforce(_ isEnforcing: Bool) {
        let watch = state.withLock { state in
            state.isEnforcing = isEnforcing
            state.stall = nil
            return state.watch
        }
        if isEnforcing { watch?.lookNow() }
    }

    /// Stops PostgreSQL outside of any job. The signal goes out at once, past a guard that may stand still.
    func stop(_ mode: HighAvailability.StopMode) {
        if let pid = client?.latestStatus.postmaster, pid > 1 { kill(pid, mode == .fast ? SIGINT : SIGQUIT) }
        Task {
            do throws(GuardError) {
                guard let client else { throw GuardError(.disconnected, "not connected") }
                if mode == .immediate { try await client.stopImmediately(within: .milliseconds(500)) }
            } catch {
                guard error.code != .refused else { return }
                logger.warning("\(error): signalling PostgreSQL without the guard")
                let directory = dataDirectory
                await blocking {
                    if let process = Postmaster.running(dataDirectory: directory) {
                        kill(process.processID, mode == .fast ? SIGINT : SIGQUIT)
                    }
                }
            }
        }
    }

    func close() {
        state.withLock {
            $0.isClosed = true
            $0.client?.close()
            $0.client = nil
        }
    }

    /// Tells a guard that has nothing to watch to end.
    func leave() async {
        state.withLock { $0.isClosed = true }
        guard let client else { return }
        try? await client.leave()
        client.close()
    }

    static func explain(_ status: Int32) -> String {
        if status == -1 { return "ended" }
        let signal = status & 0x7F
        if signal == 0 { return "exited with status \((status >> 8) & 0xFF)" }
        return "ended by signal \(signal)"
    }
}

/// Starts and signals PostgreSQL through the guard.
struct GuardedPostmaster: PostmasterControl {
    let link: GuardLink
    let mode: GuardMode
    let term: Fence?
    let dataDirectory: String
    let environment: [String: String]

    func start(_ command: ServerCommand) async throws(PostgresError) -> Int32 {
        var environment = self.environment
        for (name, value) in command.environment { environment[name] = value }
        let request = PostmasterStart(
            executable: Self.absolute(command.executable, environment["PATH"]), arguments: command.arguments,
            environment: environment, workingDirectory: command.workingDirectory, logFile: command.logFile,
            dataDirectory: dataDirectory, mode: mode, term: term)
        // What is left of a killed server may still be ending: a start is refused until nothing is.
        let until = SystemClock.now() + .seconds(5)
        while true {
            guard let client = link.client else { throw PostgresError(.program, "the guard is not connected") }
            do throws(GuardError) {
                return try await client.start(request)
            } catch {
                if error.code != .refused || SystemClock.now() >= until {
                    throw PostgresError(.program, "the guard did not start PostgreSQL: \(error.message)")
                }
            }
            do {
                try await Task.sleep(for: .milliseconds(5))
            } catch {
                throw PostgresError(.cancelled, "cancelled before PostgreSQL was started")
            }
        }
    }

    func signal(_ number: Int32, to process: RunningPostmaster) async throws(PostgresError) {
        let known: PostmasterSignal? =
            switch number {
            case SIGHUP: .reload
            case SIGINT: .fastShutdown
            case SIGTERM: .smartShutdown
            case SIGQUIT: .immediateShutdown
            default: nil
            }
        if let client = link.client, let known {
            do throws(GuardError) {
                try await client.signal(known)
                return
            } catch {
                // The guard may have just ended; the process is verified, so the signal cannot hit a stranger.
            }
        }
        guard process.isRunning else { throw PostgresError(.refused, "PostgreSQL is not running") }
        kill(process.processID, number)
    }

    static func absolute(_ program: String, _ path: String?) -> String {
        if program.hasPrefix("/") { return program }
        if program.contains("/") {
            var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
            guard getcwd(&buffer, buffer.count) != nil else { return program }
            let directory = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            return directory + "/" + program
        }
        for directory in (path ?? "/usr/local/bin:/usr/bin:/bin").split(separator: ":") {
            let candidate = directory + "/" + program
            if access(String(candidate), X_OK) == 0 { return String(candidate) }
        }
        return program
    }
}

/// What is in the data directory.
enum DataFacts {
    static func look(_ path: String) -> DataDirectoryFacts {
        do throws(PostgresError) {
            switch try DataDirectory(path).state() {
            case .absent, .empty: return .empty
            default: break
            }
            guard let control = try ControlFile.read(dataDirectory: path) else {
                return .unusable("\(path) is no data directory of PostgreSQL: it holds files, and no control file")
            }
            return .initialized(control.data)
        } catch {
            return .unusable(error.description)
        }
    }
}

/// Processes of a PostgreSQL that outlived its postmaster.
enum Leftovers {
    /// Those of our account that work in the data directory. Blocks: reads the process table.
    static func find(_ dataDirectory: String) -> [Int32] {
        var wanted = stat()
        guard stat(dataDirectory, &wanted) == 0, let table = opendir("/proc") else { return [] }
        defer { closedir(table) }
        var found: [Int32] = []
        while let entry = readdir(table) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            guard let pid = Int32(name), pid > 1, pid != getpid() else { continue }
            var place = stat()
            guard stat("/proc/\(pid)/cwd", &place) == 0, place.st_dev == wanted.st_dev, place.st_ino == wanted.st_ino
            else { continue }
            var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
            guard readlink("/proc/\(pid)/exe", &buffer, buffer.count - 1) > 0 else { continue }
            let program = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            if program.hasSuffix("/postgres") || program.hasSuffix("/postgres (deleted)") { found.append(pid) }
        }
        return found
    }
}
