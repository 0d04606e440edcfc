/// What went wrong between the agent and one PostgreSQL server. Never holds a password.
public struct PostgresError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Kind: String, Hashable, Sendable {
        /// Nobody answers at that address.
        case unreachable
        /// The server answers that it takes no connections now: starting up, shutting down, in recovery.
        case notAccepting
        /// The role, its password or pg_hba.conf.
        case notAuthorized
        /// The deadline passed; a statement may still have had its effect.
        case timedOut
        /// The connection broke; a statement may still have had its effect.
        case connectionLost
        /// The server refused the statement: see `sqlState`.
        case statementFailed
        /// The task was cancelled.
        case cancelled
        /// A file or directory.
        case file
        /// A program could not be run or failed.
        case program
        /// Something has no form that we know.
        case malformed
        /// What was asked for must not be done as things are.
        case refused
    }

    public var kind: Kind
    /// What was attempted, what happened, and what would help.
    public var message: String
    public var sqlState: String?

    public init(_ kind: Kind, _ message: String, sqlState: String? = nil) {
        self.kind = kind
        self.message = message
        self.sqlState = sqlState
    }

    public var description: String { sqlState.map { "\(message) (SQLSTATE \($0))" } ?? message }
}
