public import ClusterModel

/// The stable code of a rule: what logs, `/decisions`, `explain` and tests name it by.
public struct RuleCode: Hashable, Sendable, CustomStringConvertible, ExpressibleByStringLiteral {
    public var description: String

    public init(_ text: String) {
        self.description = text
    }

    public init(stringLiteral value: String) {
        self.description = value
    }
}

/// One fact that a decision rests on.
public struct Fact: Hashable, Sendable {
    public var name: String
    public var value: JSONValue

    public init(_ name: String, _ value: JSONValue) {
        self.name = name
        self.value = value
    }
}

/// What was decided, by which rule, from which facts. The one value that every explanation is printed from.
public struct Decision: Hashable, Sendable {
    /// How much it matters to a person.
    public enum Weight: String, Hashable, Sendable {
        /// Nothing changes; shown at debug level, repeated ones are not recorded.
        case routine
        /// Something was done or begun.
        case action
        /// Somebody should look.
        case warning
    }

    /// Counts up from 1 in one agent's life.
    public var sequence: UInt64
    public var at: WallTime
    public var rule: RuleCode
    public var weight: Weight
    /// What this member does, in a sentence.
    public var text: String
    public var facts: [Fact]

    public init(
        sequence: UInt64 = 0, at: WallTime = WallTime(microseconds: 0), rule: RuleCode, weight: Weight, text: String,
        facts: [Fact]
    ) {
        self.sequence = sequence
        self.at = at
        self.rule = rule
        self.weight = weight
        self.text = text
        self.facts = facts
    }

    public subscript(fact: String) -> JSONValue? { facts.last { $0.name == fact }?.value }

    /// The form of `GET /decisions`.
    public var json: JSONValue {
        .object([
            "sequence": .integer(Int64(clamping: sequence)), "at": .string(at.iso8601()),
            "rule": .string(rule.description), "weight": .string(weight.rawValue), "text": .string(text),
            "facts": .object(JSONObject(facts.map { ($0.name, $0.value) })),
        ])
    }

    /// The form of a log line: text, rule, facts.
    public var line: String {
        let list = facts.map { fact in "\(fact.name)=\(fact.value.string ?? fact.value.serialized())" }
        return "\(text) [\(rule)]" + (list.isEmpty ? "" : " " + list.joined(separator: " "))
    }
}
