/// The fencing number of one holding of the leader entry (a *term*): grows with every new holder.
///
/// The number is the store's own: ZooKeeper's czxid of the leader node, etcd's create revision, Consul's modify index
/// at acquisition. The era rises when a store was restored, replaced, or went back.
public struct Fence: Hashable, Sendable, Comparable, CustomStringConvertible {
    public var era: UInt32
    public var number: UInt64

    public init(era: UInt32, number: UInt64) {
        self.era = era
        self.number = number
    }

    public static func < (left: Fence, right: Fence) -> Bool {
        (left.era, left.number) < (right.era, right.number)
    }

    public var description: String { "\(era).\(number)" }

    /// Reads the `era.number` form; nil for anything else.
    public init?(_ text: String) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, let era = UInt32(parts[0]), let number = UInt64(parts[1]) else { return nil }
        self.init(era: era, number: number)
    }
}
