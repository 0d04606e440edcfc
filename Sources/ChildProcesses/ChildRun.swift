import ClusterModel
import Logging
import PluginInterfaces
import Subprocess
import Synchronization
import SystemPackage

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// One child from its start to its end.
///
/// swift-subprocess starts and reaps it, in a task of its own that the caller's cancellation does not reach: its
/// teardown would be content with the child's end, while here the whole group has to go.
final class ChildRun: Sendable {
    private struct State {
        var group: ProcessGroup?
        var isReaped = false
        /// Why it is being stopped; the first reason stays.
        var stopping: CommandEnd?
        var escalation: Task<Void, Never>?
        var deadline: Task<Void, Never>?
        var waiter: CheckedContinuation<CommandEnd, Never>?
    }

    /// How long a killed process may take to vanish before the caller is told that it did not.
    private static let patienceAfterKill: Duration = .seconds(10)

    private let file: String
    private let command: PluginCommand
    private let environment: [String: String]
    private let workingDirectory: String?
    private let grace: Duration
    private let logger: Logger?
    private let deliver: @Sendable (StreamKind, ArraySlice<UInt8>) -> Void
    private let state = Mutex(State())

    init(
        file: String, command: PluginCommand, environment: [String: String], workingDirectory: String?,
        grace: Duration, logger: Logger?, deliver: @escaping @Sendable (StreamKind, ArraySlice<UInt8>) -> Void
    ) {
        self.file = file
        self.command = command
        self.environment = environment
        self.workingDirectory = workingDirectory
        self.grace = grace
        self.logger = logger
        self.deliver = deliver
    }

    /// Starts the child and waits for its end. To be called once.
    func end() async -> CommandEnd {
        await withCheckedContinuation { waiter in
            state.withLock { $0.waiter = waiter }
            Task { await self.live() }
            guard let limit = command.deadline else { return }
            let deadline = Task {
                guard (try? await Task.sleep(for: limit)) != nil else { return }
                self.stop(.timedOut)
            }
            // Already over when nobody waits any more.
            let isOver = state.withLock { state in
                state.deadline = deadline
                return state.waiter == nil
            }
            if isOver { deadline.cancel() }
        }
    }

    /// Has the group ended, and `reason` reported; nothing happens once the child has ended by itself.
    func stop(_ reason: CommandEnd) {
        state.withLock { state in
            guard !state.isReaped, state.stopping == nil else { return }
            state.stopping = reason
            escalateIfStarted(&state)
        }
    }

    private func escalateIfStarted(_ state: inout State) {
        guard let group = state.group, let reason = state.stopping, state.escalation == nil else { return }
        state.escalation = Task { await self.escalate(group, reason) }
    }

    private func live() async {
        if let reason = state.withLock({ $0.stopping }) { return finish(reason) }
        let output: Pipe
        let errors: Pipe
        do {
            output = try Pipe()
            do {
                errors = try Pipe()
            } catch {
                output.close()
                throw error
            }
        } catch {
            return finish(.notStarted("no pipe for its output: \(error)"))
        }
        guard let loop = OutputLoop.shared else {
            output.close()
            errors.close()
            return finish(.notStarted("no thread to read its output"))
        }
        let deliver = deliver
        let tickets = [
            loop.read(output.readEnd) { deliver(.standardOutput, $0) },
            loop.read(errors.readEnd) { deliver(.standardError, $0) },
        ]

        let end = await start(output: output.writeEnd, errors: errors.writeEnd)

        let escalation = state.withLock { state -> Task<Void, Never>? in
            state.isReaped = true
            return state.escalation
        }
        await escalation?.value
        let reason = state.withLock { $0.stopping }
        for ticket in tickets { await loop.settle(ticket, mayLinger: reason == nil) }
        finish(reason ?? end)
    }

    /// Starts the child and returns when it was reaped.
    private func start(output: Int32, errors: Int32) async -> CommandEnd {
        var options = PlatformOptions()
        options.processGroupID = 0
        var variables: [Environment.Key: String] = [:]
        for (name, value) in environment {
            if let key = Environment.Key(rawValue: name) { variables[key] = value }
        }
        do {
            let result = try await Subprocess.run(
                .path(FilePath(file)),
                arguments: Arguments(executablePathOverride: command.executable, remainingValues: command.arguments),
                environment: .custom(variables),
                workingDirectory: workingDirectory.map { FilePath($0) },
                platformOptions: options,
                input: .none,
                output: .fileDescriptor(FileDescriptor(rawValue: output), closeAfterSpawningProcess: true),
                error: .fileDescriptor(FileDescriptor(rawValue: errors), closeAfterSpawningProcess: true)
            ) { execution in
                let group = ProcessGroup(id: execution.processIdentifier.value)
                self.state.withLock { state in
                    state.group = group
                    self.escalateIfStarted(&state)
                }
            }
            return switch result.terminationStatus {
            case .exited(let code): .exited(code)
            case .signaled(let number): .signalled(number)
            }
        } catch let error as SubprocessError {
            return .notStarted(Self.words(error, file, workingDirectory))
        } catch {
            return .notStarted("\(error)")
        }
    }

    private static func words(_ error: SubprocessError, _ file: String, _ workingDirectory: String?) -> String {
        let cause = error.underlyingError.map { String(cString: strerror($0.rawValue)) } ?? "\(error)"
        return switch error.code {
        case .failedToChangeWorkingDirectory: "cannot enter \(workingDirectory ?? "the working directory"): \(cause)"
        default: "\(file): \(cause)"
        }
    }

    private func escalate(_ group: ProcessGroup, _ reason: CommandEnd) async {
        group.send(SIGTERM)
        // A suspended process gets SIGTERM only when it is awake again.
        group.send(SIGCONT)
        if await isGone(group, within: grace) { return }
        group.send(SIGKILL)
        if await isGone(group, within: Self.patienceAfterKill) { return }
        let name = ChildProcess.shortName(command.executable)
        logger?.error("\(name) (process group \(group.id)) does not end although it was killed; going on without it")
        finish(reason)
    }

    /// Waits until neither the child nor anything in its group lives.
    private func isGone(_ group: ProcessGroup, within limit: Duration) async -> Bool {
        let deadline = SystemClock.now() + limit
        var pause: Duration = .milliseconds(2)
        while true {
            if !group.hasLiveMembers { return true }
            if SystemClock.now() >= deadline { return false }
            // This task is never cancelled, so that it sleeps as long as told.
            try? await Task.sleep(for: pause)
            pause = min(pause * 2, .milliseconds(100))
        }
    }

    /// Answers the caller, once.
    private func finish(_ end: CommandEnd) {
        let (waiter, deadline) = state.withLock { state in
            defer {
                state.waiter = nil
                state.deadline = nil
            }
            return (state.waiter, state.deadline)
        }
        deadline?.cancel()
        waiter?.resume(returning: end)
    }
}
