public import ConfigurationTree

/// The `restapi` section, checked.
public struct RESTSettings: Hashable, Sendable {
    /// Whether clients show certificates.
    public enum ClientVerification: String, Hashable, Sendable {
        case none
        /// Unsafe requests need one.
        case optional
        /// The handshake needs one.
        case required
    }

    /// What the `Server` header says.
    public enum ServerTokens: String, Hashable, Sendable {
        case original
        case minimal
        case productOnly = "productonly"
    }

    /// Empty or `*`: every address.
    public var listenHost: String
    public var listenPort: Int
    /// The server's certificate chain (PEM); TLS is on when it is there.
    public var certificatePath: String?
    /// nil: the key is in the certificate's file.
    public var keyPath: String?
    public var keyPassword: Secret?
    /// The authorities that clients' certificates are checked against.
    public var caPath: String?
    public var verifyClient: ClientVerification
    /// An OpenSSL list, for TLS 1.2 and below.
    public var ciphers: String?
    public var username: String?
    public var password: Secret?
    /// Networks, addresses and host names that may make unsafe requests; empty: everybody.
    public var allowlist: [String]
    /// The hosts of all members are on the list too.
    public var allowlistIncludeMembers: Bool
    public var httpExtraHeaders: [(name: String, value: String)] {
        get { extraHeaders.map { ($0.name, $0.value) } }
        set { extraHeaders = newValue.map { Header(name: $0.name, value: $0.value) } }
    }
    public var httpsExtraHeaders: [(name: String, value: String)] {
        get { extraTLSHeaders.map { ($0.name, $0.value) } }
        set { extraTLSHeaders = newValue.map { Header(name: $0.name, value: $0.value) } }
    }
    public var serverTokens: ServerTokens
    /// Connections that the kernel holds until they are accepted.
    public var backlog: Int
    /// A connection on which no request arrives for so long is closed.
    public var idleTimeout: Duration
    /// A request's body has to be there after so long.
    public var bodyTimeout: Duration

    private var extraHeaders: [Header] = []
    private var extraTLSHeaders: [Header] = []

    struct Header: Hashable, Sendable {
        var name: String
        var value: String
    }

    public init(listenHost: String, listenPort: Int) {
        self.listenHost = listenHost
        self.listenPort = listenPort
        self.verifyClient = .none
        self.allowlist = []
        self.allowlistIncludeMembers = false
        self.serverTokens = .original
        self.backlog = 128
        self.idleTimeout = .seconds(10)
        self.bodyTimeout = .seconds(10)
    }

    public var isTLS: Bool { certificatePath?.isEmpty == false }
    public var isAuthenticated: Bool { username != nil && password != nil }

    /// What has to be the same for the listener to be kept.
    var address: String { "\(listenHost) \(listenPort) \(backlog)" }
}
