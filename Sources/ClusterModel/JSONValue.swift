/// A JSON value which keeps the order of its members and tells whole numbers from others.
public indirect enum JSONValue: Hashable, Sendable {
    case null
    case bool(Bool)
    case integer(Int64)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object(JSONObject)

    public subscript(key: String) -> JSONValue? {
        if case .object(let object) = self { return object[key] }
        return nil
    }

    public var string: String? {
        if case .string(let text) = self { return text }
        return nil
    }

    public var integer: Int64? {
        switch self {
        case .integer(let value): value
        case .number(let value) where value == value.rounded() && abs(value) < 9e15: Int64(value)
        default: nil
        }
    }

    /// The number in an integer, or in a text of digits, as some writers put it.
    public var lenientInteger: Int64? {
        if case .string(let text) = self { return Int64(text) }
        return integer
    }

    public var bool: Bool? {
        if case .bool(let value) = self { return value }
        return nil
    }

    public var array: [JSONValue]? {
        if case .array(let values) = self { return values }
        return nil
    }

    public var object: JSONObject? {
        if case .object(let object) = self { return object }
        return nil
    }

    public var isNull: Bool { self == .null }
}

/// The members of a JSON object, in order. Comparing two objects disregards order.
public struct JSONObject: Sendable, ExpressibleByDictionaryLiteral {
    public private(set) var members: [(key: String, value: JSONValue)]

    public init(_ members: [(key: String, value: JSONValue)] = []) {
        // By a table, since another program's object may have any number of members: a repeated one keeps its first
        // place and its last value.
        var places: [String: Int] = [:]
        self.members = []
        self.members.reserveCapacity(members.count)
        for member in members {
            if let place = places[member.key] {
                self.members[place].value = member.value
            } else {
                places[member.key] = self.members.count
                self.members.append(member)
            }
        }
    }

    public init(dictionaryLiteral elements: (String, JSONValue)...) {
        self.init(elements.map { (key: $0.0, value: $0.1) })
    }

    public var isEmpty: Bool { members.isEmpty }
    public var keys: [String] { members.map(\.key) }

    public subscript(key: String) -> JSONValue? {
        get { members.last { $0.key == key }?.value }
        set {
            let index = members.lastIndex { $0.key == key }
            switch (index, newValue) {
            case (let index?, let value?): members[index].value = value
            case (let index?, nil): members.remove(at: index)
            case (nil, let value?): members.append((key: key, value: value))
            case (nil, nil): break
            }
        }
    }

    /// This object with another's members merged over it: null deletes, objects merge, all else replaces.
    public func merging(_ patch: JSONObject) -> JSONObject {
        var result = self
        for (key, value) in patch.members {
            switch value {
            case .null:
                result[key] = nil
            case .object(let inner):
                result[key] = .object((result[key]?.object ?? JSONObject()).merging(inner))
            default:
                result[key] = value
            }
        }
        return result
    }
}

extension JSONObject: Hashable {
    public static func == (left: JSONObject, right: JSONObject) -> Bool {
        guard left.members.count == right.members.count else { return false }
        // Mostly both come from the same writer, with the same order.
        if zip(left.members, right.members).allSatisfy({ $0.key == $1.key && $0.value == $1.value }) { return true }
        let others = Dictionary(right.members.map { ($0.key, $0.value) }) { $1 }
        return left.members.allSatisfy { others[$0.key] == $0.value }
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(members.count)
        for key in keys.sorted() { hasher.combine(key) }
    }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
    ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral, ExpressibleByFloatLiteral
{
    public init(stringLiteral value: String) { self = .string(value) }
    public init(integerLiteral value: Int64) { self = .integer(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(floatLiteral value: Double) { self = .number(value) }
    public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    public init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(JSONObject(elements.map { (key: $0.0, value: $0.1) }))
    }

    /// Objects by content, numbers and texts by their printed form: the equality that decides whether a write can be
    /// skipped in a store shared with other programs (`5` equals `"5"`).
    public func isLooselyEqual(to other: JSONValue) -> Bool {
        if case .object(let left) = self, case .object(let right) = other {
            return left.members.count == right.members.count
                && left.members.allSatisfy { member in
                    right[member.key].map { member.value.isLooselyEqual(to: $0) } ?? false
                }
        }
        func text(_ value: JSONValue) -> String { value.string ?? value.serialized() }
        return text(self) == text(other)
    }
}
