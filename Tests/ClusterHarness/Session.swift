import CLibPQ
import Glibc

/// A connection to PostgreSQL, used from one thread. No call lasts longer than its limit.
package final class Session {
    private let connection: OpaquePointer

    /// What an attempt to run a statement brought.
    package enum Outcome {
        /// The first value of the first row, if there was one.
        case done(String?)
        /// The server said no; the session lives.
        case refused(String)
        /// The session is gone; whether the statement took effect is unknown.
        case broken(String)
        /// Neither yet.
        case pending
    }

    package init(_ parameters: String, within seconds: Double = 5) throws {
        guard let connection = PQconnectStart(parameters) else { throw SystemFailure("libpq has no memory") }
        self.connection = connection
        let deadline = clockNow() + seconds
        var wanted = PGRES_POLLING_WRITING
        while wanted != PGRES_POLLING_OK {
            if wanted == PGRES_POLLING_FAILED || PQstatus(connection) == CONNECTION_BAD || clockNow() > deadline {
                let why = Self.message(connection)
                // The connection is freed by deinit, which runs for a whole object even when its init throws.
                throw SystemFailure(why.isEmpty ? "no connection within \(seconds) s" : why)
            }
            _ = Self.ready(connection, forWriting: wanted == PGRES_POLLING_WRITING, within: 0.1)
            wanted = PQconnectPoll(connection)
        }
        PQsetNoticeProcessor(connection, { _, _ in }, nil)
    }

    deinit {
        PQfinish(connection)
    }

    /// Sends a statement; its outcome is asked for by `outcome(within:)`.
    package func send(_ statement: String) -> Bool { PQsendQuery(connection, statement) == 1 }

    /// Waits for the statement that was sent.
    package func outcome(within seconds: Double) -> Outcome {
        let deadline = clockNow() + seconds
        while true {
            if PQconsumeInput(connection) == 0 { return .broken(Self.message(connection)) }
            if PQisBusy(connection) == 0 { return collect() }
            let left = deadline - clockNow()
            if left <= 0 { return .pending }
            _ = Self.ready(connection, forWriting: false, within: min(left, 0.2))
        }
    }

    private func collect() -> Outcome {
        var outcome = Outcome.done(nil)
        while let result = PQgetResult(connection) {
            defer { PQclear(result) }
            switch PQresultStatus(result) {
            case PGRES_TUPLES_OK:
                if PQntuples(result) > 0, PQnfields(result) > 0, let value = PQgetvalue(result, 0, 0) {
                    outcome = .done(String(cString: value))
                }
            case PGRES_COMMAND_OK, PGRES_EMPTY_QUERY:
                break
            default:
                let message = PQresultErrorMessage(result).map { String(cString: $0) } ?? "no message"
                outcome = PQstatus(connection) == CONNECTION_OK ? .refused(message) : .broken(message)
            }
        }
        if case .done = outcome, PQstatus(connection) != CONNECTION_OK { return .broken(Self.message(connection)) }
        return outcome
    }

    /// Runs a statement and returns its value.
    package func value(_ statement: String, within seconds: Double = 10) throws -> String {
        guard send(statement) else { throw SystemFailure(Self.message(connection)) }
        switch outcome(within: seconds) {
        case .done(let value): return value ?? ""
        case .refused(let why), .broken(let why): throw SystemFailure("\(statement): \(why)")
        case .pending: throw SystemFailure("\(statement): no answer within \(seconds) s")
        }
    }

    private static func message(_ connection: OpaquePointer) -> String {
        let text = PQerrorMessage(connection).map { String(cString: $0) } ?? ""
        return text.split(separator: "\n").joined(separator: " ")
    }

    private static func ready(_ connection: OpaquePointer, forWriting: Bool, within seconds: Double) -> Bool {
        let descriptor = PQsocket(connection)
        guard descriptor >= 0 else { return false }
        var entry = pollfd(fd: descriptor, events: Int16(forWriting ? POLLOUT : POLLIN), revents: 0)
        return poll(&entry, 1, Int32(max(1, seconds * 1000))) > 0
    }
}
