import ClusterModel

/// A small generator of random numbers whose whole state is its seed (Steele, Lea and Flood's SplitMix64).
package struct SplitMix: RandomNumberGenerator, Sendable {
    package var state: UInt64

    package init(seed: UInt64) {
        state = seed
    }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    /// A number below the limit; 0 for a limit of 0.
    package mutating func below(_ limit: UInt64) -> UInt64 { limit == 0 ? 0 : next() % limit }

    package mutating func below(_ limit: Int) -> Int { Int(below(UInt64(max(0, limit)))) }

    /// True in so many of a thousand draws.
    package mutating func perMille(_ share: UInt64) -> Bool { share > 0 && next() % 1000 < share }

    package mutating func percent(_ share: UInt64) -> Bool { share > 0 && next() % 100 < share }

    /// A duration from zero up to the limit, in whole microseconds.
    package mutating func duration(upTo limit: Duration) -> Duration {
        .microseconds(Int64(below(UInt64(max(0, limit.nanosecondsClamped / 1000)))))
    }

    package mutating func pick<Element>(_ elements: [Element]) -> Element? {
        elements.isEmpty ? nil : elements[below(elements.count)]
    }
}
