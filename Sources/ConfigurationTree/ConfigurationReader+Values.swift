extension ConfigurationReader {
    // MARK: Texts

    /// A text; a number or a Boolean counts as the text it is written with. Nil when absent, null or no text.
    public func string(_ key: String, allowEmpty: Bool = false) -> String? {
        guard let text = scalar(key, expecting: "a text") else { return nil }
        if text.isEmpty, !allowEmpty {
            complain(key, "is empty; give it a value or remove the key")
            return nil
        }
        return text
    }

    /// A text, or the default when it is absent or wrong.
    public func string(_ key: String, default value: String, allowEmpty: Bool = false) -> String {
        string(key, allowEmpty: allowEmpty) ?? value
    }

    /// A text that must be there; complains when it is not, and is then empty.
    public func requiredString(_ key: String, _ advice: String = "") -> String {
        guard has(key) else {
            allow(key)
            complainMissing(key, advice)
            return ""
        }
        return string(key) ?? ""
    }

    /// A password or the like: no complaint ever quotes it.
    public func secret(_ key: String) -> Secret? {
        scalar(key, expecting: "a text").map(Secret.init)
    }

    /// One of a few words, in any case.
    public func choice<Value>(_ key: String, _ choices: KeyValuePairs<String, Value>) -> Value? {
        guard let text = scalar(key, expecting: "one of \(Self.listed(choices.map(\.key)))") else { return nil }
        let wanted = text.lowercased()
        if let found = choices.first(where: { $0.key.lowercased() == wanted }) { return found.value }
        var message = "'\(Self.shown(text))' is not one of \(Self.listed(choices.map(\.key)))"
        if let nearest = NearestName.of(text, among: choices.map(\.key)) { message += "; did you mean '\(nearest)'?" }
        complain(key, message)
        return nil
    }

    // MARK: Booleans, numbers, durations

    /// `on true yes 1` or `off false no 0`.
    public func bool(_ key: String) -> Bool? {
        guard let text = scalar(key, expecting: "a Boolean (true or false)") else { return nil }
        guard let value = ValueText.boolean(text) else {
            complain(key, "'\(Self.shown(text))' is not a Boolean; write true or false")
            return nil
        }
        return value
    }

    /// `on true yes 1` or `off false no 0`; the default when absent or wrong.
    public func bool(_ key: String, default value: Bool) -> Bool {
        bool(key) ?? value
    }

    /// A whole number: decimal, hexadecimal or octal; with a unit where one is given for the setting.
    public func int(_ key: String, in range: ClosedRange<Int>? = nil, unit: PostgresUnit? = nil) -> Int? {
        guard let text = scalar(key, expecting: "a whole number") else { return nil }
        guard let value = unit.map({ ValueText.integer(text, in: $0) }) ?? ValueText.integer(text) else {
            complain(key, "'\(Self.shown(text))' is not a whole number")
            return nil
        }
        if let range, !range.contains(value) {
            complain(key, "\(value) is out of range; allowed is \(Self.shown(range))")
            return nil
        }
        return value
    }

    /// A whole number; the default when absent or wrong.
    public func int(
        _ key: String, in range: ClosedRange<Int>? = nil, unit: PostgresUnit? = nil, default value: Int
    ) -> Int {
        int(key, in: range, unit: unit) ?? value
    }

    /// A length of time: a number of the default unit, or a number with its unit (us, ms, s, min, h, d).
    public func duration(
        _ key: String, defaultUnit: DurationUnit = .seconds, in range: ClosedRange<Duration>? = nil
    ) -> Duration? {
        guard let text = scalar(key, expecting: "a length of time") else { return nil }
        guard let value = ValueText.duration(text, defaultUnit: defaultUnit) else {
            complain(
                key,
                "'\(Self.shown(text))' is not a length of time; write a number, counted in \(defaultUnit.rawValue), "
                    + "or one with its unit: us, ms, s, min, h, d")
            return nil
        }
        if let range, !range.contains(value) {
            complain(key, "\(value) is out of range; allowed is \(range.lowerBound) to \(range.upperBound)")
            return nil
        }
        return value
    }

    /// A length of time; the default when absent or wrong.
    public func duration(
        _ key: String, defaultUnit: DurationUnit = .seconds, in range: ClosedRange<Duration>? = nil,
        default value: Duration
    ) -> Duration {
        duration(key, defaultUnit: defaultUnit, in: range) ?? value
    }

    // MARK: Lists and mappings

    /// A list of texts, written as a list or as one text (`a,b`, `'a','b'`, `[a, b]`). Nil when absent or wrong.
    public func stringList(_ key: String) -> [String]? {
        guard let value = node(key) else { return nil }
        switch value.content {
        case .scalar(let text, _):
            guard let elements = ListText.elements(text) else {
                complain(key, "a quote is not closed in this list")
                return nil
            }
            return elements
        case .list(let elements):
            var texts: [String] = []
            for (index, element) in elements.enumerated() {
                if let text = element.text {
                    texts.append(text)
                } else {
                    complain(
                        at: element.mark, path: "\(path(of: key))[\(index)]", "expected a text, found \(element.kind)")
                }
            }
            return texts.count == elements.count ? texts : nil
        case .map, .null:
            complain(key, "expected a list, found \(value.kind)")
            return nil
        }
    }

    /// Lines, written as a list of texts or as one text of several lines; blank lines of a text are dropped.
    public func lines(_ key: String) -> [String]? {
        guard let value = node(key) else { return nil }
        guard let text = value.text else {
            if case .list = value.content { return stringList(key) }
            complain(key, "expected a list of lines, found \(value.kind)")
            return nil
        }
        return text.split(whereSeparator: \.isNewline).map(String.init).filter { !$0.allSatisfy(\.isWhitespace) }
    }

    /// The elements of a list. Nil when absent or no list.
    public func list(_ key: String) -> [ConfigurationNode]? {
        guard let value = node(key) else { return nil }
        guard case .list(let elements) = value.content else {
            complain(key, "expected a list, found \(value.kind)")
            return nil
        }
        return elements
    }

    /// The pairs of a mapping whose keys are not known beforehand. Nil when absent or no mapping.
    public func map(_ key: String) -> [ConfigurationNode.Pair]? {
        guard let value = node(key) else { return nil }
        guard case .map(let pairs) = value.content else {
            complain(key, "expected a mapping (name: value), found \(value.kind)")
            return nil
        }
        return pairs
    }

    /// A mapping from names to texts, in order. Nil when absent or wrong.
    public func stringMap(_ key: String) -> [(key: String, value: String)]? {
        guard let pairs = map(key) else { return nil }
        var result: [(key: String, value: String)] = []
        for pair in pairs where !pair.value.isNull {
            if let text = pair.value.text {
                result.append((pair.key, text))
            } else {
                complain(
                    at: pair.value.mark, path: "\(path(of: key)).\(pair.key)",
                    "expected a text, found \(pair.value.kind)")
            }
        }
        return result
    }

    // MARK: What these have in common

    /// A scalar's text; complains of lists and mappings.
    private func scalar(_ key: String, expecting expected: String) -> String? {
        guard let value = node(key) else { return nil }
        guard let text = value.text else {
            complain(key, "expected \(expected), found \(value.kind)")
            return nil
        }
        // The rest of such a text would be lost wherever C reads it.
        guard !text.utf8.contains(0) else {
            complain(key, "contains a NUL character")
            return nil
        }
        return text
    }

    /// Complains that a key is missing.
    public func complainMissing(_ key: String, _ advice: String = "") {
        complain(key, "missing" + (advice.isEmpty ? "" : "; \(advice)"))
    }

    private static func listed(_ names: [String]) -> String {
        guard let last = names.last, names.count > 1 else { return names.joined() }
        return names.dropLast().joined(separator: ", ") + " or " + last
    }

    /// A value as a complaint quotes it: short, on one line.
    private static func shown(_ text: String) -> String {
        let line = text.prefix(40).map { $0.isNewline ? " " : String($0) }.joined()
        return text.count > 40 ? line + "…" : line
    }

    private static func shown(_ range: ClosedRange<Int>) -> String {
        switch (range.lowerBound, range.upperBound) {
        case (_, .max): "\(range.lowerBound) and more"
        case (.min, _): "up to \(range.upperBound)"
        default: "\(range.lowerBound) to \(range.upperBound)"
        }
    }
}
