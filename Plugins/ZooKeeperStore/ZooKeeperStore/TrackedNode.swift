#if ZooKeeper
    /// The version of an entry that only this member writes, as its own writes left it. Pure.
    ///
    /// Somebody else's write (a second instance that took up the session) shows as a version that our writes do not
    /// explain. Our own write whose answer is still out, or was lost, must not be taken for one.
    struct TrackedNode: Hashable, Sendable {
        /// The latest version known to be ours; nil when none is known.
        private(set) var version: Int32?
        /// The creation that it belongs to, where known.
        private var created: UInt64?
        /// Writes of ours without an answer so far.
        private(set) var underWay = 0
        /// Writes of ours whose answer was lost.
        private(set) var lost = 0
        /// Somebody else wrote.
        private(set) var isForeign = false

        /// A write goes out.
        mutating func begin() {
            underWay += 1
        }

        /// A write set the node to this version.
        mutating func wrote(_ version: Int32, created: UInt64) {
            // Each of our writes raises the version by one; a greater step, or another node, is not our doing.
            if !explains(version, created: created) || version <= self.version ?? -1 && underWay + lost <= 1 {
                isForeign = true
            }
            underWay -= 1
            self.version = version
            self.created = created
        }

        /// A write created the node anew.
        mutating func recreated() {
            underWay -= 1
            version = 0
            created = nil
            isForeign = false
        }

        /// A write deleted the node.
        mutating func deleted() {
            underWay -= 1
            forget()
        }

        /// A write had no effect.
        mutating func refused() {
            underWay -= 1
        }

        /// Nobody knows whether a write had an effect.
        mutating func lostAnswer() {
            underWay -= 1
            lost += 1
        }

        /// There is no node of ours.
        mutating func forget() {
            version = nil
            created = nil
        }

        /// Takes over what was read after a sync: what was lost before that is in it, or will never be.
        mutating func adopt(_ version: Int32, created: UInt64, lostBefore: Int) {
            lost -= lostBefore
            guard version > self.version ?? -1 || created != self.created else { return }
            self.version = version
            self.created = created
        }

        /// Whether a version that was read, a little while ago perhaps, can be the work of our own writes.
        func explains(_ seen: Int32, created: UInt64) -> Bool {
            if isForeign { return false }
            guard let version else { return true }
            let writes = underWay + lost
            // Another creation of the node: ours only if a write of ours may have done that.
            if let known = self.created, known != created { return writes > 0 && Int(seen) <= writes }
            return seen <= version || Int(seen) - Int(version) <= writes
        }
    }
#endif
