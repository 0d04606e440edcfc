#if Etcd
    import ClusterModel

    /// The endpoints there are, and which to ask first. Pure.
    struct EndpointPool: Hashable, Sendable {
        private struct Standing: Hashable, Sendable {
            /// The last attempt failed or was silent, then.
            var failedAt: Instant?
            /// Belongs to another store than ours.
            var isStranger = false
            /// Has answered as a member of our store.
            var isIntroduced = false
        }

        /// From the configuration, or from DNS.
        private(set) var configured: [Endpoint]
        /// What the cluster says of itself; comes first.
        private(set) var discovered: [Endpoint] = []
        private var standings: [Endpoint: Standing] = [:]
        private(set) var current: Endpoint?

        init(_ configured: [Endpoint]) {
            self.configured = configured
        }

        var all: [Endpoint] { discovered + configured.filter { !discovered.contains($0) } }

        /// Whom to ask, in order: who answered last, who has not failed, who failed longest ago; strangers last.
        var order: [Endpoint] {
            func rank(_ endpoint: Endpoint) -> (Int, Int64) {
                let standing = standings[endpoint] ?? Standing()
                if standing.isStranger { return (3, standing.failedAt?.nanoseconds ?? 0) }
                if let failedAt = standing.failedAt { return (2, failedAt.nanoseconds) }
                return (endpoint == current ? 0 : 1, 0)
            }
            return all.enumerated().sorted { left, right in
                (rank(left.element), left.offset) < (rank(right.element), right.offset)
            }.map(\.element)
        }

        func isIntroduced(_ endpoint: Endpoint) -> Bool { standings[endpoint]?.isIntroduced ?? false }

        func isStranger(_ endpoint: Endpoint) -> Bool { standings[endpoint]?.isStranger ?? false }

        mutating func succeeded(_ endpoint: Endpoint) {
            standings[endpoint, default: Standing()].failedAt = nil
            standings[endpoint]?.isStranger = false
            standings[endpoint]?.isIntroduced = true
            if current != endpoint, current.flatMap({ standings[$0]?.failedAt }) != nil || current == nil {
                current = endpoint
            }
        }

        mutating func failed(_ endpoint: Endpoint, at now: Instant) {
            standings[endpoint, default: Standing()].failedAt = now
        }

        mutating func turnedOutStrange(_ endpoint: Endpoint, at now: Instant) {
            standings[endpoint, default: Standing()].failedAt = now
            standings[endpoint]?.isStranger = true
            standings[endpoint]?.isIntroduced = false
        }

        /// All start anew: the store is another one now.
        mutating func forgetStandings() {
            standings = [:]
            discovered = []
            current = nil
        }

        mutating func configure(_ endpoints: [Endpoint]) {
            guard !endpoints.isEmpty else { return }
            configured = endpoints
            tidy()
        }

        /// True when the list is another one than before.
        @discardableResult
        mutating func discover(_ endpoints: [Endpoint]) -> Bool {
            guard !endpoints.isEmpty, endpoints != discovered else { return false }
            discovered = endpoints
            tidy()
            return true
        }

        private mutating func tidy() {
            let known = Set(all)
            standings = standings.filter { known.contains($0.key) }
            if let current, !known.contains(current) { self.current = nil }
        }
    }

    private func < (left: ((Int, Int64), Int), right: ((Int, Int64), Int)) -> Bool {
        (left.0.0, left.0.1, left.1) < (right.0.0, right.0.1, right.1)
    }
#endif
