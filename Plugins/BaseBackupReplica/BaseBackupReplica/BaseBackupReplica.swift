import ChildProcesses
import ClusterModel
import ConfigurationTree
import Logging
import PluginInterfaces
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// Copies the data directory of a running member with pg_basebackup.
struct BaseBackupReplica: ReplicaCreationMethod {
    let options: CommandOptions
    /// Why options of the configuration are not among them.
    var leftOut: [ConfigurationComplaint] = []
    var tries = 2
    var pause: Duration = .seconds(5)

    let worksWithoutUpstream = false
    let keepsData = false

    func createReplica(_ context: JobContext) async throws(PluginFailure) {
        guard let upstream = context.upstream else {
            throw PluginFailure("pg_basebackup needs a member to copy from, and there is none")
        }
        for complaint in leftOut { context.logger.warning("option left out: \(complaint)") }
        let command = command(context, upstream)
        let before = Self.entries(of: context.dataDirectory)
        for number in 1...max(tries, 1) {
            context.logger.info(
                "pg_basebackup copies \(upstream.name) (\(upstream.host):\(upstream.port)), try \(number)")
            context.progress(JobProgress(step: "pg_basebackup from \(upstream.name)"))
            let tail = LineTail()
            let end = await context.run(command, Self.reader(context, upstream, tail))
            if end.isSuccess { return }
            let failure = PluginFailure("pg_basebackup from \(upstream.name) \(end.explanation)\(tail.suffix)")
            await clean(context, keeping: before)
            guard number < tries, Self.mayTryAgain(end) else { throw failure }
            context.logger.warning("\(failure.description); next try in \(pause.seconds) s")
            context.progress(JobProgress(step: "pg_basebackup from \(upstream.name) failed, waiting to try again"))
            guard (try? await Task.sleep(for: pause)) != nil else { throw failure }
        }
    }

    func command(_ context: JobContext, _ upstream: Upstream) -> PluginCommand {
        var arguments = [
            "--pgdata=\(context.dataDirectory)", "-X", "stream", "--dbname=\(upstream.connectionString)", "--progress",
            "--verbose",
        ]
        // A spread checkpoint would have the new member wait for minutes before the first byte.
        if options["checkpoint"] == nil { arguments.append("--checkpoint=fast") }
        arguments += options.arguments
        var command = PluginCommand(context.binary("pg_basebackup"), arguments)
        if let passfile = upstream.passfile { command.environment["PGPASSFILE"] = passfile }
        return command
    }

    private static func mayTryAgain(_ end: CommandEnd) -> Bool {
        if Task.isCancelled { return false }
        switch end {
        case .exited, .signalled: return true
        case .timedOut, .cancelled, .notStarted: return false
        }
    }

    /// Tells progress as it comes, and logs it once a second at most.
    private static func reader(_ context: JobContext, _ upstream: Upstream, _ tail: LineTail)
        -> @Sendable (String) -> Void
    {
        let logger = context.logger
        let progress = context.progress
        let name = upstream.name
        let nextLog = Mutex(Instant.distantPast)
        return { line in
            guard let seen = BackupProgress(line) else {
                tail.add(line)
                if !line.isEmpty { logger.info("pg_basebackup: \(line)") }
                return
            }
            progress(
                JobProgress(
                    step: "pg_basebackup from \(name)", doneBytes: seen.doneBytes, totalBytes: seen.totalBytes))
            let now = SystemClock.now()
            let isDue = nextLog.withLock { next in
                guard now >= next else { return false }
                next = now + .seconds(1)
                return true
            }
            if isDue { logger.info("pg_basebackup: \(seen.words)") }
        }
    }

    /// Removes what a failed try left behind (pg_basebackup does so itself unless it is killed), and only that.
    private func clean(_ context: JobContext, keeping before: Set<String>) async {
        let left = Self.entries(of: context.dataDirectory).subtracting(before).sorted()
        guard !left.isEmpty else { return }
        // Not in this task, which may be cancelled already: the next method must find the directory empty.
        let end = await Task {
            await context.run(
                PluginCommand(
                    "rm", ["-rf", "--"] + left.map { "\(context.dataDirectory)/\($0)" }, deadline: .seconds(600)), nil)
        }.value
        if !end.isSuccess {
            context.logger.warning(
                "removing the rest of the failed copy in \(context.dataDirectory) \(end.explanation)")
        }
    }

    private static func entries(of directory: String) -> Set<String> {
        guard let stream = opendir(directory) else { return [] }
        defer { closedir(stream) }
        var names: Set<String> = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.insert(name) }
        }
        return names
    }
}
