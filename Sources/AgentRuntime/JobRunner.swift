import AgentConfiguration
import ChildProcesses
import ClusterModel
import ConfigurationTree
import Glibc
import HighAvailability
import LeaseGuard
import Logging
import PluginInterfaces
import PostgresControl

/// Carries out the machine's jobs on PostgreSQL. Holds no decision: each method does one thing and tells how it ended.
struct JobRunner: Sendable {
    let setup: AgentSetup
    let inForce: SettingsInForce
    let link: GuardLink
    let catalog: SettingsCatalog?
    let logger: Logger
    let progress: @Sendable (JSONObject) -> Void

    private var layout: PostgresLayout { inForce.layout }
    private var logFile: String { setup.settings.stateDirectory + "/postgres.log" }

    func run(_ job: Job) async -> JobEnd {
        let end = await carryOut(job)
        switch (job, end) {
        case (_, .done), (_, .made): break
        case (.start(.primary), _), (.restart(.primary), _), (.promote, _):
            // Nobody may believe this server silent before it is: a start may have succeeded as it was cancelled.
            if Task.isCancelled { link.stop(.immediate) }
            await link.settle()
        default: break
        }
        return end
    }

    private func carryOut(_ job: Job) async -> JobEnd {
        do throws(PostgresError) {
            switch job {
            case .bootstrap: return try await bootstrap()
            case .clone(let source, _): return try await clone(source)
            case .start(let role): return try await start(role)
            case .stop(let mode): return try await stop(mode)
            case .prePromote: return await prePromote()
            case .promote(let fence, let from, let to): return try await promote(fence, from, to)
            case .rewind(let source): return try await rewind(source)
            case .follow(let upstream): return try await follow(upstream)
            case .restart(let role):
                let stopped = try await stop(.fast)
                guard stopped == .done else { return stopped }
                return try await start(role)
            }
        } catch {
            return Task.isCancelled ? .cancelled : .failed(error.description)
        }
    }

    // MARK: - Start, stop, promote, follow

    private func postmaster(_ mode: GuardMode, _ term: Fence? = nil) -> Postmaster {
        Postmaster(
            layout: layout,
            control: GuardedPostmaster(
                link: link, mode: mode, term: term, dataDirectory: layout.dataDirectory,
                environment: ChildEnvironment.inherited()),
            logger: logger)
    }

    private var files: PostgresConfigurationFiles { PostgresConfigurationFiles(layout: layout, catalog: catalog) }

    private func standbySettings(_ upstream: UpstreamTarget?) throws(PostgresError) -> StandbySettings {
        guard let upstream else { return StandbySettings(upstream: nil) }
        return StandbySettings(upstream: try endpoint(upstream))
    }

    private func endpoint(_ target: UpstreamTarget) throws(PostgresError) -> ServerEndpoint {
        guard let parsed = MemberURL(target.connURL) else {
            throw PostgresError(
                .malformed, "members/\(target.name): conn_url '\(target.connURL)' is no postgres://host:port/database")
        }
        return ServerEndpoint(host: parsed.host, port: parsed.port)
    }

    private func writePassfile() async throws(PostgresError) {
        let layout = self.layout
        let result: Result<Bool, PostgresError> = await blocking {
            do throws(PostgresError) {
                return .success(try Passfile.write(layout.passfile, Passfile.entries(layout)))
            } catch {
                return .failure(error)
            }
        }
        _ = try result.get()
    }

    private func tell(_ outcome: PostgresConfigurationFiles.Outcome) {
        for warning in outcome.warnings { logger.warning("\(warning)") }
    }

    private func start(_ role: StartRole) async throws(PostgresError) -> JobEnd {
        try await writePassfile()
        let server: Postmaster
        let isStandby: Bool
        switch role {
        case .primary(let fence):
            tell(try await files.prepareStart(as: .primary))
            server = postmaster(.primary, fence)
            isStandby = false
        case .standby(let upstream):
            tell(try await files.prepareStart(as: .standby(try standbySettings(upstream))))
            try TimelineNumbers.takeBack(dataDirectory: layout.dataDirectory)
            server = postmaster(.replica)
            isStandby = true
        }
        let logStart = LogTail.size(logFile)
        let process = try await server.start(asStandby: isStandby, logFile: logFile)
        let outcome = try await server.waitUntilAccepting(
            process, within: isStandby ? layout.pgCtlTimeout : .seconds(86_400))
        switch outcome {
        case .accepting, .acceptingNone, .stillStarting:
            try? await files.saveCopies()
            return .done
        case .exited:
            return .failed("PostgreSQL ended while it was starting\(LogTail.lastErrors(logFile, from: logStart))")
        }
    }

