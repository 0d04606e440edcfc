/// How texts become values, by the rules that PostgreSQL has for its own settings.
public enum ValueText {
    /// `on true yes 1` and `off false no 0`, in any case.
    public static func boolean(_ text: some StringProtocol) -> Bool? {
        switch text.lowercased() {
        case "on", "true", "yes", "1": true
        case "off", "false", "no", "0": false
        default: nil
        }
    }

    /// A whole number in decimal, hexadecimal (`0x1f`) or octal (`0644`); a fraction is rounded to even.
    public static func integer(_ text: some StringProtocol) -> Int? {
        guard let quantity = Quantity(text), quantity.unit.isEmpty else { return nil }
        return quantity.rounded
    }

    /// A whole number of a base unit: `integer("1GB", in: .kilobytes)` is 1048576; a bare number counts in that unit.
    ///
    /// As in PostgreSQL a fraction is first rounded to the next smaller unit: `1.5GB` is 1536 MB.
    public static func integer(_ text: some StringProtocol, in base: PostgresUnit) -> Int? {
        guard let quantity = Quantity(text) else { return nil }
        if quantity.unit.isEmpty { return quantity.rounded }
        let units = base.dimension.units
        guard let index = units.firstIndex(where: { $0.name == quantity.unit }) else { return nil }
        let size = units[index].size
        if let whole = quantity.whole {
            let (product, overflow) = whole.multipliedReportingOverflow(by: size)
            if overflow { return nil }
            if product % base.size == 0 { return product / base.size }
            return wholeNumber((Double(product) / Double(base.size)).rounded(.toNearestOrEven))
        }
        var amount = quantity.number * Double(size)
        if index + 1 < units.count {
            let smaller = Double(units[index + 1].size)
            amount = (amount / smaller).rounded(.toNearestOrEven) * smaller
        }
        return wholeNumber((amount / Double(base.size)).rounded(.toNearestOrEven))
    }

    /// A length of time with an optional unit (us, ms, s, min, h, d); nil when the text is none.
    public static func duration(_ text: some StringProtocol, defaultUnit: DurationUnit = .seconds) -> Duration? {
        guard let quantity = Quantity(text) else { return nil }
        let unit: DurationUnit
        if quantity.unit.isEmpty {
            unit = defaultUnit
        } else if let named = DurationUnit(rawValue: quantity.unit) {
            unit = named
        } else {
            return nil
        }
        if let whole = quantity.whole {
            let (product, overflow) = whole.multipliedReportingOverflow(by: unit.microseconds)
            return overflow ? nil : .microseconds(product)
        }
        return wholeNumber((quantity.number * Double(unit.microseconds)).rounded(.toNearestOrEven))
            .map { .microseconds($0) }
    }

    static func wholeNumber(_ number: Double) -> Int? {
        guard number.isFinite, abs(number) < 9.2e18 else { return nil }
        return Int(number)
    }
}

/// A unit of time as configurations write it.
public enum DurationUnit: String, Sendable, CaseIterable {
    case microseconds = "us"
    case milliseconds = "ms"
    case seconds = "s"
    case minutes = "min"
    case hours = "h"
    case days = "d"

    var microseconds: Int {
        switch self {
        case .microseconds: 1
        case .milliseconds: 1000
        case .seconds: 1_000_000
        case .minutes: 60_000_000
        case .hours: 3_600_000_000
        case .days: 86_400_000_000
        }
    }
}

/// The unit a PostgreSQL setting is counted in, `pg_settings.unit`: `kB`, `8kB`, `16MB`, `ms`, `s`, `min` and the like.
public struct PostgresUnit: Hashable, Sendable {
    enum Dimension: Hashable, Sendable {
        case memory, time

