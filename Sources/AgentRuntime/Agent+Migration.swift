import AgentConfiguration
public import ClusterModel
import ClusterStore
import ConfigurationTree
import Dispatch
import Glibc
public import HighAvailability
import Logging
import PluginInterfaces

/// The store that the cluster may move to, beside the one that it lives on.
struct OtherStore: Sendable {
    var id: String
    var section: StoreSection
    var store: any CoordinationStore
    var cluster: ClusterStore
    var session: (any StoreSession)?
    /// The opening under way; a session that was opened for another is not wanted.
    var opening: EffectID?
    /// What was sent last: a session is closed after it.
    var lastCommit: Task<Void, Never>?
    /// Its signals are listened to from the beginning.
    var listening: Task<Void, Never>?
    /// Whether it is connected, as it said last.
    var lastWord: StoreSignal?

    init(_ file: MigrationFile, _ store: any CoordinationStore) {
        id = file.id
        section = file.section
        self.store = store
        cluster = ClusterStore(store: store)
    }
}

extension Agent {
    static func makeStore(
        _ section: StoreSection, _ setup: AgentSetup, _ logger: Logger
    ) throws -> any CoordinationStore {
        guard let factory = setup.registry.store(section: section.name) else {
            throw AgentError("no plugin owns the store section '\(section.name)'")
        }
        return try factory.makeStore(
            section.node,
            PluginContext(
                root: setup.root, memberName: setup.settings.name, scope: setup.settings.scope,
                stateDirectory: setup.settings.stateDirectory, retryTimeout: .seconds(10), logger: logger))
    }

    /// The saved session of the store that the agent lives on.
    var savedSession: [UInt8]? {
        if migration?.isOver == true, let session = state.session("session.next") { return session }
        return state.session()
    }

    // MARK: - Effects

    func perform(_ effect: OtherStoreEffect) {
        let yield = self.yield
        guard let other else {
            switch effect {
            case .openSession(let id, _): yield(.other(.sessionFailed(id, "there is no other store")))
            case .read(let id): yield(.other(.viewFailed(id, "there is no other store")))
            case .commit(let id, _): yield(.other(.committed(id, .notSent("there is no other store"))))
            case .renew(let id, _, _): yield(.other(.renewed(id, .unknown("there is no other store"))))
            case .closeSession, .adopt: break
            }
            return
        }
        let limit = storeLimit
        switch effect {
        case .openSession(let id, _) where machine.world.migration?.id != other.id:
            yield(.other(.sessionFailed(id, "another migration was prepared meanwhile")))
        case .openSession(let id, let lifetime):
            self.other?.opening = id
            let request = SessionRequest(lifetime: lifetime, name: setup.settings.name)
            let store = other.store
            Task {
                do throws(StoreError) {
                    self.otherOpened(id, try await store.openSession(request, within: max(limit, .seconds(5))))
                } catch {
                    yield(.other(.sessionFailed(id, error.description)))
                }
            }
        case .closeSession(let abandon):
            self.other?.opening = nil
            self.other?.session = nil
            state.remove("session.next")
            guard let session = other.session else { break }
            let last = other.lastCommit
            let previous = closing
            closing = Task {
                await previous?.value
                await last?.value
                await session.close(abandon: abandon)
            }
        case .read(let id):
            let cluster = other.cluster
            let session = other.session
            Task(executorPreference: storeThread) {
                do throws(StoreError) {
                    let view =
                        if session == nil { try await cluster.read(.linearizable, within: limit) } else {
                            try await cluster.resolve(session: session, within: limit)
                        }
                    yield(.other(.view(id, view)))
                } catch {
                    yield(.other(.viewFailed(id, error.description)))
                }
            }
        case .commit(let id, let change):
            let cluster = other.cluster
            let session = other.session
            let name = setup.settings.name
            self.other?.lastCommit = Task(executorPreference: storeThread) {
                let outcome = await cluster.commit(change, as: name, session: session, within: limit)
                yield(.other(.committed(id, outcome)))
            }
        case .renew(let id, let holding, let limit):
            guard let session = other.session else {
                yield(.other(.renewed(id, .unknown("no session is open"))))
                return
            }
            Task(executorPreference: storeThread) {
                switch await session.renew(holding: holding, within: limit) {
                case .proven(let sent, let until):
                    yield(.other(.renewed(id, .proven(sent: sent, notExpiredBefore: until))))
                case .gone(let why): yield(.other(.renewed(id, .gone(why))))
                case .unknown(let error): yield(.other(.renewed(id, .unknown(error.description))))
                }
            }
        case .adopt(let id, let keepsSession):
            adopt(id, keepsSession: keepsSession)
        }
    }