    private func stop(_ mode: HighAvailability.StopMode) async throws(PostgresError) -> JobEnd {
        let server = postmaster(.none)
        guard let process = server.running() else { return .done }
        if let line = inForce.effective.postgresql.beforeStop {
            await runHook("before_stop") { () throws(ShellWordsError) in
                try HookCommands.beforeStop(line, deadline: .seconds(60))
            }
        }
        let outcome: StopOutcome
        switch mode {
        case .fast: outcome = try await server.stopFast(process, within: .seconds(30), lingering: .seconds(1))
        case .immediate: outcome = try await server.stop(process, plan: [(.immediate, .seconds(5))])
        }
        if outcome == .stillRunning {
            link.stop(.immediate)
            guard try await Postmaster.waitForExit(of: process, within: .seconds(5)) else {
                return .failed("PostgreSQL does not end")
            }
        }
        await link.waitUntilDownIsTold()
        return .done
    }

    private func prePromote() async -> JobEnd {
        guard let line = inForce.effective.postgresql.prePromote else { return .done }
        let end = await runHook("pre_promote") { () throws(ShellWordsError) in try HookCommands.prePromote(line) }
        switch end {
        case .exited(0): return .done
        case .cancelled: return .cancelled
        default: return .failed("pre_promote \(end.explanation)")
        }
    }

    @discardableResult
    private func runHook(_ name: String, _ make: () throws(ShellWordsError) -> PluginCommand) async -> CommandEnd {
        do throws(ShellWordsError) {
            let command = try make()
            let end = await ChildProcess.run(
                command, onLine: { _, line in logger.info("\(name): \(line)") }, logger: logger)
            if !end.isSuccess { logger.warning("\(name) \(end.explanation)") }
            return end
        } catch {
            logger.error("postgresql.\(name): \(error)")
            return .notStarted("\(error)")
        }
    }

    private func promote(
        _ fence: Fence, _ from: Timeline, _ target: Timeline
    ) async throws(PostgresError) -> JobEnd {
        guard let client = link.client else { return .failed("the guard is not connected") }
        try TimelineNumbers.leaveOut(dataDirectory: layout.dataDirectory, from: from, to: target)
        let server = postmaster(.promoting, fence)
        let process = server.running()
        do throws(GuardError) {
            try await client.promote(dataDirectory: layout.dataDirectory, term: fence)
        } catch {
            return .failed("the guard did not promote: \(error.message)")
        }
        let control = try await server.waitForControlState([.inProduction], process: process, within: .seconds(3600))
        guard control != nil else { return .failed("PostgreSQL ended during the promotion") }
        return .done
    }

    private func follow(_ upstream: UpstreamTarget?) async throws(PostgresError) -> JobEnd {
        try await writePassfile()
        let outcome = try await files.write(.standby(try standbySettings(upstream)))
        tell(outcome)
        let server = postmaster(.replica)
        guard let process = server.running() else { return .failed("PostgreSQL is not running") }
        if !outcome.changed.isEmpty { try await server.reload(process) }
        return .done
    }

    fileprivate func rewrite(isStandby: Bool, upstream: UpstreamTarget?) async throws(PostgresError) -> JobEnd {
        try await writePassfile()
        let role: PostgresConfigurationFiles.Role = isStandby ? .standby(try standbySettings(upstream)) : .primary
        let outcome = try await files.write(role)
        tell(outcome)
        let server = postmaster(isStandby ? .replica : .primary)
        if let process = server.running() { try await server.reload(process) }
        return .done
    }

    // MARK: - Data directories

