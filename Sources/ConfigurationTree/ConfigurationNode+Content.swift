extension ConfigurationNode {
    /// What a scalar means when nobody asked for a type: the rules of YAML 1.1, without its base-60 numbers and dates.
    public enum Resolved: Hashable, Sendable {
        case null
        case bool(Bool)
        case integer(Int64)
        case number(Double)
        case string(String)
    }

    /// The scalar's meaning by its notation; nil for lists and mappings.
    public var resolved: Resolved? {
        switch content {
        case .null: .null
        case .scalar(let text, isPlain: false): .string(text)
        case .scalar(let text, isPlain: true): Self.resolve(text)
        case .list, .map: nil
        }
    }

    /// The scalar's text as written; nil for everything else.
    public var text: String? {
        if case .scalar(let text, _) = content { return text }
        return nil
    }

    /// The elements of a list, nothing otherwise.
    public var elements: [ConfigurationNode] {
        if case .list(let elements) = content { return elements }
        return []
    }

    public var isNull: Bool { content == .null }

    public var isMap: Bool {
        if case .map = content { return true }
        return false
    }

    /// What it is, for complaints.
    public var kind: String {
        switch content {
        case .null: "nothing"
        case .scalar: "a single value"
        case .list: "a list"
        case .map: "a mapping"
        }
    }

    /// Whether a plain scalar's text stands for no value.
    public static func isNull(plain text: String) -> Bool {
        switch text {
        case "", "~", "null", "Null", "NULL": true
        default: false
        }
    }

    /// The same tree with stars for what stands under keys that hold secrets, for showing.
    public var redacted: ConfigurationNode {
        switch content {
        case .null, .scalar: return self
        case .list(let elements): return ConfigurationNode(.list(elements.map(\.redacted)), at: mark)
        case .map(let pairs):
            let shown = pairs.map { pair in
                var pair = pair
                let stars = ConfigurationNode(.scalar(text: "******", isPlain: false), at: pair.value.mark)
                pair.value = !pair.value.isNull && Self.isSecret(pair.key) ? stars : pair.value.redacted
                return pair
            }
            return ConfigurationNode(.map(shown), at: mark)
        }
    }

    private static func isSecret(_ key: String) -> Bool {
        let key = key.lowercased()
        return key.hasSuffix("password") || ["token", "auth", "auth_data", "secret", "primary_conninfo"].contains(key)
    }

    /// This mapping with another merged over it: mappings merge, null deletes, all else replaces.
    ///
    /// Keys keep their place; new ones come last. Where one of the two is no mapping, the other one replaces it.
    public func merging(_ patch: ConfigurationNode) -> ConfigurationNode {
        guard case .map(let newer) = patch.content else { return patch }
        // By a table, since a mapping may have any number of keys.
        var result: [Pair?] = pairs
        var places: [String: Int] = [:]
        for (index, pair) in pairs.enumerated() { places[pair.key] = index }
        for pair in newer {
            let index = places[pair.key]
            if pair.value.isNull {
                if let index { result[index] = nil }
                places[pair.key] = nil
            } else if let index, let older = result[index] {
                let value = older.value.merging(pair.value)
                result[index] = Pair(key: pair.key, keyMark: pair.keyMark, value: value)
            } else {
                places[pair.key] = result.count
                result.append(pair)
            }
        }
        return ConfigurationNode(.map(result.compactMap { $0 }), at: isMap ? mark : patch.mark)
    }

    /// This mapping with one key's value replaced, added or (with nil) removed.
    public func setting(_ key: String, to value: ConfigurationNode?) -> ConfigurationNode {
        var result = pairs
        let index = result.lastIndex { $0.key == key }
        switch (index, value) {
        case (let index?, let value?): result[index].value = value
        case (let index?, nil): result.remove(at: index)
        case (nil, let value?): result.append(Pair(key: key, keyMark: value.mark, value: value))
        case (nil, nil): break
        }
        return ConfigurationNode(.map(result), at: mark)
    }

    /// This mapping without some keys.
    public func removing(_ keys: Set<String>) -> ConfigurationNode {
        ConfigurationNode(.map(pairs.filter { !keys.contains($0.key) }), at: mark)
    }

    private static func resolve(_ text: String) -> Resolved {
        if isNull(plain: text) { return .null }
        switch text {
        case "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON": return .bool(true)
        case "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF": return .bool(false)
        default: break
        }
        let bytes = Array(text.utf8.filter { $0 != UInt8(ascii: "_") })
        guard let first = text.utf8.first, first != UInt8(ascii: "_") else { return .string(text) }
        let sign = bytes.first == UInt8(ascii: "-") || bytes.first == UInt8(ascii: "+") ? 1 : 0
        let digits = String(decoding: bytes.dropFirst(sign), as: UTF8.self)
        let prefix = bytes.first == UInt8(ascii: "-") ? "-" : ""
        if let lead = digits.utf8.first, (48...57).contains(lead) {
            let whole: Int64?
            if digits.hasPrefix("0x") {
                whole = number(prefix, digits.dropFirst(2), 16)
            } else if digits.hasPrefix("0b") {
                whole = number(prefix, digits.dropFirst(2), 2)
            } else if digits.hasPrefix("0"), digits.utf8.count > 1 {
                whole = number(prefix, digits.dropFirst(), 8)
            } else {
                whole = number(prefix, digits[...], 10)
            }
            if let whole { return .integer(whole) }
        }
        if text.utf8.contains(UInt8(ascii: ".")), bytes.allSatisfy({ "0123456789.eE+-".utf8.contains($0) }),
            let value = Double(String(decoding: bytes, as: UTF8.self)), value.isFinite
        {
            return .number(value)
        }
        return .string(text)
    }

    private static func number(_ sign: String, _ digits: Substring, _ radix: Int) -> Int64? {
        guard let first = digits.first, first != "-", first != "+" else { return nil }
        return Int64(sign + digits, radix: radix)
    }
}
