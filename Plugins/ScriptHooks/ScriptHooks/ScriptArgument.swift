import ConfigurationTree

/// A configured value as scripts have always got it: printed the way Python prints it.
enum ScriptArgument {
    /// Nil for lists and mappings, which no script can be given.
    static func text(_ node: ConfigurationNode) -> String? {
        switch node.content {
        case .null: "None"
        case .scalar(let text, isPlain: false): text
        case .scalar(let text, isPlain: true): boolean(text).map { $0 ? "True" : "False" } ?? text
        case .list, .map: nil
        }
    }

    /// Whether a switch is on. Absent, null, 0, the empty text and the words for no are off, all else is on.
    static func isOn(_ node: ConfigurationNode?) -> Bool {
        guard let node else { return false }
        switch node.content {
        case .null: return false
        case .scalar(let text, _): return boolean(text) ?? !(text.isEmpty || text == "0")
        case .list(let elements): return !elements.isEmpty
        case .map(let pairs): return !pairs.isEmpty
        }
    }

    /// YAML 1.1's words for yes and no.
    private static func boolean(_ text: String) -> Bool? {
        switch text {
        case "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON": true
        case "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF": false
        default: nil
        }
    }
}
