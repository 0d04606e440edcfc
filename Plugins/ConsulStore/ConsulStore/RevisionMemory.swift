#if Consul
    import ClusterModel

    /// How new the state is that was seen, and what was in it.
    ///
    /// The index of a read of a tree is the highest ModifyIndex in it, deletions included as long as their tombstones last
    /// (some 15 minutes). So it goes back while nothing went back, when the tombstone of the last change is reaped; and it
    /// goes back when the servers were given another state (a snapshot restored, a data directory emptied). An index below
    /// the highest one seen therefore proves nothing by itself:
    /// - Of an answer that was asked for before the higher one had come, it says that the answer is older: dropped.
    /// - Of an answer that needed no quorum it may mean an old server: dropped.
    /// - A `?consistent` read that was sent *after* the higher index had been seen is newer all the same, for the leader
    ///   made sure that it leads after the request came. It counts. What the core is told never falls: the highest number
    ///   stands until the servers' own passes it. Only when entries went back a new era begins, with the servers' number.
    struct RevisionMemory: Sendable {
        /// What became of an answer.
        enum Verdict: Hashable, Sendable {
            case accepted(StoreRevision)
            /// As before; but entries are there again, or in an older form, than were seen: the servers' state went back.
            case acceptedThoughOlder(StoreRevision)
            /// Older than what was seen: to be asked for again.
            case dropped
        }

        /// The highest index of the present state.
        private(set) var index: UInt64 = 0
        /// When that had been seen.
        private var seenAt: Instant = .distantPast
        /// The highest number that the core was told in this era.
        private(set) var told: UInt64 = 0
        /// The entries of the last answer that was accepted, by path, and its index.
        private(set) var entries: [String: ConsulEntry] = [:]
        private var entriesIndex: UInt64 = 0

        /// How often the servers' state went back.
        private(set) var era: UInt32 = 0

        var revision: StoreRevision { StoreRevision(era: era, number: told) }

        mutating func accept(
            _ answered: [ConsulEntry], index answeredIndex: UInt64, requestedAt: Instant, now: Instant,
            isConsistent: Bool
        ) -> Verdict {
            // The header is the highest of all, but for what a server that knows no better puts there.
            let number = max(answeredIndex, answered.map(\.modifyIndex).max() ?? 0)
            if number < index, !isConsistent || requestedAt <= seenAt { return .dropped }
            let wentBack = isConsistent && requestedAt > seenAt && goesBack(answered)
            if number != index || wentBack { seenAt = now }
            index = number
            if wentBack {
                // Numbers of another state: they say nothing of those before.
                era &+= 1
                told = number
            }
            told = max(told, number)
            entries = Dictionary(answered.map { ($0.key, $0) }) { $1 }
            entriesIndex = number
            return wentBack ? .acceptedThoughOlder(revision) : .accepted(revision)
        }

        /// A transaction of ours was committed with this as its highest index.
        mutating func note(committed number: UInt64, now: Instant) {
            guard number > index else { return }
            index = number
            seenAt = now
            told = max(told, number)
        }

        /// Whether entries are not newer than the last answer's and yet were not in it as they are.
        private func goesBack(_ answered: [ConsulEntry]) -> Bool {
            guard entriesIndex > 0 else { return false }
            return answered.contains { entry in
                entry.modifyIndex <= entriesIndex && entries[entry.key]?.modifyIndex != entry.modifyIndex
            }
        }
    }
#endif