    private func context(_ directory: String, upstream: Upstream?, passwordFile: String?) -> JobContext {
        let layout = self.layout
        let logger = self.logger
        let progress = self.progress
        return JobContext(
            scope: setup.settings.scope, memberName: setup.settings.name, dataDirectory: directory,
            binary: { layout.program($0) }, upstream: upstream, superuser: layout.superuser.user,
            superuserPasswordFile: passwordFile,
            run: { command, onLine in
                await ChildProcess.run(
                    command,
                    onLine: { _, line in
                        if let onLine { onLine(line) } else { logger.info("\(command.executable): \(line)") }
                    }, logger: logger)
            },
            progress: { step in
                var object: JSONObject = ["step": .string(step.step)]
                if let done = step.doneBytes { object["done_bytes"] = .integer(Int64(clamping: done)) }
                if let total = step.totalBytes { object["total_bytes"] = .integer(Int64(clamping: total)) }
                progress(object)
            }, logger: logger)
    }

    private func bootstrap() async throws(PostgresError) -> JobEnd {
        let name = setup.settings.bootstrap?.method ?? "initdb"
        let method: any BootstrapMethod
        let section = setup.settings.bootstrap?.methods[name]
        do throws(ConfigurationComplaints) {
            if let factory = setup.registry.bootstrap(name: name) {
                method = try factory.makeMethod(section)
            } else if let commands = setup.registry.commands {
                method = try commands.makeBootstrapMethod(name: name, section)
            } else {
                return .failed("bootstrap.method: no plugin is named '\(name)'")
            }
        } catch {
            return .failed("\(error)")
        }
        let state = StateDirectory(path: setup.settings.stateDirectory)
        var passwordFile: String?
        if let password = layout.superuser.password {
            do throws(AgentError) {
                try state.write("initdb.password", Array((password.reveal() + "\n").utf8))
            } catch {
                return .failed(error.description)
            }
            passwordFile = state.path + "/initdb.password"
        }
        defer { state.remove("initdb.password") }
        do throws(PluginFailure) {
            try await method.createDataDirectory(
                context(layout.dataDirectory, upstream: nil, passwordFile: passwordFile))
        } catch {
            return await abandonBootstrap(error.description)
        }
        do throws(PostgresError) {
            try await firstStart()
        } catch {
            return await abandonBootstrap(error.description)
        }
        guard let control = try ControlFile.read(dataDirectory: layout.dataDirectory)?.data else {
            return await abandonBootstrap("no control file after the bootstrap")
        }
        return .made(control)
    }

    /// Starts the new server where nobody can reach it, makes roles and runs the script, and stops it.
    private func firstStart() async throws(PostgresError) {
        progress(["step": "roles"])
        let socketDirectory = setup.settings.stateDirectory + "/bootstrap"
        mkdir(socketDirectory, 0o700)
        let scope = ListeningScope.privateSocket(directory: socketDirectory)
        var open = layout
        // Nobody but this account can enter the directory; the roles' passwords do not exist yet.
        open.hbaLines = ["local all all trust", "local replication all trust"]
        tell(try await PostgresConfigurationFiles(layout: open, catalog: catalog).prepareStart(as: .primary))
        let server = postmaster(.bootstrap)
        let logStart = LogTail.size(logFile)
        let process = try await server.start(scope: scope, asStandby: false, logFile: logFile)
        guard try await server.waitUntilAccepting(process, within: .seconds(300)) == .accepting else {
            throw PostgresError(
                .program, "the new server did not start\(LogTail.lastErrors(logFile, from: logStart))")
        }
        try await PostgresOperations(layout: layout, scope: scope, logger: logger).createRoles(within: .seconds(60))
        if let line = setup.settings.bootstrap?.postBootstrap {
            progress(["step": "post_bootstrap"])
            try await writePassfile()
            let target = ConnectionTarget(local: layout, scope: scope)
            let passfile = layout.superuser.password == nil ? nil : layout.passfile
            let end = await runHook("post_bootstrap") { () throws(ShellWordsError) in
                try HookCommands.postBootstrap(
                    line, connectionString: target.connectionString(passfile: nil), passfile: passfile)
            }
            guard end.isSuccess else { throw PostgresError(.program, "post_bootstrap \(end.explanation)") }
        }
        progress(["step": "stopping"])
        _ = try await server.stopFast(process, within: .seconds(120))
        await waitUntilSilent()
        // The lines that are configured, or those that initdb wrote.
        if layout.hbaLines == nil { try await files.appendHBA(defaultHBA) }
    }

