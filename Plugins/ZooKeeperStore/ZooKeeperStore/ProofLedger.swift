#if ZooKeeper
    import ClusterModel

    /// What kind of server the handle is connected to.
    enum ServerRole: Hashable, Sendable {
        /// A server without an ensemble; it stays that.
        case standalone
        /// The ensemble's leader, until it is deposed.
        case leader
        /// A follower, an observer, or nobody knows: the careful reckoning holds.
        case follower
    }

    /// Until when the session cannot have expired, as far as acknowledged proofs show. Pure.
    ///
    /// A *proof* is a transaction that was committed while our session lived: `multi` of nothing but checks, a quorum
    /// proposal like any other. *s* is the instant just before it was sent, *T* the lifetime that the server granted,
    /// and *E* the earliest instant at which the leader expires the session.
    ///
    /// **Connected to the leader** (or to a server that is alone): the leader's session tracker is touched when the
    /// request arrives (`ZooKeeperServer.submitRequestNow`), before it is proposed. So E = s + T.
    ///
    /// **Connected to a follower**: a forwarded write does not touch the leader's tracker. The follower notes the touch
    /// in a table of its own (`LearnerSessionTracker`), which it hands to the leader in reply to the leader's ping, sent
    /// each half tick (`Leader.lead`, `Learner.ping`). A proof that was answered shows that the channel between the two
    /// worked, for its proposal and its commit went through it, in order. Between two proofs that are sent half a tick
    /// and a bit apart lies one ping at least; the touch of the first is in the reply to it at the latest, and that
    /// reply is before the third proof's request in the follower's stream to the leader. So E = s(k-2) + T, where k, k-1
    /// and k-2 are proofs at least that far apart. It assumes that the leader's pings do not starve while its pipeline
    /// runs. Proofs sent closer together do not count one by one, only those far enough apart do.
    ///
    /// **By heartbeats alone** (only with `sync_limit` and `tick_time` given): a server that answers a read has heard
    /// from its leader at most syncLimit ticks ago, and expiry is due T after the last touch that reached it; two
    /// ticks cover the ping's period and the rounding, one interval the answer before. So
    /// E = s + T - (syncLimit + 2) ticks - r.
    ///
    /// What can only move the true expiry later: the tracker rounds up to its next bucket, a new leader gives everybody
    /// the full T, and a reconnecting client touches the leader.
    ///
    /// T is read after each connect (`zoo_recv_timeout`), never the lifetime asked for: servers hold it between
    /// minSessionTimeout and maxSessionTimeout, by default 2 and 20 ticks (`ZooKeeperServer.processConnectRequest`).
    struct ProofLedger: Hashable, Sendable {
        /// T.
        let lifetime: Duration
        /// Half a tick and half of the slack: how far apart proofs through a follower must be to count one by one.
        let gap: Duration
        /// How often to prove in an ensemble.
        let ensembleInterval: Duration
        /// When the reckoning by heartbeats is configured and leaves enough time.
        let heartbeat: Heartbeat?

        /// The reckoning without writes.
        struct Heartbeat: Hashable, Sendable {
            var interval: Duration
            /// (syncLimit + 2) ticks + r.
            var lag: Duration
        }

        /// When the latest acknowledged proof of this connection was sent.
        private(set) var latest: Instant?
        /// Send instants of acknowledged proofs, ascending; thinned out, and no older than the reckoning needs.
        private(set) var proofs: [Instant] = []

        /// - Parameters:
        ///   - lifetime: what the server granted.
        ///   - asked: what it was asked for. More granted than asked was raised to the minimum, by default two ticks.
        ///   - tick: the servers' tickTime, when known. When it is not, the interval of a sixth of the lifetime is
        ///     trusted to be half a tick and a bit, which is true from a lifetime of three ticks and a bit on.
        init(lifetime: Duration, asked: Duration, tick: Duration?, syncLimit: Int?) {
            self.lifetime = lifetime
            let sixth = lifetime / 6
            let tickKnown = tick ?? (lifetime > asked ? lifetime / 2 : nil)
            if let tickKnown {
                gap = tickKnown / 2 + .milliseconds(25)
                ensembleInterval = max(sixth, tickKnown / 2 + .milliseconds(50))
            } else {
                gap = sixth * 0.9
                ensembleInterval = sixth
            }
            if let tick, let syncLimit {
                let interval = lifetime / 10
                let lag = tick * (syncLimit + 2) + interval
                // E' - B - min(1 s, T/6) of the safety rules: from there on a stop begins.
                let margin = Duration.milliseconds(5) + lifetime / 100
                let stop = min(max(lifetime / 8, .milliseconds(400)), .seconds(2)) + min(.seconds(1), lifetime / 6)
                heartbeat =
                    lifetime - lag - margin - stop >= interval * 3
                    ? Heartbeat(interval: interval, lag: lag) : nil
            } else {
                heartbeat = nil
            }
        }

        /// How often to renew.
        ///
        /// With the leader as often as through a follower: the connection may move to a follower at any time, and three
        /// proofs through that one must fit in before the deadline that the last one at the leader set.
        func interval(_ role: ServerRole) -> Duration {
            if let heartbeat { return heartbeat.interval }
            return role == .standalone ? lifetime / 4 : ensembleInterval
        }

        /// How many proofs before the newest the expiry is reckoned from, as far as proving more often can make up for it:
        /// proofs closer together than the gap would not count one by one, and make things worse.
        func intervalsBehind(_ role: ServerRole) -> Int {
            guard role == .follower, heartbeat == nil else { return 0 }
            let margin = Duration.milliseconds(5) + lifetime / 100
            let stop = min(max(lifetime / 8, .milliseconds(400)), .seconds(2)) + min(.seconds(1), lifetime / 6)
            return (lifetime - margin - stop) / 5 >= gap ? 2 : 0
        }

        /// The instant before which one more proof would show nothing yet; nil when the next one may be sent at once.
        func worthwhile(_ role: ServerRole) -> Instant? {
            guard let latest, expiry(role) == nil, let first = proofs.first else { return nil }
            // The first proof's partner comes a gap after it, and the third a gap after that.
            let middle = proofs.first { $0 >= first + gap }
            return max(latest, (middle ?? first) + gap)
        }

        /// A new connection: what was proved through the old one says nothing about this one's follower.
        mutating func restart() {
            latest = nil
            proofs = []
        }

        /// Records an acknowledged proof.
        mutating func acknowledge(sent: Instant) {
            if let latest, latest > sent { return }
            latest = sent
            // Those of an earlier race: what they would prove has passed.
            proofs.removeAll { $0 + lifetime <= sent }
            // Leaving out a proof is always safe, and many close together add nothing.
            if let last = proofs.last, sent - last < gap / 16 { return }
            proofs.append(sent)
            if let start = spaced(before: sent), let first = proofs.firstIndex(of: start) { proofs.removeFirst(first) }
        }

        /// E as the recorded proofs show it; nil while they show nothing.
        func expiry(_ role: ServerRole) -> Instant? {
            guard let latest else { return nil }
            return (role == .follower ? spaced(before: latest) : latest).map { $0 + lifetime }
        }

        /// E by a heartbeat that was sent then and answered.
        func expiry(heartbeatSent sent: Instant) -> Instant? {
            heartbeat.map { sent + lifetime - $0.lag }
        }

        /// The latest proof before two others, each a gap apart, up to that one.
        private func spaced(before last: Instant) -> Instant? {
            guard let middle = proofs.last(where: { $0 <= last - gap }) else { return nil }
            return proofs.last { $0 <= middle - gap }
        }
    }
#endif
