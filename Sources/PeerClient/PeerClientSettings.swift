/// How peers are called: the `ctl` section, or what `restapi` says where that is silent.
public struct PeerClientSettings: Hashable, Sendable {
    /// What has to be true of the server's certificate.
    public enum Verification: Hashable, Sendable {
        case none
        /// Signed by the authority; the host's name does not matter.
        case chain
        case chainAndHost
    }

    public var username: String?
    /// Shown nowhere.
    public var password: String?
    public var certificatePath: String?
    public var keyPath: String?
    public var keyPassword: String?
    /// The authority that servers' certificates are checked against; nil: the system's.
    public var caPath: String?
    public var verification: Verification

    public init(
        username: String? = nil, password: String? = nil, certificatePath: String? = nil, keyPath: String? = nil,
        keyPassword: String? = nil, caPath: String? = nil, verification: Verification = .none
    ) {
        self.username = username
        self.password = password
        self.certificatePath = certificatePath
        self.keyPath = keyPath
        self.keyPassword = keyPassword
        self.caPath = caPath
        self.verification = verification
    }

    /// The verification of calls between agents: the chain if we show a certificate ourselves, else none.
    public var betweenAgents: PeerClientSettings {
        var result = self
        result.verification = certificatePath == nil ? .none : .chain
        return result
    }

    /// The verification of an operator's calls: everything, unless told to be insecure.
    public func forOperator(insecure: Bool) -> PeerClientSettings {
        var result = self
        result.verification = insecure ? .none : .chainAndHost
        return result
    }
}

extension PeerClientSettings: CustomStringConvertible, CustomReflectable {
    public var description: String {
        "PeerClientSettings(username: \(username ?? "none"), verification: \(verification))"
    }

    public var customMirror: Mirror { Mirror(self, children: ["description": description]) }
}
