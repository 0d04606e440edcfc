public import ClusterModel
public import ConfigurationTree

extension ConfigurationNode {
    /// A JSON value as a node; every part of it gets the one place, for JSON from the store has no lines.
    public init(_ value: JSONValue, at mark: SourceMark) {
        switch value {
        case .null: self.init(ConfigurationNode.Content.null, at: mark)
        case .bool(let value): self.init(.scalar(text: value ? "true" : "false", isPlain: true), at: mark)
        case .integer(let value): self.init(.scalar(text: String(value), isPlain: true), at: mark)
        case .number(let value): self.init(.scalar(text: "\(value)", isPlain: true), at: mark)
        case .string(let text): self.init(.scalar(text: text, isPlain: false), at: mark)
        case .array(let values): self.init(.list(values.map { ConfigurationNode($0, at: mark) }), at: mark)
        case .object(let object):
            self.init(
                .map(
                    object.members.map {
                        Pair(key: $0.key, keyMark: mark, value: ConfigurationNode($0.value, at: mark))
                    }
                ), at: mark)
        }
    }

    /// The node as JSON: order kept, plain scalars typed by their notation, quoted ones texts.
    public var json: JSONValue {
        switch content {
        case .null: return .null
        case .list(let elements): return .array(elements.map(\.json))
        case .map(let pairs): return .object(JSONObject(pairs.map { (key: $0.key, value: $0.value.json) }))
        case .scalar(let text, _):
            switch resolved {
            case .bool(let value): return .bool(value)
            case .integer(let value): return .integer(value)
            case .number(let value): return .number(value)
            case .null: return .null
            case .string, nil: return .string(text)
            }
        }
    }
}
