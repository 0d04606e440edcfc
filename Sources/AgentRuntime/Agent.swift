public import AgentConfiguration
import ChildProcesses
import ClusterModel
import ClusterStore
import ConfigurationTree
import Dispatch
import HighAvailability
import LeaseGuard
public import Logging
import PeerClient
import PluginInterfaces
import PostgresControl
import Synchronization

/// One agent: feeds events to the state machine and carries its effects out.
///
/// The machine runs on a thread of its own and never waits: every effect that takes time is a task, and its end comes back
/// as an event. So no job, no slow query and no store delays a renewal. What recurs while nothing happens (renewals, looks
/// at PostgreSQL) has threads of its own as well: the shared pool's would end and begin again each time.
public actor Agent {
    nonisolated let machineThread: WorkerThread
    nonisolated let executor: ThreadExecutor
    nonisolated let storeThread: ThreadTaskExecutor
    nonisolated let postgresThread: ThreadTaskExecutor
    nonisolated let postgresExecutor: ThreadExecutor
    public nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    nonisolated let setup: AgentSetup
    nonisolated let logger: Logger
    nonisolated let state: StateDirectory
    nonisolated let shared: AgentShared
    nonisolated let link: GuardLink
    nonisolated let peers: PeerClient
    var cluster: ClusterStore
    var store: any CoordinationStore
    /// Counts the stores that this agent has lived on.
    var storeNumber = 0
    /// Tells the machine what the store signals, once that is not the one that the agent began with.
    var listening: Task<Void, Never>?
    /// The store that the cluster may move to.
    var other: OtherStore?
    var isPreparing = false
    /// What is recorded of a migration.
    var migration: MigrationFile?
    var hookStep: String?
    nonisolated let events = EventQueue()
    nonisolated let yield: @Sendable (Event) -> Void
    nonisolated let stateQueue = DispatchQueue(label: "matriarch.state")
    nonisolated let roleEvents: AsyncStream<CallbackEvent>
    nonisolated let roleCallbacks: AsyncStream<CallbackEvent>.Continuation
    nonisolated let reloadEvents: AsyncStream<CallbackEvent>
    nonisolated let reloadCallbacks: AsyncStream<CallbackEvent>.Continuation

    var machine: HAMachine
    var inForce: SettingsInForce
    var catalog: SettingsCatalog?
    var local: Settings
    var session: (any StoreSession)?
    var monitor: PostgresMonitor?
    var jobTasks: [EffectID: Task<Void, Never>] = [:]
    var followers: [PeerAddress: Task<Void, Never>] = [:]
    var exit: (code: Int32, text: String)?
    var lastConfiguration: JSONObject?
    var lastMixed = false
    var callbacks: [any PluginInterfaces.CallbackHandler] = []
    var lock: StateLock?
    /// A copy may have left old data beside it.
    var mayHaveAside = true
    /// The session effect under way; a session that was opened for another is not wanted.
    var opening: EffectID?
    var closing: Task<Void, Never>?
    var abandonsStrays = false

    /// - Throws: what keeps the agent from starting, in words.
    public init(setup: AgentSetup, logger: Logger) throws {
        self.setup = setup
        self.logger = logger
        self.local = setup.settings
        self.state = StateDirectory(path: setup.settings.stateDirectory)
        self.machineThread = try WorkerThread("machine")
        self.executor = ThreadExecutor(machineThread)
        self.storeThread = ThreadTaskExecutor(try WorkerThread("store"))
        let postgresThread = try WorkerThread("postgres")
        self.postgresThread = ThreadTaskExecutor(postgresThread)
        self.postgresExecutor = ThreadExecutor(postgresThread)
        let events = self.events
        let yield: @Sendable (Event) -> Void = { events.post($0) }
        self.yield = yield
        (self.roleEvents, self.roleCallbacks) = AsyncStream.makeStream(of: CallbackEvent.self)
        (self.reloadEvents, self.reloadCallbacks) = AsyncStream.makeStream(
            of: CallbackEvent.self, bufferingPolicy: .bufferingNewest(1))
        self.lock = try state.open()
        let beginning = try MigrationFile.beginning(setup.settings, state, logger)
        self.migration = beginning.file
        self.local.take(beginning.store)
        let store = try Self.makeStore(beginning.store, setup, logger)
        self.store = store
        self.cluster = ClusterStore(store: store)
        if let file = beginning.file, !file.isOver {
            do {
                self.other = OtherStore(file, try Self.makeStore(file.section, setup, logger))
            } catch {
                logger.error("the store that the cluster may be moving to cannot be opened: \(error)")
            }
        }
        self.peers = try PeerClient(settings: setup.peerClientSettings, logger: logger)
        self.link = GuardLink(
            stateDirectory: setup.settings.stateDirectory, executable: setup.settings.guardProcess.executable,
            dataDirectory: setup.settings.postgresql.dataDirectory,
            longestTerm: .seconds(86_400), logger: logger, events: yield)

        let cached = DynamicCache.read(setup.settings.postgresql.dataDirectory)
        let (dynamic, complaints) = Self.dynamic(cached, setup)
        for complaint in complaints { logger.warning("\(complaint)") }
        let (effective, more) = ConfigurationLoader.effective(
            local: setup.settings, dynamic: dynamic, allPeersOurs: true)
        for complaint in more { logger.warning("\(complaint)") }
        let inForce = SettingsInForce(setup, effective)
        self.inForce = inForce
        self.lastConfiguration = cached
        let identity = setup.identity
        self.machine = HAMachine(identity: identity, settings: inForce.machine, at: Self.moment())
        self.shared = AgentShared(AgentStatus(name: identity.name, scope: identity.scope))
        for factory in setup.registry.callbacks {
            if let handler = try factory.makeHandler(effective.postgresql.callbacksNode) { callbacks.append(handler) }
        }
        self.cached = cached
    }

    private let cached: JSONObject?

    static func moment() -> Moment {
        Moment(now: SystemClock.now(), wall: SystemClock.wallTime(), random: UInt64.random(in: 0 ... .max))
    }

    /// The dynamic settings to begin with: the cache beside the data, else `bootstrap.dcs`.
    private static func dynamic(
        _ cached: JSONObject?, _ setup: AgentSetup
    ) -> (DynamicSettings, [ConfigurationComplaint]) {
        if let cached {
            let (settings, complaints) = DynamicSettings.decode(.object(cached), source: "patroni.dynamic.json")
            if let settings { return (settings, complaints) }
        }
        if let node = setup.settings.bootstrap?.dynamicNode {
            let (settings, complaints) = DynamicSettings.decode(node, path: "bootstrap.dcs")
            if let settings { return (settings, complaints) }
        }
        return (DynamicSettings(), [])
    }

    // MARK: - Life

    /// Runs until the machine says that the agent ends. Returns the exit status and why.
    public func run() async -> (code: Int32, text: String) {
        await loadCatalog()
        let handlers = callbacks
        let told = Task { [self] in
            await withDiscardingTaskGroup { group in
                group.addTask { await self.tell(self.roleEvents, handlers) }
                group.addTask { await self.tell(self.reloadEvents, handlers) }
            }
        }
        let version = catalog?.majorVersion
        listenToOther()
        let tasks = Task { [self] in
            await withDiscardingTaskGroup { group in
                group.addTask { await self.link.run { facts in self.began(facts, version) } }
                group.addTask { await self.listen(to: self.store, 0) }
                group.addTask { await self.link.tellPostures() }
            }
        }
        // What waits is resumed by way of the task's executor, even where it goes on on the actor's: here both are one thread.
        await withTaskExecutorPreference(ThreadTaskExecutor(machineThread)) {
            while exit == nil {
                for event in await events.next() where exit == nil { handle(event) }
            }
        }
        // Before the tasks end, for theirs is the connection to the guard.
        if !machine.world.isServerUp, exit?.code == 0 {
            await finish("the guard", within: .seconds(5)) { [link] in await link.leave() }
        }
        tasks.cancel()
        for task in followers.values { task.cancel() }
        for task in jobTasks.values { task.cancel() }
        shared.close()
        roleCallbacks.finish()
        reloadCallbacks.finish()
        // What scripts still have to be told is told, but a script that hangs keeps no agent from leaving.
        await finish("callback scripts", within: .seconds(5)) {
            await withTaskCancellationHandler {
                await told.value
            } onCancel: {
                told.cancel()
            }
        }
        await finish("connections to other members", within: .seconds(2)) { [peers] in await peers.shutdown() }
        link.close()
        if let closing { await finish("the session's end", within: .seconds(2)) { await closing.value } }
        // A session that is still open is abandoned: PostgreSQL may run on under it.
        listening?.cancel()
        other?.listening?.cancel()
        for store in [other?.store, store].compactMap(\.self) {
            await finish("the store", within: .seconds(5)) { await store.close() }
        }
        return exit ?? (0, "ended")
    }

    /// Does what is left to do at the end, but not for long: after its time it is cancelled, and soon left behind.
    private nonisolated func finish(
        _ what: String, within limit: Duration, _ work: @escaping @Sendable () async -> Void
    ) async {
        let (end, continuation) = AsyncStream.makeStream(of: Bool.self)
        let working = Task {
            await work()
            continuation.yield(true)
            continuation.finish()
        }
        let timer = Task {
            try? await Task.sleep(for: limit)
            working.cancel()
            try? await Task.sleep(for: .seconds(2))
            continuation.finish()
        }
        var isDone = false
        for await done in end { isDone = done }
        timer.cancel()
        if !isDone { logger.warning("leaving without waiting longer for \(what)") }
    }

    /// SIGTERM and SIGINT.
    public nonisolated func stop() {
        yield(.stopAsked)
    }

    private nonisolated func began(_ found: ServerFacts, _ version: Int?) {
        var facts = found
        if case .down(.initialized, let exit) = found, let version {
            do throws(PostgresError) {
                let directory = DataDirectory(setup.settings.postgresql.dataDirectory)
                if let obstacle = try directory.obstacle(toServerOf: version) {
                    facts = .down(.unusable(obstacle), exit: exit)
                }
            } catch {
                facts = .down(.unusable(error.description), exit: exit)
            }
        }
        yield(
            .started(
                InstanceStart(
                    server: facts, marker: state.marker(), cachedConfiguration: cached,
                    hasSavedSession: state.session() != nil || state.session("session.next") != nil,
                    grants: state.grants(), migration: setup.beginning(state))))
    }

    private func loadCatalog() async {
        do throws(PostgresError) {
            let logger = self.logger
            catalog = try await SettingsCatalog.load(layout: inForce.layout) { command, onLine in
                await ChildProcess.run(command, onLine: { _, line in onLine?(line) }, logger: logger)
            }
        } catch {
            logger.warning("PostgreSQL's settings cannot be checked: \(error)")
        }
        monitor = PostgresMonitor(
            layout: inForce.layout, executor: postgresExecutor, logger: logger)
    }

    func listen(to store: any CoordinationStore, _ number: Int) async {
        for await signal in store.signals() {
            yield(.from(store: number, event(for: signal)))
        }
    }

    nonisolated func event(for signal: StoreSignal) -> Event {
        switch signal {
        case .changed: .storeChanged
        case .connected: .storeConnected
        case .disconnected(let why): .storeDisconnected(why)
        case .sessionLost: .sessionLost("the store says so")
        }
    }

    // MARK: - The machine

    private func handle(_ event: Event) {
        prepare(event)
        let sample = machine.world.sample
        let reaction = machine.handle(event, at: Self.moment())
        for decision in reaction.decisions { log(decision) }
        for effect in reaction.effects { perform(effect) }
        lookForHook()
        let yield = self.yield
        machineThread.setTimer(reaction.wakeAt) { yield(.wake) }
        shared.publish(machine.status, isNews: !reaction.decisions.isEmpty || isStatusEvent(event, before: sample))
    }

    /// Whether there may be something to tell the peers.
    private func isStatusEvent(_ event: Event, before: PostgresSample?) -> Bool {
        switch event {
        case .wake, .renewed, .peer, .peerSilent, .storeChanged, .glimpse, .other(.renewed),
            .from(_, .storeChanged):
            return false
        case .sample:
            guard var same = before, let sample = machine.world.sample else { return true }
            same.takenAt = sample.takenAt
            return same != sample
        default: return true
        }
    }

    /// What the runtime itself has to do with an event before the machine sees it.
    private func prepare(_ event: Event) {
        switch event {
        case .jobEnded(_, .made):
            mayHaveAside = true
        case .view(let id, let view):
            // Of a store that rules no more it is worth nothing.
            if id.number > machine.world.storeSince, view.migration?.state != .moved { takeConfiguration(view) }
        case .server(.down):
            if let monitor { Task { await monitor.disconnect() } }
        case .sample(let sample):
            if sample.receiver?.status == "streaming" { dropAside() }
        default:
            break
        }
    }

    private func log(_ decision: Decision) {
        switch decision.weight {
        case .routine:
            logger.log(level: decision.text.contains("no action") ? .info : .debug, "\(decision.line)")
        case .action: logger.info("\(decision.line)")
        case .warning: logger.warning("\(decision.line)")
        }
    }

    // MARK: - Configuration

    /// The dynamic configuration of a view, when it is another than before.
    private func takeConfiguration(_ view: ClusterView) {
        let isMixed = view.members.contains { !$0.isMatriarch }
        guard let configuration = view.configuration, configuration != lastConfiguration || isMixed != lastMixed else {
            return
        }
        let isNew = configuration != lastConfiguration
        lastConfiguration = configuration
        lastMixed = isMixed
        let (dynamic, complaints) = DynamicSettings.decode(
            .object(configuration), source: "key \(setup.root)config")
        for complaint in complaints {
            logger.log(level: complaint.severity == .error ? .error : .warning, "\(complaint)")
        }
        guard let dynamic else {
            logger.error("the dynamic configuration is refused as a whole; the previous one stays in force")
            return
        }
        if isNew {
            let directory = inForce.layout.dataDirectory
            let logger = self.logger
            Task { await blocking { DynamicCache.write(directory, configuration, logger) } }
        }
        apply(local: local, dynamic: dynamic, isMixed: isMixed)
    }

    func apply(local: Settings, dynamic: DynamicSettings, isMixed: Bool) {
        let (effective, complaints) = ConfigurationLoader.effective(
            local: local, dynamic: dynamic, allPeersOurs: !isMixed)
        for complaint in complaints { logger.warning("\(complaint)") }
        if dynamic.synchronousMode != .off {
            logger.warning("synchronous_mode is not carried out by this release: replication is asynchronous")
        }
        var setup = self.setup
        setup.settings = local
        let before = inForce
        inForce = SettingsInForce(setup, effective)
        if inForce.machine != before.machine { yield(.settings(inForce.machine)) }
        if inForce.layout != before.layout {
            let layout = inForce.layout
            if let monitor { Task { await monitor.use(layout, scope: .configured) } }
            reloadPostgres()
        }
    }

    /// Writes the files of the running server anew and has it read them; not while a job has its hands on them.
    private func reloadPostgres() {
        guard machine.world.isServerUp, machine.world.job == nil, let sample = machine.world.sample else { return }
        let runner = self.runner
        let upstream = machine.world.upstream.flatMap { $0 }
        let fence = machine.world.term?.fence
        Task { [logger] in
            let end = await runner.rewriteConfiguration(isStandby: sample.isInRecovery, upstream: upstream)
            if case .failed(let why) = end { logger.error("PostgreSQL's configuration was not rewritten: \(why)") }
            self.callback(.onReload, sample.isInRecovery ? .replica : .primary, fence)
        }
    }

    /// SIGHUP and `POST /reload`: reads the file again. A bad file changes nothing; returns what was refused.
    public func reload() async -> String? {
        let path = setup.configurationPath
        let environment = setup.environment
        let stores = setup.registry.stores.map(\.section)
        let loaded = await blocking {
            ConfigurationLoader.load(path: path, environment: environment, knownStores: stores)
        }
        for complaint in loaded.complaints {
            logger.log(level: complaint.severity == .error ? .error : .warning, "\(complaint)")
        }
        guard var newer = loaded.settings else {
            let text = loaded.complaints.filter { $0.severity == .error }.map(\.description).joined(separator: "\n")
            logger.error("reload refused, nothing has changed: the configuration has errors")
            return text
        }
        settleMigration(&newer)
        // First of all: what it refuses must have changed nothing.
        var storeIsTaken = false
        if newer.store.name == local.store.name {
            switch await store.reconfigure(newer.store.node) {
            case .taken(let warnings):
                for warning in warnings { logger.warning("\(warning)") }
                storeIsTaken = true
            case .unsupported: break
            case .refused(let complaints):
                let errors = complaints.filter { $0.severity == .error }
                for complaint in errors { logger.error("\(complaint)") }
                logger.error("reload refused, nothing has changed: the store cannot use its section")
                return errors.map(\.description).joined(separator: "\n")
            }
        }
        let (settings, complaints) = ConfigurationLoader.reloading(local, with: newer, storeIsTaken: storeIsTaken)
        for complaint in complaints { logger.warning("\(complaint)") }
        local = settings
        apply(local: settings, dynamic: inForce.effective.dynamic, isMixed: lastMixed)
        reloadPostgres()
        logger.info("configuration reloaded")
        return nil
    }

    /// The settings in force now, for parts that are reloaded with the agent.
    public var currentSettings: Settings { local }

    var runner: JobRunner {
        var setup = self.setup
        setup.settings = local
        return JobRunner(
            setup: setup, inForce: inForce, link: link, catalog: catalog, logger: logger, progress: { _ in })
    }

    /// The old data directory is kept until the new one streams; now it does.
    private func dropAside() {
        guard mayHaveAside else { return }
        mayHaveAside = false
        let state = self.state
        let prefix = inForce.layout.dataDirectory + ".diverged-"
        Task { [logger] in
            let path = await blocking { () -> String? in
                guard let bytes = state.read("aside") else { return nil }
                state.remove("aside")
                return String(decoding: bytes, as: UTF8.self)
            }
            guard let path, path.hasPrefix(prefix) else { return }
            logger.info("the new copy streams: removing the old data in \(path)")
            let end = await ChildProcess.run(PluginCommand("rm", ["-rf", "--", path]), logger: logger)
            if !end.isSuccess { logger.warning("\(path) could not be removed: \(end.explanation)") }
        }
    }

    // MARK: - Callbacks

    /// Two lanes, each in order: reloads, of which only the newest waiting one counts, and everything else.
    func callback(_ action: CallbackAction, _ role: MemberRole, _ fence: Fence?) {
        guard !callbacks.isEmpty, let action = CallbackEvent.Action(rawValue: action.rawValue) else { return }
        let event = CallbackEvent(action: action, role: role, scope: setup.settings.scope, fence: fence)
        (action == .onReload ? reloadCallbacks : roleCallbacks).yield(event)
    }

    private nonisolated func tell(_ events: AsyncStream<CallbackEvent>, _ handlers: [any CallbackHandler]) async {
        for await event in events {
            for handler in handlers {
                let logger = self.logger
                let failure = await handler.handle(event) { command in
                    await ChildProcess.run(
                        command, onLine: { _, line in logger.info("\(event.action.rawValue): \(line)") },
                        logger: logger)
                }
                if let failure {
                    logger.warning("callback \(event.action.rawValue) \(event.role.rawValue): \(failure)")
                }
            }
        }
    }
}
