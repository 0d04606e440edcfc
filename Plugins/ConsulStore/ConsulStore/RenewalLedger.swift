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
    /// term would have been over), and its effect lasts 2τ: s + τ is true all the same. After a longer gap, which only a
    /// session that leads nothing can have, the end of that effect is what is proven.
    struct RenewalLedger: Hashable, Sendable {
        /// τ.
        let lifetime: Duration
        /// When the last renewal was sent that counts; at first the creation of the session.
        private(set) var lastSent: Instant

        /// Whether at least one was proven: creating a session proves nothing of what comes after.
        private var isProven = false

        init(lifetime: Duration, lastSent: Instant) {
            self.lifetime = lifetime
            self.lastSent = lastSent
        }

        /// When an ending by the servers may have begun: 2τ, less what their clock may be faster than ours.
        var doubtfulFrom: Instant { lastSent + lifetime * 2 - (lifetime / 50 + .milliseconds(20)) }

        /// Whether a renewal sent now may go without a proof: three quarters of τ after the last one that had one at most, so
        /// that several can fail before the session is in doubt.
        func isFresh(at sent: Instant) -> Bool { isProven && sent - lastSent < lifetime * 3 / 4 - lifetime / 50 }

        /// E as the last proof gave it.
        var expiry: Instant { lastSent + lifetime }

        /// E of the safety rules, if the renewal counts.
        mutating func count(sent: Instant, answered: Instant) -> Instant? {
            let doubtful = doubtfulFrom
            guard answered < doubtful else { return nil }
            lastSent = max(lastSent, sent)
            isProven = true
            return min(sent + lifetime, doubtful)
        }
    }
#endif
