#if ZooKeeper
    /// The version of an entry that only this member writes, as its own writes left it. Pure.
    ///
    /// Somebody else's write (a second instance that took up the session) shows as a version that our writes do not
    /// explain; our own write whose answer is still out, or was lost, must not be taken for one.
    struct TrackedNode: Hashable, Sendable {
        /// The last version known to be ours; nil when it is not known whether there is one.
        private(set) var version: Int32?
        /// Writes of ours of which nobody knows whether they happened.
        private(set) var uncertain = 0

        /// A write goes out.
        mutating func begin() {
            uncertain += 1
        }

        /// A write came to its end: what it left (nil: the node is gone), or that it had no effect.
        mutating func succeeded(_ version: Int32?) {
            uncertain -= 1
            self.version = version
        }

        mutating func refused() {
            uncertain -= 1
        }

        /// The version was read, and belongs to a node of ours.
        mutating func adopt(_ version: Int32?) {
            self.version = version
        }

        /// Whether a version that was read can be the work of our own writes.
        func explains(_ seen: Int32) -> Bool {
            guard let version else { return true }
            // Each write raises the version by one; a re-creation by us starts it anew.
            return seen == version
                || uncertain > 0
                    && (seen <= Int32(clamping: uncertain) || seen > version && Int(seen) - Int(version) <= uncertain)
        }
    }
#endif
