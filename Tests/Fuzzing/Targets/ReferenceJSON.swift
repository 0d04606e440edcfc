import ClusterModel

/// JSON by the letter of RFC 8259, written as plainly as possible: what `JSONValue` is measured against.
struct ReferenceJSON {
    private let bytes: [UInt8]
    private var position = 0
    /// Deepest nesting met.
    private(set) var depth = 0
    /// A number beyond what a double holds.
    private(set) var hasHugeNumber = false

    /// The value, or nil for what is no JSON; `isExtreme` where a reader may have limits of its own.
    static func read(_ bytes: [UInt8]) -> (value: JSONValue?, isExtreme: Bool) {
        // Broken UTF-8 is repaired before anything is read.
        var reader = ReferenceJSON(bytes: Array(String(decoding: bytes, as: UTF8.self).utf8))
        let value = reader.value(level: 0)
        reader.space()
        let isWhole = value != nil && reader.position == reader.bytes.count
        return (isWhole ? value : nil, reader.depth > JSONValue.maximumDepth || reader.hasHugeNumber)
    }

    private init(bytes: [UInt8]) {
        self.bytes = bytes
    }

    private mutating func take(_ byte: Character) -> Bool {
        guard position < bytes.count, bytes[position] == byte.asciiValue else { return false }
        position += 1
        return true
    }

    private mutating func word(_ text: String) -> Bool {
        guard bytes[position...].starts(with: text.utf8) else { return false }
        position += text.utf8.count
        return true
    }

    private mutating func space() {
        while position < bytes.count, [0x20, 0x0A, 0x0D, 0x09].contains(bytes[position]) { position += 1 }
    }

    private mutating func digits() -> Int {
        let start = position
        while position < bytes.count, (48...57).contains(bytes[position]) { position += 1 }
        return position - start
    }

    private mutating func value(level: Int) -> JSONValue? {
        depth = max(depth, level)
        // Far past every limit: the callers know from `depth` that this is no verdict.
        guard level < 200 else { return nil }
        space()
        if take("{") { return object(level) }
        if take("[") { return array(level) }
        if take("\"") { return text().map(JSONValue.string) }
        if word("true") { return .bool(true) }
        if word("false") { return .bool(false) }
        if word("null") { return .null }
        return number()
    }

    private mutating func object(_ level: Int) -> JSONValue? {
        var members: [(key: String, value: JSONValue)] = []
        var places: [String: Int] = [:]
        space()
        if take("}") { return .object(JSONObject()) }
        repeat {
            space()
            guard take("\""), let key = text() else { return nil }
            space()
            guard take(":"), let value = value(level: level + 1) else { return nil }
            // The first place, the last value.
            if let index = places[key] {
                members[index].value = value
            } else {
                places[key] = members.count
                members.append((key, value))
            }
            space()
        } while take(",")
        return take("}") ? .object(JSONObject(members)) : nil
    }

    private mutating func array(_ level: Int) -> JSONValue? {
        var values: [JSONValue] = []
        space()
        if take("]") { return .array([]) }
        repeat {
            guard let value = value(level: level + 1) else { return nil }
            values.append(value)
            space()
        } while take(",")
        return take("]") ? .array(values) : nil
    }

    private mutating func number() -> JSONValue? {
        let start = position
        _ = take("-")
        let lead = position
        let whole = digits()
        guard whole > 0, whole == 1 || bytes[lead] != 48 else { return nil }
        var isWhole = true
        if take(".") {
            isWhole = false
            guard digits() > 0 else { return nil }
        }
        if take("e") || take("E") {
            isWhole = false
            if !take("+") { _ = take("-") }
            guard digits() > 0 else { return nil }
        }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        if isWhole, let value = Int64(text) { return .integer(value) }
        guard let value = Double(text), value.isFinite else {
            hasHugeNumber = true
            return .null
        }
        return .number(value)
    }

    private mutating func text() -> String? {
        var result: [UInt8] = []
        while position < bytes.count {
            if take("\"") { return String(decoding: result, as: UTF8.self) }
            if take("\\") {
                guard position < bytes.count else { return nil }
                let escape = bytes[position]
                position += 1
                let plain: [UInt8: UInt8] = [
                    0x22: 0x22, 0x5C: 0x5C, 0x2F: 0x2F, 0x62: 8, 0x66: 12, 0x6E: 10, 0x72: 13, 0x74: 9,
                ]
                if let byte = plain[escape] {
                    result.append(byte)
                } else if escape == 0x75, let unit = unit() {
                    var scalar = UInt32(unit)
                    let mark = position
                    if (0xD800..<0xDC00).contains(scalar), word("\\u"), let low = self.unit(),
                        (0xDC00..<0xE000).contains(low)
                    {
                        scalar = 0x10000 + (scalar - 0xD800) << 10 + (UInt32(low) - 0xDC00)
                    } else {
                        position = mark
                    }
                    result.append(contentsOf: String(Unicode.Scalar(scalar) ?? "\u{FFFD}").utf8)
                } else {
                    return nil
                }
            } else if bytes[position] < 0x20 {
                return nil
            } else {
                result.append(bytes[position])
                position += 1
            }
        }
        return nil
    }

    private mutating func unit() -> UInt16? {
        var value: UInt16 = 0
        guard position + 4 <= bytes.count else { return nil }
        for byte in bytes[position..<position + 4] {
            switch byte {
            case 48...57: value = value << 4 | UInt16(byte - 48)
            case 65...70: value = value << 4 | UInt16(byte - 55)
            case 97...102: value = value << 4 | UInt16(byte - 87)
            default: return nil
            }
        }
        position += 4
        return value
    }
}

extension JSONValue {
    /// Everything in it in order, so that two values can be compared with their members' order.
    var flat: String {
        switch self {
        case .null: "n"
        case .bool(let value): value ? "t" : "f"
        case .integer(let value): "i\(value)"
        case .number(let value): "d\(value.bitPattern)"
        case .string(let text): "s\(Array(text.utf8))"
        case .array(let values): "[" + values.map(\.flat).joined(separator: ",") + "]"
        case .object(let object):
            "{" + object.members.map { "\(Array($0.key.utf8))=\($0.value.flat)" }.joined(separator: ",") + "}"
        }
    }
}