        /// From the largest to the smallest; sizes in bytes or microseconds.
        var units: [(name: String, size: Int)] {
            switch self {
            case .memory: [("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10), ("B", 1)]
            case .time: DurationUnit.allCases.reversed().map { ($0.rawValue, $0.microseconds) }
            }
        }
    }

    let dimension: Dimension
    let size: Int

    /// Reads `pg_settings.unit`; nil when it is neither a memory nor a time unit.
    public init?(_ name: String) {
        let digits = name.prefix { $0.isASCII && $0.isNumber }
        let unit = name.dropFirst(digits.count)
        guard let factor = digits.isEmpty ? 1 : Int(digits), factor > 0 else { return nil }
        for dimension in [Dimension.memory, .time] {
            guard let found = dimension.units.first(where: { $0.name == unit }) else { continue }
            let (size, overflow) = found.size.multipliedReportingOverflow(by: factor)
            if overflow { return nil }
            (self.dimension, self.size) = (dimension, size)
            return
        }
        return nil
    }

    private init(_ dimension: Dimension, _ size: Int) {
        (self.dimension, self.size) = (dimension, size)
    }

    public static let bytes = PostgresUnit(.memory, 1)
    public static let kilobytes = PostgresUnit(.memory, 1 << 10)
    public static let megabytes = PostgresUnit(.memory, 1 << 20)
    public static let milliseconds = PostgresUnit(.time, 1000)
    public static let seconds = PostgresUnit(.time, 1_000_000)
}

/// A number and what is written behind it.
struct Quantity {
    /// Exact, when the text has neither fraction nor exponent.
    var whole: Int?
    var number: Double
    var unit: String

    var rounded: Int? { whole ?? ValueText.wholeNumber(number.rounded(.toNearestOrEven)) }

    init?(_ text: some StringProtocol) {
        let bytes = Array(text.utf8)
        var position = 0
        func isSpace(_ byte: UInt8) -> Bool { byte == 32 || (9...13).contains(byte) }
        func isDigit(_ byte: UInt8) -> Bool { (48...57).contains(byte) }
        while position < bytes.count, isSpace(bytes[position]) { position += 1 }
        let start = position
        var isNegative = false
        if position < bytes.count, bytes[position] == UInt8(ascii: "-") || bytes[position] == UInt8(ascii: "+") {
            isNegative = bytes[position] == UInt8(ascii: "-")
            position += 1
        }
        let digitsStart = position
        var radix = 10
        if position + 1 < bytes.count, bytes[position] == UInt8(ascii: "0"),
            bytes[position + 1] | 32 == UInt8(ascii: "x")
        {
            radix = 16
            position += 2
        }
        let radixStart = position
        while position < bytes.count, isDigit(bytes[position]) || (radix == 16 && Self.isHex(bytes[position])) {
            position += 1
        }
        let hasDigits = position > radixStart
        var isFractional = false
        if radix == 10 {
            if position < bytes.count, bytes[position] == UInt8(ascii: ".") {
                let point = position
                position += 1
                while position < bytes.count, isDigit(bytes[position]) { position += 1 }
                guard hasDigits || position > point + 1 else { return nil }
                isFractional = true
            } else if !hasDigits {
                return nil
            }
            if position < bytes.count, bytes[position] | 32 == UInt8(ascii: "e") {
                var exponent = position + 1
                if exponent < bytes.count, bytes[exponent] == UInt8(ascii: "-") || bytes[exponent] == UInt8(ascii: "+")
                {
                    exponent += 1
                }
                if exponent < bytes.count, isDigit(bytes[exponent]) {
                    while exponent < bytes.count, isDigit(bytes[exponent]) { exponent += 1 }
                    position = exponent
                    isFractional = true
                }
            }
        } else if !hasDigits {
            return nil
        }
        if isFractional {
            guard let value = Double(String(decoding: bytes[start..<position], as: UTF8.self)), value.isFinite else {
                return nil
            }
            number = value
        } else {
            var digits = bytes[radixStart..<position]
            if radix == 10, digits.count > 1, bytes[digitsStart] == UInt8(ascii: "0") {
                radix = 8
                digits = digits.dropFirst()
            }
            let sign = isNegative ? "-" : ""
            guard let value = Int(sign + String(decoding: digits, as: UTF8.self), radix: radix) else { return nil }
            whole = value
            number = Double(value)
        }
        while position < bytes.count, isSpace(bytes[position]) { position += 1 }
        var end = bytes.count
        while end > position, isSpace(bytes[end - 1]) { end -= 1 }
        let rest = bytes[position..<end]
        guard rest.allSatisfy({ ($0 | 32) >= UInt8(ascii: "a") && ($0 | 32) <= UInt8(ascii: "z") }) else { return nil }
        unit = String(decoding: rest, as: UTF8.self)
    }

    private static func isHex(_ byte: UInt8) -> Bool { (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte | 32) }
}
