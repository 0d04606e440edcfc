#if Consul
    import ClusterModel

    /// Which renewals count, and until when what they prove.
    ///
    /// The leader ends a session when it was not renewed for twice its lifetime τ; a new leader begins all of them anew. It
    /// does so by a transaction, which may be under way while a late renewal still finds the session and is answered. So a
    /// renewal counts only if it was *answered* before the one before it, counted from its sending, had lasted 2τ: then no
    /// ending can have begun. What it proves is s + τ.
    ///
    /// That τ is half of what Consul waits has a second use. A server that was frozen, and does not know yet that it was
    /// deposed, may answer one renewal without any effect. The renewal before that one was sent less than τ earlier (the
    /// term would have been over), and its effect lasts 2τ: s + τ is true all the same.
    struct RenewalLedger: Hashable, Sendable {
        /// τ.
        let lifetime: Duration
        /// When the last renewal was sent that counts; at first the creation of the session.
        private(set) var lastSent: Instant

        init(lifetime: Duration, lastSent: Instant) {
            self.lifetime = lifetime
            self.lastSent = lastSent
        }

        /// When an ending by the servers may have begun: 2τ, less what their clock may be faster than ours.
        var doubtfulFrom: Instant { lastSent + lifetime * 2 - (lifetime / 50 + .milliseconds(20)) }

        /// E of the safety rules, if the renewal counts.
        mutating func count(sent: Instant, answered: Instant) -> Instant? {
            guard answered < doubtfulFrom else { return nil }
            lastSent = max(lastSent, sent)
            return sent + lifetime
        }
    }
#endif
