import ChildProcesses
import Logging

/// What scripts write goes to the log, and its end into the message that tells of their failure.
enum ScriptOutput {
    static func reader(_ name: String, _ logger: Logger, _ tail: LineTail) -> @Sendable (String) -> Void {
        { line in
            tail.add(line)
            if !line.isEmpty { logger.info("\(name): \(line)") }
        }
    }
}
