/// A place in a configuration source: what a complaint points to.
public struct SourceMark: Hashable, Sendable, CustomStringConvertible {
    /// File name, or what stands for one: `environment variable PATRONI_NAME`, `key /service/demo/config`.
    public var source: String
    /// 1-based; 0 when the source has no lines (an environment variable).
    public var line: Int
    /// 1-based; 0 when the source has no lines.
    public var column: Int

    public init(source: String, line: Int = 0, column: Int = 0) {
        self.source = source
        self.line = line
        self.column = column
    }

    public var description: String { line > 0 ? "\(source):\(line):\(column)" : source }
}

/// One parsed value of a configuration, with the place it was written at. Knows no YAML library.
public struct ConfigurationNode: Hashable, Sendable {
    /// What a node can be.
    public indirect enum Content: Hashable, Sendable {
        case null
        /// A scalar's text as written; `isPlain` is false when it was quoted (a quoted scalar is always a string).
        case scalar(text: String, isPlain: Bool)
        case list([ConfigurationNode])
        case map([Pair])
    }

    /// One `key: value` of a mapping; order is the file's.
    public struct Pair: Hashable, Sendable {
        public var key: String
        public var keyMark: SourceMark
        public var value: ConfigurationNode

        public init(key: String, keyMark: SourceMark, value: ConfigurationNode) {
            self.key = key
            self.keyMark = keyMark
            self.value = value
        }
    }

    public var content: Content
    public var mark: SourceMark

    public init(_ content: Content, at mark: SourceMark) {
        self.content = content
        self.mark = mark
    }

    /// The value under a key of a mapping; nil when absent or when this is no mapping.
    public subscript(key: String) -> ConfigurationNode? {
        guard case .map(let pairs) = content else { return nil }
        return pairs.last { $0.key == key }?.value
    }

    /// The pairs of a mapping, nothing otherwise.
    public var pairs: [Pair] {
        if case .map(let pairs) = content { return pairs }
        return []
    }
}

/// One complaint about a configuration: where, which key, what is wrong and what would be right.
public struct ConfigurationComplaint: Error, Hashable, Sendable, CustomStringConvertible {
    /// How bad it is: an error keeps the agent from starting, a warning does not.
    public enum Severity: String, Hashable, Sendable {
        case error, warning
    }

    public var severity: Severity
    public var mark: SourceMark
    /// The key's path: `zookeeper.hosts[1]`.
    public var path: String
    /// What is wrong and what would be right, without place and path. Never contains a secret.
    public var message: String

    public init(_ severity: Severity = .error, at mark: SourceMark, path: String, _ message: String) {
        self.severity = severity
        self.mark = mark
        self.path = path
        self.message = message
    }

    public var description: String {
        "\(mark): \(path.isEmpty ? "" : path + ": ")\(message)"
    }
}
