public import ConfigurationTree

/// The long options that a configuration gives to a program.
///
/// They are written as a list of switches and single pairs, `[verbose, {max-rate: 100M}]`, or as a mapping.
public struct CommandOptions: Hashable, Sendable {
    /// One option; a switch has no value.
    public struct Option: Hashable, Sendable {
        public var name: String
        public var value: String?

        public init(_ name: String, _ value: String? = nil) {
            self.name = name
            self.value = value
        }

        public var argument: String { value.map { "--\(name)=\($0)" } ?? "--\(name)" }
    }

    public var options: [Option] = []

    public init() {}

    /// Reads a section; an absent or empty one has no options.
    ///
    /// - Parameters:
    ///   - tool: The program, for complaints.
    ///   - forbidden: Options that the agent sets itself, or that would defeat it; neither are their abbreviations taken.
    public init(
        _ node: ConfigurationNode?, path: String, tool: String, forbidden: Set<String> = []
    ) throws(ConfigurationComplaints) {
        let (options, complaints) = Self.read(node, path: path, tool: tool, forbidden: forbidden)
        if !complaints.isEmpty { throw ConfigurationComplaints(complaints) }
        self = options
    }

    /// Reads what can be read of a section, and complains of the rest.
    public static func read(
        _ node: ConfigurationNode?, path: String, tool: String, forbidden: Set<String> = []
    ) -> (options: CommandOptions, complaints: [ConfigurationComplaint]) {
        var reading = Reading(tool: tool, forbidden: forbidden)
        switch node?.content {
        case nil, .null?: break
        case .list(let elements)?:
            for (index, element) in elements.enumerated() { reading.add(element, path: "\(path)[\(index)]") }
        case .map(let pairs)?:
            for pair in pairs { reading.add(pair, path: "\(path).\(pair.key)") }
        case .scalar?:
            if let node {
                reading.complain(
                    node.mark, path, "expected a list of options of \(tool), like [verbose, {name: value}]")
            }
        }
        var result = CommandOptions()
        result.options = reading.options
        return (result, reading.complaints)
    }

    /// In the order of the configuration.
    public var arguments: [String] { options.map(\.argument) }

    public subscript(name: String) -> Option? { options.last { $0.name == name } }
}

/// One reading of a section: what was understood and what was not.
private struct Reading {
    let tool: String
    let forbidden: Set<String>
    var options: [CommandOptions.Option] = []
    var complaints: [ConfigurationComplaint] = []

    mutating func complain(_ mark: SourceMark, _ path: String, _ message: String) {
        complaints.append(ConfigurationComplaint(at: mark, path: path, message))
    }

    mutating func add(_ element: ConfigurationNode, path: String) {
        switch element.content {
        case .scalar(let text, _):
            // `name=value` in one is taken as well, checked by its name.
            let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard let name = checked(parts[0], element.mark, path) else { return }
            options.append(CommandOptions.Option(name, parts.count == 2 ? parts[1] : nil))
        case .map(let pairs) where pairs.count == 1:
            add(pairs[0], path: "\(path).\(pairs[0].key)")
        case .map(let pairs):
            complain(
                element.mark, path,
                "expected one option, found a mapping of \(pairs.count); give each a dash of its own")
        case .list, .null:
            complain(element.mark, path, "expected a switch of \(tool) or 'name: value'")
        }
    }

    mutating func add(_ pair: ConfigurationNode.Pair, path: String) {
        guard let name = checked(pair.key, pair.keyMark, path) else { return }
        switch pair.value.content {
        case .null:
            options.append(CommandOptions.Option(name))
        case .scalar(let text, _):
            switch pair.value.resolved {
            case .bool(true): options.append(CommandOptions.Option(name))
            case .bool(false): return
            default: options.append(CommandOptions.Option(name, Self.unquoted(text)))
            }
        case .list, .map:
            complain(pair.value.mark, path, "expected a single value for the option")
        }
    }

    /// The name without leading dashes; nil when it cannot be used.
    private mutating func checked(_ name: String, _ mark: SourceMark, _ path: String) -> String? {
        var bare = name
        if bare.hasPrefix("--") { bare.removeFirst(2) }
        let isName = bare.utf8.allSatisfy { byte in
            (97...122).contains(byte) || (65...90).contains(byte) || (48...57).contains(byte)
                || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_")
        }
        guard !bare.isEmpty, isName, !bare.hasPrefix("-") else {
            complain(mark, path, "'\(name)' is no long option of \(tool); write it as in 'verbose' or 'name: value'")
            return nil
        }
        // getopt_long takes any beginning of a name that means one option.
        if let full = forbidden.sorted().first(where: { $0 == bare || (bare.count > 2 && $0.hasPrefix(bare)) }) {
            let what = full == bare ? "'\(bare)'" : "'\(bare)' (short for '\(full)')"
            complain(
                mark, path, "\(what) may not be given to \(tool): it is set, or ruled out, by the agent; remove it")
            return nil
        }
        return bare
    }

    /// Without a pair of quotes that survived YAML; configurations have them doubled.
    private static func unquoted(_ text: String) -> String {
        guard let words = try? ShellWords.split(text), words.count == 1 else { return text }
        return words[0]
    }
}
