import ConfigurationTree

/// A configured value as scripts have always got it: what Python prints for the value that YAML's notation means.
enum ScriptArgument {
    /// Nil for lists and mappings, which no script can be given.
    static func text(_ node: ConfigurationNode) -> String? {
        switch node.resolved {
        case .null?: "None"
        case .bool(let value)?: value ? "True" : "False"
        case .integer(let number)?: "\(number)"
        case .number(let number)?: "\(number)"
        case .string(let text)?: text
        case nil: nil
        }
    }

    /// Whether a switch is on. Absent, null, 0, nothing and the words for no are off, all else is on.
    static func isOn(_ node: ConfigurationNode?) -> Bool {
        switch node?.resolved {
        case .null?: false
        case .bool(let value)?: value
        case .integer(let number)?: number != 0
        case .number(let number)?: number != 0
        // Python takes any text for a yes, 'false' too; nobody who wrote that meant it.
        case .string(let text)?: ValueText.boolean(text) ?? !text.isEmpty
        case nil: node.map { !$0.elements.isEmpty || !$0.pairs.isEmpty } ?? false
        }
    }
}
