public import ConfigurationTree

/// `ttl`, `loop_wait` and `retry_timeout` as they hold: floors kept, and loop_wait + 2 retry_timeout <= ttl.
public struct Timing: Sendable, Equatable {
    public var ttl: Duration
    public var loopWait: Duration
    public var retryTimeout: Duration

    public init(ttl: Duration, loopWait: Duration, retryTimeout: Duration) {
        self.ttl = ttl
        self.loopWait = loopWait
        self.retryTimeout = retryTimeout
    }
}

extension DynamicSettings {
    /// What holds of the three, with a warning for whatever is not as it was asked for.
    ///
    /// While a member that is no Matriarch lives, its floors (20, 1, 3) apply to all, for it would raise its own
    /// silently; among ours they are 2, 1 and 1. The correction is local: the document is not rewritten.
    public func timing(allPeersOurs: Bool) -> (timing: Timing, complaints: [ConfigurationComplaint]) {
        var complaints: [ConfigurationComplaint] = []
        func warn(_ key: String, _ message: String) {
            complaints.append(
                ConfigurationComplaint(
                    .warning, at: node[key]?.mark ?? node.mark, path: timingPath(key), message))
        }
        func raised(_ key: String, _ value: Int, to floor: Int) -> Int {
            guard value < floor else { return value }
            warn(
                key,
                "\(value) is below \(floor), the least that "
                    + (allPeersOurs ? "is possible" : "a Patroni member of this cluster accepts") + "; \(floor) is used"
            )
            return floor
        }
        var ttl = raised("ttl", self.ttl, to: allPeersOurs ? 2 : 20)
        var loopWait = raised("loop_wait", self.loopWait, to: 1)
        var retryTimeout = raised("retry_timeout", self.retryTimeout, to: allPeersOurs ? 1 : 3)
        let asked = (ttl, loopWait, retryTimeout)
        if loopWait + 2 * retryTimeout > ttl {
            loopWait = ttl - 2 * retryTimeout
            if loopWait < 1 {
                loopWait = 1
                retryTimeout = max(1, (ttl - 1) / 2)
                // Nothing is left to lower: 3/1/1 is the shortest that holds.
                ttl = max(ttl, loopWait + 2 * retryTimeout)
            }
            var used: [String] = []
            if ttl != asked.0 { used.append("ttl \(ttl)") }
            if loopWait != asked.1 { used.append("loop_wait \(loopWait)") }
            if retryTimeout != asked.2 { used.append("retry_timeout \(retryTimeout)") }
            warn(
                "ttl",
                "loop_wait \(asked.1) + 2 * retry_timeout \(asked.2) exceeds ttl \(asked.0); \(used.joined(separator: ", ")) "
                    + (used.count == 1 ? "is used" : "are used"))
        }
        return (
            Timing(ttl: .seconds(ttl), loopWait: .seconds(loopWait), retryTimeout: .seconds(retryTimeout)), complaints
        )
    }

    private func timingPath(_ key: String) -> String {
        pathPrefix.isEmpty ? key : "\(pathPrefix).\(key)"
    }
}
