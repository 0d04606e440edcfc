import ConfigurationTree

/// What the environment variables say, as a tree to be merged over the file's.
struct EnvironmentConfiguration {
    /// A mapping; empty when nothing was set.
    var node: ConfigurationNode
    /// Names of the variables that are ours, used or overruled.
    var consumed: Set<String>
    var complaints: [ConfigurationComplaint]

    static let prefixes = ["PATRONI_", "MATRIARCH_"]
    /// The variable that holds a whole configuration, without prefix.
    static let whole = "CONFIGURATION"

    /// Reads `PATRONI_*` and `MATRIARCH_*`; of one name set in both the second counts. Empty values count as unset.
    static func read(_ environment: [String: String], stores: [String]) -> EnvironmentConfiguration {
        var result = EnvironmentConfiguration(
            node: ConfigurationNode(.map([]), at: SourceMark(source: "environment")), consumed: [], complaints: [])
        let known = EnvironmentVariables.table.keys.sorted()
        for prefix in prefixes {
            for name in environment.keys.sorted() where name.hasPrefix(prefix) {
                let short = String(name.dropFirst(prefix.count))
                if short == whole {
                    result.consumed.insert(name)
                    continue
                }
                guard let variable = EnvironmentVariables.variable(named: short, stores: stores) else {
                    var message = "unknown variable, ignored"
                    if let nearest = NearestName.of(short, among: known) {
                        message += "; did you mean '\(prefix)\(nearest)'?"
                    }
                    result.complaints.append(ConfigurationComplaint(.warning, at: mark(name), path: "", message))
                    continue
                }
                result.consumed.insert(name)
                guard let text = environment[name], !text.isEmpty else { continue }
                // A legacy spelling gives way to the proper one, which sorts before or behind it.
                let proper = variable.path.joined(separator: "_").uppercased()
                if EnvironmentVariables.isLegacy(short), environment[prefix + proper]?.isEmpty == false { continue }
                guard let value = result.value(of: text, as: variable, at: mark(name)) else { continue }
                result.node = result.node.merging(nested(value, under: variable.path[...], at: mark(name)))
            }
        }
        return result
    }

    /// The text of `PATRONI_CONFIGURATION` or, preferred, `MATRIARCH_CONFIGURATION`.
    static func wholeText(in environment: [String: String]) -> (name: String, text: String)? {
        for prefix in prefixes.reversed() {
            if let text = environment[prefix + whole], !text.isEmpty { return (prefix + whole, text) }
        }
        return nil
    }

    static func mark(_ name: String) -> SourceMark {
        SourceMark(source: "environment variable \(name)")
    }

    private mutating func value(
        of text: String, as variable: EnvironmentVariables.Variable, at mark: SourceMark
    ) -> ConfigurationNode? {
        let path = variable.path.joined(separator: ".")
        switch variable.form {
        case .text:
            return ConfigurationNode(.scalar(text: text, isPlain: true), at: mark)
        case .list:
            // `- a` and `["a"]` alike; what is no list in YAML is read as commas between texts.
            if text.hasPrefix("-"), let node = try? YAMLParser.parse(text: text, source: mark.source),
                case .list = node.content
            {
                return node.moved(to: mark)
            }
            guard let elements = ListText.elements(text) else {
                complaints.append(ConfigurationComplaint(at: mark, path: path, "a quote is not closed in this list"))
                return nil
            }
            return ConfigurationNode(
                .list(elements.map { ConfigurationNode(.scalar(text: $0, isPlain: true), at: mark) }), at: mark)
        case .map:
            for candidate in [text, "{\(text)}"] {
                if let node = try? YAMLParser.parse(text: candidate, source: mark.source), node.isMap,
                    !node.pairs.contains(where: { $0.value.isNull })
                {
                    return node.moved(to: mark)
                }
            }
            // The text is not quoted: it may hold credentials.
            complaints.append(
                ConfigurationComplaint(at: mark, path: path, "is no mapping; write {name: value, other: value}"))
            return nil
        case .yaml:
            if ["[", "{", "-"].contains(where: text.hasPrefix),
                let node = try? YAMLParser.parse(text: text, source: mark.source)
            {
                return node.moved(to: mark)
            }
            return ConfigurationNode(.scalar(text: text, isPlain: true), at: mark)
        }
    }

    private static func nested(
        _ value: ConfigurationNode, under path: ArraySlice<String>, at mark: SourceMark
    ) -> ConfigurationNode {
        guard let key = path.first else { return value }
        let inner = nested(value, under: path.dropFirst(), at: mark)
        return ConfigurationNode(.map([.init(key: key, keyMark: mark, value: inner)]), at: mark)
    }
}

extension ConfigurationNode {
    /// The same value with one place for all of it.
    func moved(to mark: SourceMark) -> ConfigurationNode {
        switch content {
        case .null, .scalar:
            ConfigurationNode(content, at: mark)
        case .list(let elements):
            ConfigurationNode(.list(elements.map { $0.moved(to: mark) }), at: mark)
        case .map(let pairs):
            ConfigurationNode(
                .map(pairs.map { Pair(key: $0.key, keyMark: mark, value: $0.value.moved(to: mark)) }), at: mark)
        }
    }
}
