/// Reads one mapping of a configuration key by key, collects every complaint, and knows which keys were asked for.
///
/// Nothing is thrown on the way: a value of the wrong type yields a complaint and nil (or the default), so that a
/// person sees all that is wrong at once. `finish()` adds a warning for each key nobody asked for.
///
/// ```swift
/// let reader = ConfigurationReader(section, path: "zookeeper")
/// let hosts = reader.stringList("hosts") ?? ["127.0.0.1:2181"]
/// let useTLS = reader.bool("use_ssl", default: false)
/// let patience = reader.duration("patience", in: .seconds(1) ... .seconds(60), default: .seconds(10))
/// let password = reader.secret("key_password")
/// let warnings = try reader.check()
/// ```
///
/// A reader is used where it was made: it is no `Sendable`, and needs no lock.
public final class ConfigurationReader {
    /// The mapping being read.
    public let node: ConfigurationNode
    /// The mapping's path from the root of the configuration: `postgresql.authentication`; empty for the root.
    public let path: String

    private let collector: Collector
    /// In the order in which they were asked for, and for looking up.
    private var known: [String] = []
    private var isKnown: Set<String> = []
    private var children: [ConfigurationReader] = []
    private var isFinished = false

    /// All that one reading of a tree complains of; shared by the readers of its sections.
    private final class Collector {
        var complaints: [ConfigurationComplaint] = []
    }

    /// Starts to read a mapping; anything else is a complaint, and reads as an empty mapping.
    ///
    /// A section with nothing in it (`zookeeper:` alone on its line) is an empty mapping.
    public convenience init(_ node: ConfigurationNode, path: String = "") {
        self.init(node, path: path, collector: Collector())
    }

    private init(_ node: ConfigurationNode, path: String, collector: Collector) {
        self.node = node
        self.path = path
        self.collector = collector
        switch node.content {
        case .map, .null: break
        case .scalar, .list:
            complain(at: node.mark, path: path, "expected a mapping (name: value), found \(node.kind)")
            isFinished = true
        }
    }

    /// All complaints so far, of this reader and of every reader that shares its tree.
    public var complaints: [ConfigurationComplaint] { collector.complaints }

    /// Warns of every key that nobody asked for, here and in the sections read through this reader; then tells all.
    @discardableResult
    public func finish() -> [ConfigurationComplaint] {
        for child in children { child.finish() }
        guard !isFinished else { return complaints }
        isFinished = true
        let present = Set(node.pairs.map(\.key))
        let candidates = known.filter { !present.contains($0) }
        for (index, pair) in node.pairs.filter({ !isKnown.contains($0.key) }).enumerated() {
            var message = "unknown key, ignored"
            // Who has more of them than this has misspelt none.
            if index < 50, let nearest = NearestName.of(pair.key, among: candidates) {
                message += "; did you mean '\(nearest)'?"
            }
            complain(.warning, at: pair.keyMark, path: path(of: pair.key), message)
        }
        return complaints
    }

    /// Ends the reading as `finish()` does and throws all complaints if one of them is an error; else the warnings.
    @discardableResult
    public func check() throws(ConfigurationComplaints) -> [ConfigurationComplaint] {
        let all = finish()
        if all.containsError { throw ConfigurationComplaints(all) }
        return all
    }

    // MARK: Keys

    /// The value under a key, whatever it is; nil when absent or null. The key counts as known from here on.
    public func node(_ key: String) -> ConfigurationNode? {
        allow(key)
        guard let value = node[key], !value.isNull else { return nil }
        return value
    }

    /// Declares keys as known without reading them.
    public func allow(_ keys: String...) {
        allow(keys)
    }

    /// Declares keys as known without reading them.
    public func allow(_ keys: some Sequence<String>) {
        for key in keys where isKnown.insert(key).inserted { known.append(key) }
    }

    /// Whether the key is there and not null.
    public func has(_ key: String) -> Bool {
        node[key].map { !$0.isNull } ?? false
    }

    /// The path of a key below this mapping.
    public func path(of key: String) -> String {
        path.isEmpty ? key : "\(path).\(key)"
    }

    /// A reader for the mapping under a key; nil when the key is absent. `section:` with nothing below is there, empty.
    ///
    /// It shares this reader's complaints and is finished along with it.
    public func reader(for key: String) -> ConfigurationReader? {
        allow(key)
        guard let value = node[key] else { return nil }
        return reader(for: value, path: path(of: key))
    }

    /// A reader for a mapping reached otherwise, such as an element of a list.
    public func reader(for node: ConfigurationNode, path: String) -> ConfigurationReader {
        let child = ConfigurationReader(node, path: path, collector: collector)
        children.append(child)
        return child
    }

    // MARK: Complaints

    /// Complains of a key's value, as an error; of the mapping itself when the key is absent.
    public func complain(_ key: String, _ message: String) {
        complain(at: node[key]?.mark ?? node.mark, path: path(of: key), message)
    }

    /// Warns of a key's value; of the mapping itself when the key is absent.
    public func warn(_ key: String, _ message: String) {
        complain(.warning, at: node[key]?.mark ?? node.mark, path: path(of: key), message)
    }

    /// Complains of any place.
    public func complain(
        _ severity: ConfigurationComplaint.Severity = .error, at mark: SourceMark, path: String, _ message: String
    ) {
        collector.complaints.append(ConfigurationComplaint(severity, at: mark, path: path, message))
    }

    /// Takes over what somebody else found in a part of this tree.
    public func adopt(_ complaints: some Sequence<ConfigurationComplaint>) {
        collector.complaints.append(contentsOf: complaints)
    }
}
