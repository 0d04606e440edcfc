import ClusterModel
import ConfigurationTree

extension ConfigurationReader {
    /// `host:port`, with a default port where there is one.
    func hostPort(_ key: String, defaultPort: Int? = nil) -> HostPort? {
        guard let text = string(key) else { return nil }
        guard let (host, port) = splitHostPort(key, text, defaultPort: defaultPort) else { return nil }
        return HostPort(host: host, port: port)
    }

    /// Splits at the last colon and takes brackets off an IPv6 address.
    func splitHostPort(_ key: String, _ text: String, defaultPort: Int?) -> (host: String, port: Int)? {
        var host = text[...]
        var port = defaultPort
        if let colon = text.lastIndex(of: ":"), !text.hasSuffix("]") {
            host = text[..<colon]
            let digits = text[text.index(after: colon)...]
            guard !digits.isEmpty, digits.allSatisfy({ $0.isASCII && $0.isNumber }), let number = Int(digits),
                (1...65535).contains(number)
            else {
                complain(key, "'\(digits)' is not a port; write host:port, the port from 1 to 65535")
                return nil
            }
            port = number
        }
        guard let port else {
            complain(key, "'\(text)' has no port; write host:port")
            return nil
        }
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        guard !host.contains(where: \.isWhitespace) else {
            complain(key, "a host name has no blanks; write host:port")
            return nil
        }
        return (String(host), port)
    }

    /// `{username:, password:}` or the old `user:password` text under `auth`.
    func credentials(_ key: String, oldKey: String? = nil) -> BasicCredentials? {
        if let oldKey, let text = string(oldKey) {
            guard let colon = text.firstIndex(of: ":") else {
                complain(oldKey, "is not user:password")
                return nil
            }
            return BasicCredentials(
                username: String(text[..<colon]), password: Secret(String(text[text.index(after: colon)...])))
        }
        guard has(key), let section = reader(for: key) else {
            allow(key)
            return nil
        }
        let username = section.string("username")
        let password = section.secret("password")
        if username == nil, password == nil { return nil }
        guard let username, let password else {
            let missing = username == nil ? "username" : "password"
            if !section.has(missing) { section.complainMissing(missing, "give both username and password, or neither") }
            return nil
        }
        if username.contains(":") { section.complain("username", "cannot contain a colon") }
        return BasicCredentials(username: username, password: password)
    }

    /// Options of a PostgreSQL program: a list of switches and single pairs, or a mapping.
    func options(
        _ key: String, forbidden: Set<String>, _ severity: ConfigurationComplaint.Severity, program: String
    ) -> [CommandOption]? {
        guard let value = node(key) else { return nil }
        var result: [CommandOption] = []
        func take(_ name: String, _ value: ConfigurationNode?, at mark: SourceMark, path: String) {
            let bare = name.hasPrefix("--") ? String(name.dropFirst(2)) : name
            let plain = bare.prefix { $0 != "=" && !$0.isWhitespace }
            if forbidden.contains(String(plain)) {
                complain(
                    severity, at: mark, path: path,
                    "option '\(plain)' of \(program) is set by the agent and cannot be given"
                        + (severity == .warning ? "; ignored" : ""))
                return
            }
            guard let value, !value.isNull else {
                result.append(CommandOption(name: bare))
                return
            }
            guard let text = value.text else {
                complain(at: value.mark, path: path, "expected a text, found \(value.kind)")
                return
            }
            result.append(CommandOption(name: bare, value: text))
        }
        switch value.content {
        case .map(let pairs):
            for pair in pairs {
                // A Boolean in a mapping switches an option on or leaves it out.
                let path = "\(path(of: key)).\(pair.key)"
                switch pair.value.resolved {
                case .bool(true): take(pair.key, nil, at: pair.keyMark, path: path)
                case .bool(false): continue
                default: take(pair.key, pair.value, at: pair.keyMark, path: path)
                }
            }
        case .list(let elements):
            for (index, element) in elements.enumerated() {
                let path = "\(path(of: key))[\(index)]"
                switch element.content {
                case .scalar(let text, _):
                    take(text, nil, at: element.mark, path: path)
                case .map(let pairs) where pairs.count == 1:
                    take(pairs[0].key, pairs[0].value, at: pairs[0].keyMark, path: path)
                case .map, .list, .null:
                    complain(
                        at: element.mark, path: path,
                        "expected an option or one 'option: value', found \(element.kind)")
                }
            }
        case .scalar, .null:
            complain(key, "expected a list of options, found \(value.kind)")
            return nil
        }
        return result
    }

    /// A mapping of names to texts.
    func namedTexts(_ key: String) -> [NamedText]? {
        stringMap(key)?.map { NamedText(name: $0.key, value: $0.value) }
    }

    /// PostgreSQL settings, with Booleans as on and off.
    func parameters(_ key: String) -> ParameterList? {
        guard let pairs = map(key) else { return nil }
        var list = ParameterList()
        for pair in pairs where !pair.value.isNull {
            let path = "\(path(of: key)).\(pair.key)"
            guard Self.isParameterName(pair.key) else {
                complain(at: pair.keyMark, path: path, "is not the name of a PostgreSQL setting")
                continue
            }
            guard let value = PostgresValue.text(of: pair.value) else {
                complain(
                    at: pair.value.mark, path: path,
                    "expected a single value, found \(pair.value.kind)"
                        + (pair.value.elements.isEmpty ? "" : "; a list in PostgreSQL is one text: 'a, b'"))
                continue
            }
            if value.contains(where: \.isNewline) {
                complain(at: pair.value.mark, path: path, "a setting is written on one line")
                continue
            }
            if list[pair.key] != nil {
                complain(.warning, at: pair.keyMark, path: path, "is given twice, in other case; the last one counts")
            }
            list[pair.key] = value
        }
        return list
    }

    private static func isParameterName(_ name: String) -> Bool {
        guard let first = name.utf8.first, first == UInt8(ascii: "_") || isLetter(first) else { return false }
        return name.utf8.allSatisfy {
            isLetter($0) || (48...57).contains($0) || "_.$".utf8.contains($0)
        }
    }

    private static func isLetter(_ byte: UInt8) -> Bool {
        byte >= 0x80 || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 32)
    }
}

/// PostgreSQL's notation of values.
enum PostgresValue {
    /// A scalar as PostgreSQL's configuration takes it; nil for lists and mappings.
    static func text(of node: ConfigurationNode) -> String? {
        guard let text = node.text else { return nil }
        switch node.resolved {
        case .bool(let value): return value ? "on" : "off"
        // YAML knows numbers that PostgreSQL does not: 1_000, 0b11.
        case .integer(let value) where text.contains("_") || text.contains("b"): return String(value)
        default: return text
        }
    }
}
