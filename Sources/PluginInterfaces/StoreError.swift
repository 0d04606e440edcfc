/// Why a store did not do what was asked.
public struct StoreError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What kind of failure it is, which is what callers act on.
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        public var description: String

        private init(_ description: String) {
            self.description = description
        }

        /// No server answered: retrying may help.
        public static let unreachable = Code("unreachable")
        /// No answer within the deadline.
        public static let timedOut = Code("timed out")
        /// The store says that our session is gone.
        public static let sessionLost = Code("session lost")
        /// The credentials are wrong, or do not allow it.
        public static let notAuthorized = Code("not authorized")
        /// A value or transaction over the store's limits, refused before it was sent.
        public static let tooLarge = Code("too large")
        /// The store answered something that cannot be understood.
        public static let malformed = Code("malformed answer")
        /// The plugin was closed.
        public static let closed = Code("closed")
        /// The configuration cannot work with this store.
        public static let misconfigured = Code("misconfigured")
    }

    public var code: Code
    /// What was attempted on what, what happened, and what to do about it. Never a secret.
    public var message: String

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { "\(message) (\(code))" }
}
