#if Etcd
    import ClusterModel
    import ConfigurationTree

    /// A domain whose DNS names the servers.
    struct ServiceDomain: Hashable, Sendable {
        var name: String
        /// Distinguishes several clusters of one domain: `_etcd-client-<suffix>._tcp.<domain>`.
        var suffix: String?
    }

    /// The `etcd3` section, checked.
    struct EtcdSettings: Hashable, Sendable {
        /// What the configuration names; empty only with a domain.
        var endpoints: [Endpoint]
        var domain: ServiceDomain?
        /// The endpoints are proxies: the cluster's own members are not looked for.
        var usesProxies = false
        var username: String?
        var password: Secret?
        /// The authority that signed the servers' certificates; nil: the system's.
        var caPath: String?
        var certificatePath: String?
        /// Nil: the key is in the certificate's file.
        var keyPath: String?
        /// How long one server may take to accept a connection (and to shake hands) before the next is tried.
        var connectTimeout: Duration = .seconds(1)
        /// How often the list of members is fetched while nothing fails.
        var memberInterval: Duration = .seconds(300)
        /// How long a store that has become another must have been that, and ours silent, before it is taken for ours.
        var replacementDelay: Duration = .seconds(10)
        /// Where to ask for SRV records; nil: what /etc/resolv.conf names.
        var nameServers: [NameServer]?

        init(endpoints: [Endpoint]) {
            self.endpoints = endpoints
        }

        /// Nothing that is sent may be read on the way, once one endpoint is secure.
        var requiresTLS: Bool { endpoints.contains { $0.isSecure } }
    }
#endif