    private var defaultHBA: [String] {
        [
            "local all all scram-sha-256", "host all all all scram-sha-256",
            "local replication \(layout.replication.user) scram-sha-256",
            "host replication \(layout.replication.user) all scram-sha-256",
        ]
    }

    private func waitUntilSilent() async {
        let until = SystemClock.now() + .seconds(10)
        while SystemClock.now() < until {
            if link.client?.latestStatus.postmaster == nil,
                Postmaster.running(dataDirectory: layout.dataDirectory) == nil
            {
                return
            }
            try? await Task.sleep(for: .milliseconds(10))
        }
    }

    private func abandonBootstrap(_ why: String) async -> JobEnd {
        link.stop(.immediate)
        await waitUntilSilent()
        let directory = DataDirectory(layout.dataDirectory)
        do throws(PostgresError) {
            switch try directory.state() {
            case .absent, .empty: break
            default:
                let aside = try directory.moveAside("failed")
                logger.warning("what the bootstrap left is kept as \(aside)")
            }
        } catch {
            logger.error("what the bootstrap left could not be moved aside: \(error)")
        }
        return Task.isCancelled ? .cancelled : .failed(why)
    }

    private func clone(_ source: UpstreamTarget) async throws(PostgresError) -> JobEnd {
        try await writePassfile()
        let endpoint = try endpoint(source)
        let target = ConnectionTarget(
            endpoint: endpoint, database: layout.database, login: layout.replication,
            applicationName: setup.settings.name, isReplication: false)
        let passfile = layout.replication.password == nil ? nil : layout.passfile
        let upstream = Upstream(
            name: source.name, host: endpoint.host ?? "", port: endpoint.port,
            connectionString: target.connectionString(passfile: passfile), passfile: passfile, isLeader: true)
        let directory = DataDirectory(layout.dataDirectory)
        var failures: [String] = []
        for name in inForce.effective.postgresql.createReplicaMethods {
            let method: any ReplicaCreationMethod
            do throws(ConfigurationComplaints) {
                let section = inForce.effective.postgresql.methods[name]
                if let factory = setup.registry.replica(name: name) {
                    method = try factory.makeMethod(section)
                } else if let commands = setup.registry.commands {
                    method = try commands.makeReplicaMethod(name: name, section)
                } else {
                    failures.append("\(name): no plugin of this name")
                    continue
                }
            } catch {
                failures.append("\(name): \(error)")
                continue
            }
            // A copy beside the old data would want the same places for tablespaces and a linked pg_wal.
            let links = try directory.outsideLinks()
            let hasLinks = !method.keepsData && !links.isEmpty
            if hasLinks { note(aside: try directory.moveAside("diverged")) }
            let place = method.keepsData || hasLinks ? layout.dataDirectory : directory.clonePath
            if !method.keepsData, !hasLinks { try await clear(place) }
            logger.info("\(name): copying \(source.name) to \(place)")
            do throws(PluginFailure) {
                try await method.createReplica(context(place, upstream: upstream, passwordFile: nil))
            } catch {
                if Task.isCancelled {
                    if !method.keepsData, !hasLinks { try? await clear(place) }
                    return .cancelled
                }
                logger.warning("\(name): \(error)")
                failures.append("\(name): \(error)")
                continue
            }
            if !method.keepsData, !hasLinks {
                let aside: Result<String?, PostgresError> = await blocking {
                    do throws(PostgresError) {
                        return .success(try directory.swapIn(clone: place, label: "diverged"))
                    } catch {
                        return .failure(error)
                    }
                }
                if let aside = try aside.get() { note(aside: aside) }
            }
            try await files.restoreCopies()
            try await files.markStandby()
            guard let control = try ControlFile.read(dataDirectory: layout.dataDirectory)?.data else {
                return .failed("\(name): no control file in the copy")
            }
            return .made(control)
        }
        return .failed(failures.joined(separator: "; "))
    }

