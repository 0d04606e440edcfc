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
        // YAML 1.1 takes a number for one only if it has a point.
        case .number(let number) where number.isFinite:
            "\(number)".contains(".") ? "\(number)" : "\(number)".replacing("e", with: ".0e")
        default: value.serialized()
        }
    }

    /// A text, in quotes when it would be read as something else without.
    static func text(_ content: String) -> String {
        // By scalar, not by character, as YAML's readers do: a combining mark does not change what it follows.
        let scalars = Array(content.unicodeScalars)
        guard scalars.allSatisfy(isPrintable) else { return escaped(scalars) }
        let isPlain =
            !content.isEmpty && scalars.first != " " && scalars.last != " " && scalars.last != ":"
            && !zip(scalars, scalars.dropFirst()).contains { $0 == ":" && $1 == " " || $0 == " " && $1 == "#" }
            && !scalars.prefix(1).contains { "-?:,[]{}#&*!|>'\"%@`~=<.+".unicodeScalars.contains($0) }
            && !scalars.prefix(1).contains { $0.properties.numericType != nil }
            && ![
                "true", "false", "yes", "no", "on", "off", "null", "y", "n", "inf", "nan",
            ].contains(content.lowercased())
        if isPlain { return content }
        var quoted = "'"
        for scalar in scalars {
            if scalar == "'" { quoted += "'" }
            quoted.unicodeScalars.append(scalar)
        }
        return quoted + "'"
    }

    /// Whether YAML lets a scalar stand as it is, and reads it as itself: no control and no line break of any kind.
    private static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x20, 0x7F...0xA0, 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF: false
        default: true
        }
    }

    /// In double quotes, with escapes.
    private static func escaped(_ scalars: [Unicode.Scalar]) -> String {
        var text = "\""
        for scalar in scalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            case _ where isPrintable(scalar): text.unicodeScalars.append(scalar)
            default:
                let hex = String(scalar.value, radix: 16, uppercase: true)
                text += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            }
        }
        return text + "\""
    }
}