    private func otherOpened(_ id: EffectID, _ session: any StoreSession) {
        guard other?.opening == id, exit == nil else {
            Task { await session.close(abandon: false) }
            return
        }
        other?.opening = nil
        other?.session = session
        if let resumption = session.resumption {
            let state = self.state
            let logger = self.logger
            stateQueue.async {
                do throws(AgentError) {
                    try state.save(session: resumption, as: "session.next")
                } catch {
                    logger.warning("the new store's session is not saved, a restart will not resume it: \(error)")
                }
            }
        }
        yield(
            .other(
                .sessionOpened(
                    id,
                    SessionFacts(
                        id: session.id, granted: session.granted, renewalInterval: session.renewalInterval,
                        isResumed: session.isResumed, needsIdleRenewal: session.needsIdleRenewal,
                        intervalsBehind: session.intervalsBehind))))
    }

    /// From now on the other store is the store.
    private func adopt(_ id: String, keepsSession: Bool) {
        guard let other, other.id == id else {
            logger.error("the store of migration \(id) is not known here")
            return
        }
        let oldStore = store
        let oldSession = session
        storeNumber += 1
        store = other.store
        cluster = other.cluster
        session = keepsSession ? other.session : nil
        opening = nil
        self.other = nil
        if var file = migration {
            file.isOver = true
            migration = file
            let bytes = file.bytes
            let state = self.state
            let logger = self.logger
            // The record first: a session without it would be taken for the old store's.
            stateQueue.async {
                do throws(AgentError) {
                    try state.write(MigrationFile.name, bytes)
                } catch {
                    logger.error("that the cluster has moved is not recorded: \(error)")
                    return
                }
                state.move("session.next", "session")
            }
            logger.warning("\(file.stale(local.store.name))")
        }
        local.take(other.section)
        listening?.cancel()
        listening = other.listening
        if let word = other.lastWord { yield(.from(store: storeNumber, event(for: word))) }
        // Nothing of the old store is needed any more, but its answers to what is under way may still come.
        let previous = closing
        closing = Task {
            await previous?.value
            if let oldSession { await oldSession.close(abandon: false) }
            await oldStore.close()
        }
    }

    /// A reload: a configuration that still names the old store is out of date; one that names the new store ends the
    /// record.
    func settleMigration(_ newer: inout Settings) {
        guard let file = migration, file.isOver else { return }
        if MigrationFile.value(of: newer.store) == file.from {
            logger.warning("\(file.stale(newer.store.name))")
            newer.take(file.section)
        } else if newer.store.name == file.section.name {
            migration = nil
            let state = self.state
            stateQueue.async { state.remove(MigrationFile.name) }
            logger.info("the configuration names the store that the cluster has moved to")
        }
    }

    /// One listener from the preparation on, whatever the store becomes: a signal is read once.
    func listenToOther() {
        guard let other else { return }
        let number = storeNumber + 1
        self.other?.listening = Task { [self] in await listen(toOther: other.id, other.store, becoming: number) }
    }

    private func listen(toOther id: String, _ store: any CoordinationStore, becoming number: Int) async {
        for await signal in store.signals() {
            if storeNumber >= number {
                yield(.from(store: number, event(for: signal)))
                continue
            }
            guard other?.id == id else { return }
            switch signal {
            case .changed: break
            case .connected, .disconnected: other?.lastWord = signal
            case .sessionLost: yield(.other(.sessionLost("the store says so")))
            }
        }
    }

    // MARK: - Being told

    /// Opens the store that a migration would go to, and keeps its section. `dry_run`: only looks.
    ///
    /// The answer tells what is at the cluster's place in that store.
    public nonisolated func prepareMigration(_ body: JSONObject) async -> OperatorAnswer {
        await prepare(migration: body)
    }