    private func note(aside: String) {
        logger.warning("the data that was there is kept as \(aside) until the new copy streams")
        do throws(AgentError) {
            try StateDirectory(path: setup.settings.stateDirectory).write("aside", Array(aside.utf8))
        } catch {
            // Then it is kept for good: nobody but its owner may remove it.
            logger.warning("\(error)")
        }
    }

    /// Empties the place of a clone that an earlier try of ours left half made; never the data directory itself.
    private func clear(_ place: String) async throws(PostgresError) {
        guard place != layout.dataDirectory, place.hasPrefix(layout.dataDirectory) else { return }
        let end = await ChildProcess.run(PluginCommand("rm", ["-rf", "--", place]), logger: logger)
        guard end.isSuccess else { throw PostgresError(.program, "cannot clear \(place): \(end.explanation)") }
        try DataDirectory(place).prepare()
    }

    private func rewind(_ source: UpstreamTarget) async throws(PostgresError) -> JobEnd {
        guard let control = try ControlFile.read(dataDirectory: layout.dataDirectory)?.data else {
            return .needsClone("the control file cannot be read")
        }
        if let obstacle = RewindCommand.obstacle(layout, control: control) { return .needsClone(obstacle) }
        try await writePassfile()
        let endpoint = try endpoint(source)
        let facts = try await RemoteServer(endpoint: endpoint, layout: layout).inspect(within: .seconds(5))
        guard facts.systemIdentifier == control.systemIdentifier else {
            return .failed("\(source.name) has another system identifier: \(facts.systemIdentifier)")
        }
        guard facts.isInRecovery == false else { return .failed("\(source.name) is in recovery") }
        // pg_rewind recovers a crashed directory alone, which a standby cannot be.
        try await files.unmarkStandby()
        let major = catalog?.majorVersion ?? 15
        if RewindCommand.needsOwnRecovery(layout, majorVersion: major, control: control) {
            progress(["step": "crash recovery"])
            let recovery = ServerCommand.crashRecovery(layout)
            let end = await ChildProcess.run(
                PluginCommand(recovery.executable, recovery.arguments),
                onLine: { _, line in logger.info("postgres: \(line)") }, logger: logger)
            guard end.isSuccess else {
                try? await files.markStandby()
                return end == .cancelled ? .cancelled : .needsClone("crash recovery \(end.explanation)")
            }
        }
        let restoreCommand = layout.recoveryConf.last { $0.name == "restore_command" }?.value
        var command = RewindCommand.build(
            layout, source: endpoint, majorVersion: major, restoreCommand: restoreCommand)
        if let stale = PostmasterFile.read(dataDirectory: layout.dataDirectory) {
            // As at a start: a killed server's number may be taken, or not be free yet.
            command.environment["PG_GRANDPARENT_PID"] = String(stale.processID)
        }
        progress(["step": "pg_rewind"])
        let tail = LineTail()
        let end = await ChildProcess.run(
            command,
            onLine: { _, line in
                logger.info("pg_rewind: \(line)")
                tail.add(line)
            }, logger: logger)
        // Whatever became of it: the next start begins in recovery.
        try? await files.markStandby()
        if end == .cancelled { return .cancelled }
        guard end.isSuccess else { return .needsClone("pg_rewind \(end.explanation)\(tail.suffix)") }
        guard let rewound = try ControlFile.read(dataDirectory: layout.dataDirectory)?.data else {
            return .needsClone("pg_rewind left no control file")
        }
        // What an archive has is fetched from there.
        if restoreCommand?.isEmpty ?? true,
            let missing = try RewoundWAL.firstMissingSegment(
                dataDirectory: layout.dataDirectory, leader: facts.ancestry)
        {
            return .needsClone("\(source.name) has no WAL from before it was copied itself: \(missing) is missing")
        }
        return .made(rewound)
    }
}

extension JobRunner {
    /// Writes the running server's files anew and has it read them.
    func rewriteConfiguration(isStandby: Bool, upstream: UpstreamTarget?) async -> JobEnd {
        do throws(PostgresError) {
            return try await rewrite(isStandby: isStandby, upstream: upstream)
        } catch {
            return .failed(error.description)
        }
    }
}
