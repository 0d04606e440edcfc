#if ZooKeeper
    /// A result code of ZooKeeper's client, as a value that the rest of the plugin can match without the C library.
    struct ZooKeeperCode: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
        var rawValue: Int32

        init(rawValue: Int32) {
            self.rawValue = rawValue
        }

        init(_ rawValue: Int32) {
            self.rawValue = rawValue
        }

        static let ok = ZooKeeperCode(0)
        /// What the operations beside the failed one of a transaction say.
        static let runtimeInconsistency = ZooKeeperCode(-2)
        static let connectionLoss = ZooKeeperCode(-4)
        /// The library does not send such a path.
        static let marshallingError = ZooKeeperCode(-5)
        static let operationTimeout = ZooKeeperCode(-7)
        /// The server does not take a node's name.
        static let badArguments = ZooKeeperCode(-8)
        static let invalidState = ZooKeeperCode(-9)
        static let noNode = ZooKeeperCode(-101)
        static let notAuthorized = ZooKeeperCode(-102)
        static let badVersion = ZooKeeperCode(-103)
        static let nodeExists = ZooKeeperCode(-110)
        static let notEmpty = ZooKeeperCode(-111)
        static let sessionExpired = ZooKeeperCode(-112)
        static let invalidACL = ZooKeeperCode(-114)
        static let authFailed = ZooKeeperCode(-115)
        static let closing = ZooKeeperCode(-116)
        static let sessionMoved = ZooKeeperCode(-118)
        static let notReadOnly = ZooKeeperCode(-119)
        static let throttled = ZooKeeperCode(-127)

        /// Whether this is a server's answer (rather than the client's own trouble).
        var isAnswer: Bool {
            switch self {
            case .ok, .badArguments: true
            case .closing, .sessionExpired: false
            default: rawValue < -100
            }
        }

        var description: String {
            switch self {
            case .ok: "ok"
            case .connectionLoss: "connection lost"
            case .operationTimeout: "no answer in time"
            case .badArguments: "bad arguments"
            case .invalidState: "the handle is dead"
            case .noNode: "no such node"
            case .notAuthorized: "not authorized"
            case .badVersion: "another version"
            case .nodeExists: "the node exists"
            case .notEmpty: "the node has children"
            case .sessionExpired: "session expired"
            case .invalidACL: "invalid access list"
            case .authFailed: "authentication failed"
            case .closing: "closing"
            case .sessionMoved: "the session moved to another server"
            case .notReadOnly: "the server is read-only"
            case .throttled: "the server is throttling"
            default: "code \(rawValue)"
            }
        }
    }

    /// Why a single request has no result.
    struct CallFailure: Error, Hashable, Sendable {
        /// How far the request got.
        enum Stage: Hashable, Sendable {
            /// Never left this process.
            case notSent
            /// May have been carried out, or may still be.
            case unknown
            /// The server answered, without carrying it out.
            case answered
        }

        var code: ZooKeeperCode
        var stage: Stage
        /// Which operation of a transaction the server refused.
        var operation: Int?

        init(_ code: ZooKeeperCode, _ stage: Stage, operation: Int? = nil) {
            self.code = code
            self.stage = stage
            self.operation = operation
        }
    }
#endif
