import CLibYAML
public import ConfigurationTree

/// Reads YAML into configuration nodes with libyaml.
///
/// Anchors, aliases and `<<` are resolved, `!!str` is honoured, keys that are given twice are complained of. One
/// document only; nesting, size and what aliases may multiply to are bounded. Nothing recurses, so that no text can
/// exhaust the stack.
public enum YAMLParser {
    /// Deepest nesting that is read.
    public static let maximumDepth = 64
    /// Longest text that is read, in bytes.
    public static let maximumSize = 4 << 20
    /// Most values a text may have, with each alias counted as what it stands for.
    public static let maximumNodes = 200_000
    /// Most bytes in all its values, counted in the same way.
    public static let maximumText = 2 * maximumSize

    /// Parses one document; an empty text is `null`. Throws all complaints there are, at least one.
    public static func parse(text: String, source: String) throws(ConfigurationComplaints) -> ConfigurationNode {
        try parse(bytes: Array(text.utf8), source: source)
    }

    /// Parses one document of UTF-8.
    public static func parse(bytes: [UInt8], source: String) throws(ConfigurationComplaints) -> ConfigurationNode {
        guard bytes.count <= maximumSize else {
            throw ConfigurationComplaints(
                ConfigurationComplaint(
                    at: SourceMark(source: source), path: "",
                    "is \(bytes.count) bytes long; a configuration has at most \(maximumSize)"))
        }
        var builder = TreeBuilder(source: source)
        var failure: ConfigurationComplaint?
        // libyaml keeps a pointer to its parser within it: it must not move.
        let parser = UnsafeMutablePointer<yaml_parser_t>.allocate(capacity: 1)
        defer { parser.deallocate() }
        guard yaml_parser_initialize(parser) == 1 else {
            throw ConfigurationComplaints(
                ConfigurationComplaint(at: SourceMark(source: source), path: "", "libyaml has no memory left"))
        }
        defer { yaml_parser_delete(parser) }
        bytes.withUnsafeBufferPointer { bytes in
            // A null base pointer is an empty text; libyaml wants something to point at.
            guard let base = bytes.baseAddress else { return }
            yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
            yaml_parser_set_input_string(parser, base, bytes.count)
            reading: while true {
                var event = yaml_event_t()
                guard yaml_parser_parse(parser, &event) == 1 else {
                    failure = problem(in: parser.pointee, bytes: bytes, source: source, path: builder.path)
                    break reading
                }
                defer { yaml_event_delete(&event) }
                if event.type == YAML_STREAM_END_EVENT { break reading }
                guard builder.take(event) else { break reading }
            }
        }
        if let failure { builder.complaints.append(failure) }
        guard builder.complaints.isEmpty else { throw ConfigurationComplaints(builder.complaints) }
        return builder.root ?? ConfigurationNode(.null, at: SourceMark(source: source, line: 1, column: 1))
    }

    /// libyaml's complaint in our words and with our counting.
    private static func problem(
        in parser: yaml_parser_t, bytes: UnsafeBufferPointer<UInt8>, source: String, path: String
    ) -> ConfigurationComplaint {
        let what = parser.problem.map { String(cString: $0) } ?? "cannot be read"
        var mark = SourceMark(
            source: source, line: Int(parser.problem_mark.line) + 1, column: Int(parser.problem_mark.column) + 1)
        var message = what
        if parser.error == YAML_READER_ERROR {
            // The reader knows the offset only: count the lines before it.
            let before = bytes.prefix(Int(parser.problem_offset))
            let lineStart = before.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
            mark.line = before.count { $0 == UInt8(ascii: "\n") } + 1
            mark.column = before[lineStart...].count { $0 & 0xC0 != 0x80 } + 1
        } else if what.contains("that cannot start any token"), let byte = byte(at: mark, in: bytes) {
            if byte == UInt8(ascii: "\t") {
                message = "a tab cannot indent; use spaces"
            } else if byte == UInt8(ascii: "@") || byte == UInt8(ascii: "`") {
                message = "a value cannot begin with '\(Character(UnicodeScalar(byte)))'; put it in quotes"
            } else if byte == UInt8(ascii: "%") {
                message = "a value cannot begin with '%'; put it in quotes"
            }
        } else if what.contains("mapping values are not allowed") {
            message = "a second ': ' on one line; put the value in quotes, or check the indentation"
        } else if let context = parser.context.map({ String(cString: $0) }), parser.context_mark.line > 0 {
            message += " (\(context) of line \(parser.context_mark.line + 1))"
        }
        return ConfigurationComplaint(at: mark, path: path, "not YAML: \(message)")
    }

