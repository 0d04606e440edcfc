#if Etcd
    import ClusterModel

    /// Sees to it that what is shown of the store never goes back in time, and is all of one store. Pure.
    ///
    /// A store is known by its cluster id. An answer of another cluster is dropped, and so is one that shows less than was
    /// seen before: it comes from a member that is behind, or from a store that was set back to an older state. A store
    /// that has become another one is taken for ours only once more than half of the configured endpoints say so, and ours
    /// has been silent for so long that no lease of it can still count.
    struct ViewGuard: Sendable {
        enum Verdict: Hashable, Sendable {
            /// May be shown.
            case admitted
            /// Older than what was shown; a linearizable read of the same member tells more.
            case stale
            /// Of another store, or of one that went back.
            case stranger(String)
            /// The store is another one from here on; this answer is its first.
            case replaced
        }

        /// What was known before a request was sent.
        struct Before: Hashable, Sendable {
            var era: UInt32
            var revision: UInt64
            var term: UInt64
        }

        private enum Stranger: Hashable, Sendable {
            case cluster(UInt64)
            /// The same cluster id with an older state (restored without a new token).
            case older(UInt64)
        }

        private(set) var cluster: UInt64?
        private(set) var era: UInt32 = 0
        private(set) var revision: UInt64 = 0
        private(set) var term: UInt64 = 0
        private var strangers: [Endpoint: (kind: Stranger, since: Instant)] = [:]
        private var lastOurs = Instant.distantPast

        var before: Before { Before(era: era, revision: revision, term: term) }

        /// Judges an answer, and remembers what it shows. `isCurrent` tells that it reflects everything committed before
        /// the request was sent: a linearizable read, or a write.
        mutating func admit(
            _ header: AnswerHeader, from endpoint: Endpoint, isCurrent: Bool, before: Before, at now: Instant,
            configured: [Endpoint], delay: Duration
        ) -> Verdict {
            guard let known = cluster else {
                cluster = header.cluster
                return accept(header, endpoint, now)
            }
            if before.era != era { return .stale }
            if header.cluster != known {
                return strange(.cluster(header.cluster), header, endpoint, now, configured, delay)
            }
            if isCurrent, header.revision < before.revision {
                return strange(.older(header.member), header, endpoint, now, configured, delay)
            }
            // Another answer overtook this one, or the member is behind.
            if header.revision < revision || (!isCurrent && header.term < before.term) { return .stale }
            return accept(header, endpoint, now)
        }

        /// Takes note of a revision that a write of ours made; true when it is of our store.
        mutating func note(_ header: AnswerHeader, from endpoint: Endpoint, before: Before, at now: Instant) -> Bool {
            guard before.era == era, cluster == nil || cluster == header.cluster, header.revision >= before.revision
            else { return false }
            cluster = header.cluster
            _ = accept(header, endpoint, now)
            return true
        }

        private mutating func accept(_ header: AnswerHeader, _ endpoint: Endpoint, _ now: Instant) -> Verdict {
            revision = max(revision, header.revision)
            term = max(term, header.term)
            lastOurs = now
            strangers[endpoint] = nil
            return .admitted
        }

        private mutating func strange(
            _ kind: Stranger, _ header: AnswerHeader, _ endpoint: Endpoint, _ now: Instant, _ configured: [Endpoint],
            _ delay: Duration
        ) -> Verdict {
            if strangers[endpoint]?.kind != kind { strangers[endpoint] = (kind, now) }
            let agreeing = configured.filter { other in
                guard let stranger = strangers[other] else { return false }
                switch (stranger.kind, kind) {
                case (.cluster(let left), .cluster(let right)): return left == right
                case (.older, .older): return true
                default: return false
                }
            }
            let since = strangers[endpoint]?.since ?? now
            if agreeing.count * 2 > configured.count, now - lastOurs >= delay, now - since >= delay {
                era &+= 1
                cluster = header.cluster
                revision = header.revision
                term = header.term
                strangers = [:]
                lastOurs = now
                return .replaced
            }
            switch kind {
            case .cluster(let id):
                return .stranger(
                    "\(endpoint) belongs to another cluster (\(String(id, radix: 16))) than the one seen before "
                        + "(\(String(cluster ?? 0, radix: 16)))")
            case .older:
                return .stranger(
                    "\(endpoint) shows revision \(header.revision) after \(revision) had been seen: its store was set back"
                )
            }
        }
    }
#endif
