/// A store's revision: what a view of it is as new as. A new era begins when a store was restored or replaced.
public struct StoreRevision: Hashable, Sendable, Comparable, CustomStringConvertible {
    public var era: UInt32
    public var number: UInt64

    public init(era: UInt32 = 0, number: UInt64) {
        self.era = era
        self.number = number
    }

    public static func < (left: StoreRevision, right: StoreRevision) -> Bool {
        (left.era, left.number) < (right.era, right.number)
    }

    public var description: String { "\(era).\(number)" }
}

/// The version of one entry, to be compared for equality only.
///
/// Includes the entry's creation where the store can compare that (a fresh znode starts at version 0 again).
public struct EntryVersion: Hashable, Sendable, CustomStringConvertible {
    /// The store's revision that created the entry.
    public var created: UInt64
    /// The store's version or modification number.
    public var number: UInt64

    public init(created: UInt64, number: UInt64) {
        self.created = created
        self.number = number
    }

    public var description: String { "\(created):\(number)" }
}

/// The name a store gives to one session or lease of one client; compared as text.
public struct SessionID: Hashable, Sendable, CustomStringConvertible {
    public var text: String

    public init(_ text: String) {
        self.text = text
    }

    public var description: String { text }
}
