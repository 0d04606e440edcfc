import ClusterModel
public import Logging
public import PluginInterfaces
import Synchronization

/// Runs other programs: each in a process group of its own, within a deadline, ended with the task that runs it.
///
/// For every run this holds:
/// 1. The child gets no input, none of the agent's descriptors, none of its own settings (`ChildEnvironment`), and
///    default signal handling.
/// 2. When the deadline passes or the calling task is cancelled, the whole group gets SIGTERM, after a grace SIGKILL;
///    the call returns once the group is gone. It returns even when a process cannot be killed (a dead disk).
/// 3. The child is reaped, its pipes are closed. What a script left in the background after a normal end goes on
///    undisturbed. It is nobody's child then: an agent that runs as process 1, or as a subreaper, has to reap such
///    orphans itself (`waitid` with WNOWAIT, skipping the children it knows).
/// 4. If the agent itself is killed, a program that goes on writing output ends by SIGPIPE.
public enum ChildProcess {
    /// How long a group has between SIGTERM and SIGKILL.
    public static let defaultGrace: Duration = .seconds(5)

    /// Runs a command to its end.
    ///
    /// - Parameters:
    ///   - command: Its `environment` is added to the base as it is; a bare name is looked up in the PATH of the result.
    ///   - workingDirectory: Nil: the agent's. A relative executable is relative to it.
    ///   - environment: The base; cleaned in any case.
    ///   - onLine: Gets the lines of both streams as they come, one call at a time, none after the return. Without it
    ///     lines go to the log.
    ///   - logger: For the lines, when nobody else takes them, and for what went wrong in stopping.
    public static func run(
        _ command: PluginCommand, workingDirectory: String? = nil,
        environment: [String: String] = ChildEnvironment.inherited(), grace: Duration = defaultGrace,
        onLine: (@Sendable (StreamKind, String) -> Void)? = nil, logger: Logger? = nil
    ) async -> CommandEnd {
        let name = shortName(command.executable)
        let deliver: @Sendable (StreamKind, String) -> Void =
            onLine ?? { _, line in
                if !line.isEmpty { logger?.info("\(name): \(line)") }
            }
        let splitters = Mutex<[StreamKind: LineSplitter]>([:])
        let end = await run(command, workingDirectory, environment, grace, logger) { kind, bytes in
            let lines = splitters.withLock { $0[kind, default: LineSplitter()].lines(adding: bytes) }
            for line in lines { deliver(kind, line) }
        }
        for kind in [StreamKind.standardOutput, .standardError] {
            if let line = splitters.withLock({ $0[kind]?.rest() }) { deliver(kind, line) }
        }
        return end
    }

    /// Runs a command to its end and returns what it wrote, both streams as they came or one of them; bytes beyond the
    /// limit are dropped.
    public static func runCollecting(
        _ command: PluginCommand, workingDirectory: String? = nil,
        environment: [String: String] = ChildEnvironment.inherited(), grace: Duration = defaultGrace,
        only stream: StreamKind? = nil, limit: Int = 1 << 20, logger: Logger? = nil
    ) async -> (CommandEnd, String) {
        let collected = Mutex<[UInt8]>([])
        let end = await run(command, workingDirectory, environment, grace, logger) { kind, bytes in
            if let stream, kind != stream { return }
            collected.withLock { $0.append(contentsOf: bytes.prefix(max(0, limit - $0.count))) }
        }
        return (end, collected.withLock { String(decoding: $0, as: UTF8.self) })
    }

    private static func run(
        _ command: PluginCommand, _ workingDirectory: String?, _ environment: [String: String], _ grace: Duration,
        _ logger: Logger?, deliver: @escaping @Sendable (StreamKind, ArraySlice<UInt8>) -> Void
    ) async -> CommandEnd {
        var full = ChildEnvironment.sanitized(environment)
        for (name, value) in command.environment { full[name] = value }
        let search = ExecutableSearch.find(
            command.executable, workingDirectory: workingDirectory, path: full["PATH"])
        guard case .file(let file) = search else {
            if case .nothing(let why) = search { return .notStarted(why) }
            return .notStarted(command.executable)
        }
        if command.arguments.contains(where: { $0.utf8.contains(0) }) {
            return .notStarted("an argument contains a NUL character")
        }
        let child = ChildRun(
            file: file, command: command, environment: full, workingDirectory: workingDirectory, grace: grace,
            logger: logger, deliver: deliver)
        return await withTaskCancellationHandler {
            await child.end()
        } onCancel: {
            child.stop(.cancelled)
        }
    }

    /// The last part of a path.
    static func shortName(_ executable: String) -> String {
        executable.split(separator: "/").last.map(String.init) ?? executable
    }
}
