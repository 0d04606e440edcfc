/// Why something asked of the guard did not happen, or is not known to have.
public struct GuardError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What kind of failure it is, for callers that decide by it.
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        public let description: String

        /// No guard listens, and none was to be launched.
        public static let unreachable = Code(description: "unreachable")
        /// The guard's program could not be started, or said why it does not run.
        public static let launchFailed = Code(description: "launch failed")
        /// Guard and agent speak different versions of the protocol, or what answered is no guard of this account.
        public static let incompatible = Code(description: "incompatible")
        /// The guard said no. Nothing happened.
        public static let refused = Code(description: "refused")
        /// No answer in time. It may have happened, or may still: ask for the status.
        public static let timedOut = Code(description: "timed out")
        /// The connection ended before the answer. It may have happened.
        public static let disconnected = Code(description: "disconnected")
        /// The request cannot be sent as it is.
        public static let invalid = Code(description: "invalid")
    }

    public var code: Code
    /// What was attempted, on what, what happened.
    public var message: String

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    public var description: String { "guard: \(message)" }
}
