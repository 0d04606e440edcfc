/// A property that an input has broken: what should hold, and what was found instead.
struct FuzzFinding: Error, CustomStringConvertible {
    var description: String

    init(_ description: String) {
        self.description = description
    }
}

/// One family of decoders, fed with bytes that nobody meant for it.
///
/// It must neither stop the process nor break its properties, whatever the bytes are; what it refuses, it refuses.
public struct FuzzTarget: Sendable {
    public var name: String
    /// What is read, for `--list`.
    public var reads: String
    /// Longest input that libFuzzer makes.
    public var maximumLength: Int
    let body: @Sendable ([UInt8]) throws -> Void

    init(
        _ name: String, reads: String, maximumLength: Int = 2048, _ body: @escaping @Sendable ([UInt8]) throws -> Void
    ) {
        self.name = name
        self.reads = reads
        self.maximumLength = maximumLength
        self.body = body
    }

    /// Runs one input; nil, or what it broke.
    public func run(_ bytes: [UInt8]) -> String? {
        do {
            try body(bytes)
            return nil
        } catch {
            return "\(error)"
        }
    }

    /// What each target takes for texts that are made to be slow.
    public static func measureGrowth(_ say: (String) -> Void) { GrowthPattern.measureAll(say) }

    public static func named(_ name: String) -> FuzzTarget? { all.first { $0.name == name } }
}

/// States what must hold.
func require(_ holds: Bool, _ what: @autoclosure () -> String) throws {
    if !holds { throw FuzzFinding(what()) }
}
