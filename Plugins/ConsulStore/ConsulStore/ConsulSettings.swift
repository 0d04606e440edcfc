#if Consul
    import ConfigurationTree

    /// One agent or server of Consul, by its HTTP API.
    struct ConsulEndpoint: Hashable, Sendable, CustomStringConvertible {
        var isEncrypted = false
        /// A name or an address, without brackets.
        var host: String
        var port: Int

        static let defaultPort = 8500

        /// The URL's beginning: `https://[::1]:8501`.
        var description: String {
            "\(isEncrypted ? "https" : "http")://\(host.contains(":") ? "[\(host)]" : host):\(port)"
        }
    }

    /// How fresh the answers must be that nothing depends on but speed: those of the watch, and of glimpses.
    ///
    /// Whatever a decision or a deadline hangs on is read with `?consistent` in any case.
    enum ConsulConsistency: Hashable, Sendable {
        /// The leader's answer, which may be a deposed one's for a moment.
        case usual
        case consistent
        /// Any server's answer.
        case stale

        /// The query's flag, if it needs one.
        var flag: String? {
            switch self {
            case .usual: nil
            case .consistent: "consistent"
            case .stale: "stale"
            }
        }
    }

    /// The files and rules of a TLS connection.
    struct ConsulEncryption: Hashable, Sendable {
        /// False: any certificate will do.
        var verifies = true
        var authorityPath: String?
        var certificatePath: String?
        var keyPath: String?
    }

    /// What is told to Consul's catalogue about the member.
    struct ConsulServiceSettings: Hashable, Sendable {
        var tags: [String] = []
        var checkInterval: String = "5s"
        var checkServerName: String?
    }

    /// The `consul` section, checked.
    struct ConsulSettings: Hashable, Sendable {
        /// At least one; the first that answers is kept.
        var endpoints: [ConsulEndpoint]
        var encryption = ConsulEncryption()
        var token: Secret?
        var datacenter: String?
        var consistency: ConsulConsistency = .usual
        /// Health checks of the node that end the session when they fail. None: the lease hangs on renewals alone.
        var checks: [String] = []
        /// Nil: the service is not registered.
        var service: ConsulServiceSettings?
    }
#endif