    private func prepare(migration body: JSONObject) async -> OperatorAnswer {
        guard let id = body["id"]?.string, !id.isEmpty, id.utf8.count <= 64, let name = body["store"]?.string,
            let value = body["section"], value.object != nil
        else { return OperatorAnswer(.badRequest, "id, store and section are needed") }
        let isDryRun = body["dry_run"]?.bool ?? false
        guard machine.world.migration == nil, !isPreparing else {
            return OperatorAnswer(.conflict, "a migration is under way")
        }
        // Until the store itself says that the cluster is here, our record is what tells that the old one was left.
        guard let view = machine.world.view, view.migration?.state != .arriving else {
            return OperatorAnswer(
                .conflict,
                "this member does not know its store yet, or the cluster has only just moved there: try again in a moment"
            )
        }
        isPreparing = true
        defer { isPreparing = false }
        let file: MigrationFile
        let made: any CoordinationStore
        do {
            let section = try MigrationFile.section(name, value)
            guard let factory = setup.registry.store(section: name) else {
                return OperatorAnswer(.notProcessable, "this agent has no plugin for the store section '\(name)'")
            }
            let errors = factory.check(section.node).filter { $0.severity == .error }
            guard errors.isEmpty else {
                return OperatorAnswer(.notProcessable, errors.map(\.description).joined(separator: "; "))
            }
            if MigrationFile.value(of: section) == MigrationFile.value(of: local.store) {
                return OperatorAnswer(.notProcessable, "the cluster lives on that store already")
            }
            file = MigrationFile(id: id, section: section, from: MigrationFile.value(of: configuredStore))
            made = try Self.makeStore(section, setup, logger)
        } catch {
            return OperatorAnswer(.notProcessable, "the new store's section cannot be used: \(error)")
        }
        let cluster = ClusterStore(store: made)
        let seen: ClusterView
        switch await look(cluster, within: .seconds(10)) {
        case .success(let view): seen = view
        case .failure(let error):
            await made.close()
            return OperatorAnswer(.unavailable, "the new store cannot be reached from here: \(error)")
        }
        if case .absent = seen.initialize {
        } else if seen.migration?.state != .arriving {
            await made.close()
            return OperatorAnswer(
                .conditionsNotMet,
                "the new store is not empty: a cluster (\(seen.systemIdentifier ?? "?")) is at this scope")
        }
        guard !isDryRun, machine.world.migration == nil else {
            await made.close()
            return isDryRun
                ? OperatorAnswer(.done, "reachable and free") : OperatorAnswer(.conflict, "a migration is under way")
        }
        let state = self.state
        let failure: AgentError? = await blocking {
            do throws(AgentError) {
                try state.write(MigrationFile.name, file.bytes)
                return nil
            } catch {
                return error
            }
        }
        if let failure {
            await made.close()
            return OperatorAnswer(.failed, "the new store is not recorded: \(failure)")
        }
        guard machine.world.migration == nil else {
            await made.close()
            return OperatorAnswer(.conflict, "a migration is under way")
        }
        let before = other
        other = OtherStore(file, made)
        migration = file
        listenToOther()
        before?.listening?.cancel()
        await before?.store.close()
        yield(.prepared(id, store: name))
        logger.notice("told of the store '\(name)' for the migration \(id)")
        return OperatorAnswer(.done, "ready")
    }

    /// The store section that the configuration has, whatever store the agent lives on.
    private var configuredStore: StoreSection {
        guard let file = migration, file.isOver, let pair = file.from.object?.members.first,
            let section = try? MigrationFile.section(pair.key, pair.value)
        else { return local.store }
        return section
    }

    /// The first connection may take a while.
    private nonisolated func look(
        _ cluster: ClusterStore, within limit: Duration
    ) async -> Result<ClusterView, StoreError> {
        let deadline = SystemClock.now() + limit
        var last = StoreError(.timedOut, "no answer within \(limit)")
        while SystemClock.now() < deadline {
            do throws(StoreError) {
                return .success(try await cluster.read(.linearizable, within: deadline - SystemClock.now()))
            } catch {
                last = error
                if error.code == .notAuthorized || error.code == .misconfigured { break }
            }
            do {
                try await Task.sleep(for: .milliseconds(100))
            } catch {
                break
            }
        }
        return .failure(last)
    }

    /// A migration that came to nothing: what was told of its store is forgotten.
    public nonisolated func forgetMigration(_ id: String) async -> OperatorAnswer { await forget(migration: id) }

    private func forget(migration id: String) async -> OperatorAnswer {
        guard let file = migration, file.id == id, !file.isOver else {
            return OperatorAnswer(.notFound, "no migration of that name is prepared here")
        }
        guard machine.world.migration == nil, machine.world.view?.migration?.id != id else {
            return OperatorAnswer(.conflict, "the migration is under way")
        }
        let before = other
        other = nil
        migration = nil
        let state = self.state
        stateQueue.async { state.remove(MigrationFile.name) }
        yield(.prepared(nil, store: nil))
        before?.listening?.cancel()
        await before?.store.close()
        return OperatorAnswer(.done, "forgotten")
    }

    // MARK: - For tests

    /// A file `migration.test` in the state directory makes this agent end as by SIGKILL, once, at the step that it names:
    /// for tests of what a crash leaves behind. Looked for only while a migration runs.
    func lookForHook() {
        guard let migration = machine.world.migration, migration.step != hookStep else { return }
        hookStep = migration.step
        guard let bytes = state.read("migration.test"), String(decoding: bytes, as: UTF8.self) == migration.step else {
            return
        }
        state.remove("migration.test")
        logger.critical("ending at '\(migration.step)', as a test wants")
        kill(getpid(), SIGKILL)
    }
}
