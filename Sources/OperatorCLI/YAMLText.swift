import ClusterModel

/// Writes JSON values as YAML in block style, which every YAML reader reads back to the same values.
enum YAMLText {
    static func write(_ value: JSONValue) -> String {
        var output = ""
        switch value {
        case .object(let object) where !object.isEmpty: write(object, to: &output, level: 0)
        case .array(let values) where !values.isEmpty: write(values, to: &output, level: 0)
        default: output = scalar(value) + "\n"
        }
        return output
    }

    private static func write(_ object: JSONObject, to output: inout String, level: Int) {
        for (key, value) in object.members {
            output += String(repeating: "  ", count: level) + text(key) + ":"
            append(value, to: &output, level: level)
        }
    }

    private static func append(_ value: JSONValue, to output: inout String, level: Int) {
        switch value {
        case .object(let inner) where !inner.isEmpty:
            output += "\n"
            write(inner, to: &output, level: level + 1)
        case .array(let values) where !values.isEmpty:
            output += "\n"
            write(values, to: &output, level: level)
        default:
            output += " " + scalar(value) + "\n"
        }
    }

    private static func write(_ values: [JSONValue], to output: inout String, level: Int) {
        for value in values {
            let indent = String(repeating: "  ", count: level)
            switch value {
            case .object(let inner) where !inner.isEmpty:
                // The first pair stands behind the dash, the others under it.
                var block = ""
                write(inner, to: &block, level: level + 1)
                output += indent + "- " + block.dropFirst(indent.count + 2)
            case .array(let inner) where !inner.isEmpty:
                var block = ""
                write(inner, to: &block, level: level + 1)
                output += indent + "- " + block.dropFirst(indent.count + 2)
            default:
                output += indent + "- " + scalar(value) + "\n"
            }
        }
    }

    private static func scalar(_ value: JSONValue) -> String {
        switch value {
        case .string(let content): text(content)
        case .object: "{}"
        case .array: "[]"
        default: value.serialized()
        }
    }

    /// A text, in quotes when it would be read as something else without.
    static func text(_ content: String) -> String {
        let isPlain =
            !content.isEmpty && content.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F }
            && content.first != " " && content.last != " " && !content.contains(": ") && !content.contains(" #")
            && !content.hasSuffix(":") && !"-?:,[]{}#&*!|>'\"%@`~=<.+".contains(content.prefix(1))
            && !(content.first?.isNumber ?? false)
            && ![
                "true", "false", "yes", "no", "on", "off", "null", "y", "n", "inf", "nan",
            ].contains(content.lowercased())
        if isPlain { return content }
        if content.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F }) {
            return "'" + content.replacing("'", with: "''") + "'"
        }
        // JSON's escapes are YAML's within double quotes.
        return JSONValue.string(content).serialized()
    }
}
