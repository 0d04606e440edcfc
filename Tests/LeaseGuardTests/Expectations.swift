import ClusterModel
import Testing

@testable import LeaseGuard

/// What a loaded machine may add to any instant that a test expects.
let slack = Duration.milliseconds(700)

/// When no process works in the data directory any more.
func gone(_ server: GuardedServer, within: Duration = .seconds(10)) async throws -> Instant {
    try await eventually(within) { processes(in: server.data).isEmpty }
    return BootClock.now
}

/// Expects the guard to say no; gives the reason.
@discardableResult
func refused(
    sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws(GuardError) -> Void
) async -> String? {
    do {
        try await body()
        Issue.record("it was not refused", sourceLocation: sourceLocation)
        return nil
    } catch {
        #expect(error.code == .refused, "\(error)", sourceLocation: sourceLocation)
        return error.message
    }
}
