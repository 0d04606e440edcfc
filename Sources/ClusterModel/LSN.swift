/// A position in the write-ahead log, in bytes.
public struct LSN: Hashable, Sendable, Comparable, CustomStringConvertible {
    public var bytes: UInt64

    public init(_ bytes: UInt64) {
        self.bytes = bytes
    }

    /// Reads PostgreSQL's `X/X` form.
    public init?(text: some StringProtocol) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let high = UInt32(parts[0], radix: 16), let low = UInt32(parts[1], radix: 16) else {
            return nil
        }
        self.bytes = UInt64(high) << 32 | UInt64(low)
    }

    public static let zero = LSN(0)

    public static func < (left: LSN, right: LSN) -> Bool { left.bytes < right.bytes }

    /// How many bytes this position is ahead of another; 0 when it is not.
    public func bytes(aheadOf other: LSN) -> UInt64 { bytes > other.bytes ? bytes - other.bytes : 0 }

    public var description: String {
        String(bytes >> 32, radix: 16, uppercase: true) + "/" + String(bytes & 0xFFFF_FFFF, radix: 16, uppercase: true)
    }
}

/// A timeline's number; 0 means unknown.
public struct Timeline: Hashable, Sendable, Comparable, CustomStringConvertible {
    public var number: UInt32

    public init(_ number: UInt32) {
        self.number = number
    }

    public static func < (left: Timeline, right: Timeline) -> Bool { left.number < right.number }

    public var next: Timeline { Timeline(number &+ 1) }

    public var description: String { String(number) }
}