    private static func byte(at mark: SourceMark, in bytes: UnsafeBufferPointer<UInt8>) -> UInt8? {
        var line = 1
        var index = 0
        while line < mark.line, index < bytes.count {
            if bytes[index] == UInt8(ascii: "\n") { line += 1 }
            index += 1
        }
        var column = 1
        while index < bytes.count {
            if bytes[index] & 0xC0 != 0x80 {
                if column == mark.column { return bytes[index] }
                column += 1
            }
            index += 1
        }
        return nil
    }
}

/// Builds nodes from libyaml's events, on a stack of its own.
private struct TreeBuilder {
    let source: String
    var complaints: [ConfigurationComplaint] = []
    var root: ConfigurationNode?

    private var frames: [Frame] = []
    private var anchors: [String: (node: ConfigurationNode, weight: Weight)] = [:]
    private var documents = 0

    init(source: String) {
        self.source = source
    }

    /// What an alias to a node costs.
    private struct Weight {
        /// Values in it, itself included, aliases counted as what they stand for.
        var size = 1
        /// Bytes in the texts of these values.
        var text = 0
        /// Lists and mappings on its longest way down.
        var depth = 0
    }

    /// A list or mapping whose end has not come yet.
    private struct Frame {
        var mark: SourceMark
        var anchor: String?
        var weight = Weight(size: 1, depth: 1)
        /// Nil for a list.
        var pairs: [ConfigurationNode.Pair]?
        var elements: [ConfigurationNode] = []
        var key: (text: String, mark: SourceMark, isMerge: Bool)?
        var merges: [ConfigurationNode] = []
        /// A key that is itself a list or mapping: complained of, its pair dropped.
        var dropsValue = false
        /// Key to the place it was first given at.
        var seen: [String: SourceMark] = [:]
    }

    /// The path of what is being read.
    var path: String {
        var path = ""
        for frame in frames {
            if frame.pairs == nil {
                path += "[\(frame.elements.count)]"
            } else if let key = frame.key {
                // Each of many complaints has the path: a key of a megabyte is not repeated in all of them.
                path += (path.isEmpty ? "" : ".") + (key.text.utf8.count > 200 ? key.text.prefix(50) + "..." : key.text)
            }
        }
        return path
    }

    /// Takes one event; false: stop reading, there is a complaint.
    mutating func take(_ event: yaml_event_t) -> Bool {
        let mark = SourceMark(
            source: source, line: Int(event.start_mark.line) + 1, column: Int(event.start_mark.column) + 1)
        switch event.type {
        case YAML_DOCUMENT_START_EVENT:
            documents += 1
            if documents > 1 {
                return stop(mark, "a second document begins here; a configuration is one document")
            }
        case YAML_SCALAR_EVENT:
            let scalar = event.data.scalar
            let anchor = scalar.anchor.map { String(cString: $0) }
            guard let node = node(of: scalar, at: mark) else { return false }
            return add(
                node, Weight(text: scalar.length), anchor: anchor, isMergeKey: scalar.style == YAML_PLAIN_SCALAR_STYLE)
        case YAML_ALIAS_EVENT:
            let name = event.data.alias.anchor.map { String(cString: $0) } ?? ""
            guard let (node, weight) = anchors[name] else {
                let isOpen = frames.contains { $0.anchor == name }
                // The name is not quoted: it may be a password that somebody forgot to quote.
                return stop(
                    mark,
                    isOpen
                        ? "this alias contains itself"
                        : "'*' begins an alias, and no anchor before it has this name; put a text with '*' in quotes")
            }
            return add(node, weight, anchor: nil, isMergeKey: false)
        case YAML_SEQUENCE_START_EVENT:
            let start = event.data.sequence_start
            return push(
                Frame(mark: mark, anchor: start.anchor.map { String(cString: $0) }), tag: start.tag, expected: "seq")
        case YAML_MAPPING_START_EVENT:
            let start = event.data.mapping_start
            return push(
                Frame(mark: mark, anchor: start.anchor.map { String(cString: $0) }, pairs: []), tag: start.tag,
                expected: "map")
        case YAML_SEQUENCE_END_EVENT, YAML_MAPPING_END_EVENT:
            guard let frame = frames.popLast() else { return stop(mark, "a list or mapping ends that never began") }
            let content: ConfigurationNode.Content =
                frame.pairs.map { .map(Self.merged($0, frame.merges)) } ?? .list(frame.elements)
            return add(
                ConfigurationNode(content, at: frame.mark), frame.weight, anchor: frame.anchor, isMergeKey: false)
        default:
            break
        }
        return true
    }

    private mutating func stop(_ mark: SourceMark, _ message: String) -> Bool {
        complaints.append(ConfigurationComplaint(at: mark, path: path, message))
        return false
    }

