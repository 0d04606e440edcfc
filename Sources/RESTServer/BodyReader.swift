import HummingbirdCore
import NIOCore
import Synchronization

/// A request's body, which can be read once: the server's own iterator stops the process at a second attempt.
final class BodyReader: Sendable {
    private let body: Mutex<RequestBody?>

    init(_ body: RequestBody) {
        self.body = Mutex(body)
    }

    /// The whole body, not larger than told and not later than told.
    func read(limit: Int, within: Duration) async throws(BodyProblem) -> [UInt8] {
        let body = body.withLock { body in
            defer { body = nil }
            return body
        }
        guard let body else { throw .broken }
        let result = await withTaskGroup(of: Result<[UInt8], BodyProblem>.self) { group in
            group.addTask {
                do {
                    return .success(Array(buffer: try await body.collect(upTo: limit)))
                } catch is NIOTooManyBytesError {
                    return .failure(.tooLarge)
                } catch {
                    return .failure(.broken)
                }
            }
            group.addTask {
                try? await Task.sleep(for: within, tolerance: .milliseconds(10), clock: .continuous)
                return .failure(.slow)
            }
            let first = await group.next() ?? .failure(.broken)
            group.cancelAll()
            return first
        }
        return try result.get()
    }
}
