import Glibc

/// What the system tests are run with; `Tests/run.sh` prepares it.
package struct SystemEnvironment: Sendable {
    /// The directory with `matriarch` and `matriarch-guard`, readable by the account.
    package var programs: String
    /// The directory with PostgreSQL's programs.
    package var postgres: String
    /// The ordinary account that runs everything; nil: whoever runs the tests.
    package var account: String?
    /// Rounds of each fault.
    package var rounds: Int
    /// Whether directories stay for looking at.
    package var keeps: Bool

    package static func variable(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }

    /// Where directories are made.
    package static var workPlace: String { variable("MATRIARCH_WORK") ?? variable("TMPDIR") ?? "/tmp" }

    package static func read() throws -> SystemEnvironment {
        guard let programs = variable("MATRIARCH_BIN"), let postgres = variable("MATRIARCH_PG_BIN") else {
            throw SystemFailure("the system tests need what Tests/run.sh prepares: run `Tests/run.sh system`")
        }
        let account = variable("MATRIARCH_ACCOUNT")
        if geteuid() == 0, account == nil {
            throw SystemFailure("PostgreSQL refuses root: MATRIARCH_ACCOUNT is not set")
        }
        return SystemEnvironment(
            programs: programs, postgres: postgres, account: geteuid() == 0 ? account : nil,
            rounds: variable("MATRIARCH_ROUNDS").flatMap { Int($0) } ?? 1, keeps: variable("MATRIARCH_KEEP") == "1")
    }
}

/// Why a system test failed, in a sentence with what was found.
package struct SystemFailure: Error, CustomStringConvertible {
    package var description: String

    package init(_ description: String) {
        self.description = description
    }
}

/// Runs blocking work on a thread of its own: the harness waits and reads as a shell script would, and the
/// cooperative pool never blocks.
package func onThread<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
        do {
            try startThread { continuation.resume(with: Swift.Result(catching: body)) }
        } catch {
            continuation.resume(throwing: error)
        }
    }
}

/// Starts blocking work on a thread of its own, which is where the calling thread is on the network. A thread of the
/// cooperative pool is wherever the pool's first user was: nothing that connects or listens is started from there.
func startThread(_ body: @escaping @Sendable () -> Void) throws {
    let box = Unmanaged.passRetained(Work(body))
    var thread = pthread_t()
    let code = pthread_create(
        &thread, nil,
        { pointer in
            guard let pointer else { return nil }
            Unmanaged<Work>.fromOpaque(pointer).takeRetainedValue().run()
            return nil
        }, box.toOpaque())
    guard code == 0 else {
        box.release()
        throw SystemFailure("no thread could be started: \(code)")
    }
    pthread_detach(thread)
}

private final class Work: Sendable {
    let run: @Sendable () -> Void

    init(_ run: @escaping @Sendable () -> Void) {
        self.run = run
    }
}

/// CLOCK_BOOTTIME in seconds: what all measurements are in.
package func clockNow() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_BOOTTIME, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

package func pauseFor(_ seconds: Double) {
    var left = timespec(tv_sec: Int(seconds), tv_nsec: Int((seconds - seconds.rounded(.down)) * 1e9))
    var rest = timespec()
    while nanosleep(&left, &rest) != 0 && errno == EINTR { left = rest }
}

/// Asks until the answer is there; what it was at last is told when it never is.
@discardableResult
package func waitUntil<Value>(
    _ description: String, within seconds: Double, every period: Double = 0.05, _ condition: () throws -> Value?
) throws -> Value {
    let deadline = clockNow() + seconds
    var trouble = ""
    while true {
        do {
            if let value = try condition() { return value }
            trouble = ""
        } catch {
            trouble = " (\(error))"
        }
        if clockNow() >= deadline { throw SystemFailure("not within \(seconds) s: \(description)\(trouble)") }
        pauseFor(period)
    }
}

package func waitUntil(
    _ description: String, within seconds: Double, every period: Double = 0.05, _ condition: () throws -> Bool
) throws {
    try waitUntil(description, within: seconds, every: period) { try condition() ? () : nil }
}

/// Fails the test with a sentence unless the condition holds.
package func check(_ condition: Bool, _ message: @autoclosure () -> String) throws {
    if !condition { throw SystemFailure(message()) }
}