    private mutating func push(_ frame: Frame, tag: UnsafeMutablePointer<yaml_char_t>?, expected: String) -> Bool {
        if let tag = tag.map({ String(cString: $0) }), tag != "tag:yaml.org,2002:\(expected)", tag != "!" {
            return stop(frame.mark, "'!' begins a tag, and this one is not known; put a text with '!' in quotes")
        }
        guard frames.count < YAMLParser.maximumDepth else {
            return stop(frame.mark, "nested deeper than \(YAMLParser.maximumDepth) levels")
        }
        frames.append(frame)
        return true
    }

    private mutating func node(
        of scalar: yaml_event_s.__Unnamed_union_data.__Unnamed_struct_scalar, at mark: SourceMark
    ) -> ConfigurationNode? {
        let text: String
        if let value = scalar.value {
            text = String(decoding: UnsafeBufferPointer(start: value, count: scalar.length), as: UTF8.self)
        } else {
            text = ""
        }
        var isPlain = scalar.style == YAML_PLAIN_SCALAR_STYLE
        if let tag = scalar.tag.map({ String(cString: $0) }) {
            switch tag {
            case "!", "tag:yaml.org,2002:str":
                isPlain = false
            case "tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:bool",
                "tag:yaml.org,2002:null", "tag:yaml.org,2002:merge":
                isPlain = true
            default:
                _ = stop(mark, "'!' begins a tag, and this one is not known; put a text with '!' in quotes")
                return nil
            }
        }
        if isPlain, ConfigurationNode.isNull(plain: text) { return ConfigurationNode(.null, at: mark) }
        return ConfigurationNode(.scalar(text: text, isPlain: isPlain), at: mark)
    }

    /// Puts a finished node where it belongs: as root, element, key or value.
    private mutating func add(
        _ node: ConfigurationNode, _ weight: Weight, anchor: String?, isMergeKey: Bool
    ) -> Bool {
        if let anchor { anchors[anchor] = (node, weight) }
        guard !frames.isEmpty else {
            root = node
            return true
        }
        let last = frames.count - 1
        frames[last].weight.size += weight.size
        frames[last].weight.text += weight.text
        frames[last].weight.depth = max(frames[last].weight.depth, weight.depth + 1)
        // Through aliases the tree can be deeper than the text.
        guard frames.count + weight.depth <= YAMLParser.maximumDepth else {
            return stop(node.mark, "nested deeper than \(YAMLParser.maximumDepth) levels")
        }
        guard frames[last].weight.size <= YAMLParser.maximumNodes else {
            return stop(node.mark, "more than \(YAMLParser.maximumNodes) values, aliases included")
        }
        guard frames[last].weight.text <= YAMLParser.maximumText else {
            return stop(node.mark, "more than \(YAMLParser.maximumText) bytes of text, aliases included")
        }
        if frames[last].pairs == nil {
            frames[last].elements.append(node)
            return true
        }
        guard let key = frames[last].key else {
            switch node.content {
            case .scalar(let text, _):
                frames[last].key = (text, node.mark, isMergeKey && text == "<<")
            case .null:
                frames[last].key = ("", node.mark, false)
                complaints.append(ConfigurationComplaint(at: node.mark, path: path, "a key is empty"))
                frames[last].dropsValue = true
            case .list, .map:
                complaints.append(
                    ConfigurationComplaint(at: node.mark, path: path, "a key is a text; found \(node.kind)"))
                frames[last].key = ("", node.mark, false)
                frames[last].dropsValue = true
            }
            return true
        }
        if frames[last].dropsValue {
            frames[last].dropsValue = false
        } else if key.isMerge {
            takeMerge(node)
        } else if let first = frames[last].seen[key.text] {
            complaints.append(
                ConfigurationComplaint(
                    at: key.mark, path: path, "is given twice, first in line \(first.line); keep one of them"))
        } else {
            frames[last].seen[key.text] = key.mark
            frames[last].pairs?.append(.init(key: key.text, keyMark: key.mark, value: node))
        }
        frames[last].key = nil
        return true
    }

    private mutating func takeMerge(_ node: ConfigurationNode) {
        let last = frames.count - 1
        switch node.content {
        case .map:
            frames[last].merges.append(node)
        case .list(let elements) where elements.allSatisfy(\.isMap):
            frames[last].merges.append(contentsOf: elements)
        default:
            complaints.append(
                ConfigurationComplaint(
                    at: node.mark, path: path, "'<<' takes a mapping or a list of mappings, found \(node.kind)"))
        }
    }

    /// A mapping's own pairs win over merged ones, earlier merged mappings over later ones.
    private static func merged(
        _ own: [ConfigurationNode.Pair], _ merges: [ConfigurationNode]
    ) -> [ConfigurationNode.Pair] {
        var result = own
        var taken = Set(own.map(\.key))
        for merge in merges {
            for pair in merge.pairs where taken.insert(pair.key).inserted { result.append(pair) }
        }
        return result
    }
}
