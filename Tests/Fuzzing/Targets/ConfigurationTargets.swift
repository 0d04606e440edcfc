import ClusterModel

@testable import AgentConfiguration
@testable import ConfigurationTree

extension FuzzTarget {
    /// The YAML reader by itself.
    static let yaml = FuzzTarget("yaml", reads: "YAML texts: files, PATRONI_CONFIGURATION, edited configurations") {
        bytes in
        let root: ConfigurationNode
        do throws(ConfigurationComplaints) {
            root = try YAMLParser.parse(bytes: bytes, source: "c.yml")
        } catch {
            try require(!error.complaints.isEmpty, "refused without a complaint")
            let lines = lineCount(bytes)
            for complaint in error.complaints { try check(complaint, lines: lines) }
            return
        }
        try check(root, depth: 0, lines: lineCount(bytes))
        let size = textSize(root)
        try require(size <= YAMLParser.maximumText, "\(bytes.count) bytes became \(size) bytes of text")
        _ = root.json.serialized()
        _ = root.redacted
        _ = root.merging(root)
    }

    /// A whole agent's file.
    static let settings = FuzzTarget("settings", reads: "an agent's YAML file as settings", maximumLength: 4096) {
        bytes in
        try load(text(bytes), [:])
    }

    /// Variables as `NAME=value` lines over a good file; a value ends with its line.
    static let environment = FuzzTarget("environment", reads: "PATRONI_* and MATRIARCH_* variables") { bytes in
        var variables: [String: String] = [:]
        for line in bytes.split(separator: 10) {
            let parts = line.split(separator: UInt8(ascii: "="), maxSplits: 1)
            // `\n` in a value stands for a line end.
            if parts.count == 2 { variables[text(parts[0])] = text(parts[1]).replacing("\\n", with: "\n") }
        }
        try load(good, variables)
        let (settings, complaints, _) = ConfigurationLoader.load(path: nil, environment: variables, knownStores: stores)
        try require(settings != nil || complaints.containsError, "refused without an error")
    }

    /// The cluster's dynamic configuration, from the store.
    static let dynamic = FuzzTarget("dynamic", reads: "the dynamic configuration in the store (`config`)") { bytes in
        guard let value = try? JSONValue.parse(bytes) else { return }
        let (settings, complaints) = DynamicSettings.decode(value, source: "key config")
        for complaint in complaints { try check(complaint) }
        guard let settings else {
            try require(complaints.containsError, "refused without an error")
            return
        }
        guard
            let local = ConfigurationLoader.load(text: good, source: "c", environment: [:], knownStores: stores)
                .settings
        else { throw FuzzFinding("the good file is not good") }
        for allPeersOurs in [true, false] {
            let (effective, found) = ConfigurationLoader.effective(
                local: local, dynamic: settings, allPeersOurs: allPeersOurs)
            for complaint in found { try check(complaint) }
            let timing = effective.timing
            try require(
                timing.loopWait > .zero && timing.retryTimeout > .zero
                    && timing.loopWait + timing.retryTimeout * 2 <= timing.ttl, "impossible timing \(timing)")
            for parameter in effective.postgresql.parameters {
                try require(!parameter.value.utf8.contains(10), "a setting of two lines: \(parameter)")
            }
        }
        try require(settings.document == value.object, "the document is not kept")
    }

    /// Single values: sizes, times, Booleans, lists, addresses.
    static let values = FuzzTarget(
        "values", reads: "value texts: sizes, durations, Booleans, lists", maximumLength: 256
    ) {
        bytes in
        let text = text(bytes)
        for unit in [PostgresUnit.bytes, .kilobytes, .megabytes, .milliseconds, .seconds] {
            if let number = ValueText.integer(text, in: unit) {
                try require(ValueText.integer(String(number), in: unit) == number, "\(number) is not read again")
            }
        }
        if let number = ValueText.integer(text) {
            try require(ValueText.integer(String(number)) == number, "\(number) is not read again")
        }
        if let duration = ValueText.duration(text) {
            let (seconds, atto) = duration.components
            let (whole, isTooLong) = seconds.multipliedReportingOverflow(by: 1_000_000)
            if !isTooLong {
                let again = ValueText.duration("\(whole + atto / 1_000_000_000_000)us")
                try require(again == duration, "\(duration) is read again as \(String(describing: again))")
            }
        }
        _ = PostgresUnit(text)
        if let elements = ListText.elements(text) {
            let written = elements.map { "'\(replacing("'", in: $0, by: "''"))'" }.joined(separator: ",")
            try require(ListText.elements(written) == elements, "\(elements) is not read again")
        }
        _ = NearestName.of(text, among: ["retry_timeout", "loop_wait", "ttl"])
        let scalar = ConfigurationNode(.scalar(text: text, isPlain: true), at: SourceMark(source: "v"))
        if case .number(let number)? = scalar.resolved {
            try require(number.isFinite, "a number that is none")
        }
        let reader = ConfigurationReader(
            ConfigurationNode(.map([.init(key: "k", keyMark: scalar.mark, value: scalar)]), at: scalar.mark))
        _ = reader.hostPort("k", defaultPort: 5432)
        _ = reader.parameters("k")
        _ = reader.lines("k")
        _ = reader.options("k", forbidden: ["x"], .error, program: "p")
        for complaint in reader.finish() { try check(complaint) }
    }

    static let stores = ["zookeeper", "embedded"]

    /// The least that is a configuration.
    static let good = """
        scope: demo
        name: pg1
        restapi: {listen: 127.0.0.1:8008}
        zookeeper: {hosts: [127.0.0.1:2181]}
        postgresql:
          listen: 127.0.0.1:5433
          data_dir: /srv/pg1
          authentication: {replication: {username: replicator, password: rep-pass}}
        """

    private static func load(_ text: String, _ variables: [String: String]) throws {
        let loaded = ConfigurationLoader.load(
            text: text, source: "c.yml", environment: variables, knownStores: stores)
        for complaint in loaded.complaints { try check(complaint) }
        guard let settings = loaded.settings else {
            try require(loaded.complaints.containsError, "refused without an error")
            return
        }
        try require(!loaded.complaints.containsError, "taken in spite of an error")
        try require(!settings.name.isEmpty && !settings.scope.isEmpty, "settings without a name")
        for parameter in settings.postgresql.parameters {
            try require(!parameter.value.utf8.contains(10), "a setting of two lines: \(parameter)")
        }
        // What is no secret may be shown: then no secret must be in it.
        let shown = "\(settings.tree.redacted.json.serialized())\n\(loaded.complaints)"
        for secret in secrets(settings.tree) where secret.utf8.count >= 12 {
            try require(!shown.contains(secret), "a secret is shown: \(secret)")
        }
        let (_, complaints) = ConfigurationLoader.reloading(settings, with: settings)
        try require(complaints.isEmpty, "reloading the same is a change: \(complaints)")
        _ = loadForOperator(text)
    }

    private static func loadForOperator(_ text: String) -> Bool {
        guard let tree = try? YAMLParser.parse(text: text, source: "c.yml") else { return false }
        return SettingsDecoding.decodeForOperator(tree, knownStores: stores, store: nil).settings != nil
    }

    /// The texts under keys named password that occur nowhere else in the tree.
    private static func secrets(_ node: ConfigurationNode) -> [String] {
        var secrets: Set<String> = []
        var others: Set<String> = []
        func walk(_ node: ConfigurationNode, isSecret: Bool) {
            if let text = node.text { if isSecret { secrets.insert(text) } else { others.insert(text) } }
            for element in node.elements { walk(element, isSecret: isSecret) }
            for pair in node.pairs {
                others.insert(pair.key)
                walk(pair.value, isSecret: isSecret || pair.key == "password")
            }
        }
        walk(node, isSecret: false)
        return secrets.filter { secret in !others.contains { $0.contains(secret) } }
    }

    /// A complaint names its place and says something.
    static func check(_ complaint: ConfigurationComplaint, lines: Int? = nil) throws {
        try require(!complaint.message.isEmpty, "a complaint without a word")
        try require(
            !complaint.mark.source.isEmpty || !complaint.path.isEmpty, "a complaint without a place: \(complaint)")
        try require("\(complaint)".utf8.count < 100_000, "a complaint of \("\(complaint)".utf8.count) bytes")
        guard let lines else { return }
        try require(
            (1...lines + 1).contains(complaint.mark.line) && complaint.mark.column >= 1,
            "a complaint outside of the text's \(lines) lines: \(complaint)")
    }

    private static func lineCount(_ bytes: [UInt8]) -> Int {
        // Every break that YAML knows, for libyaml counts them all.
        text(bytes).unicodeScalars.reduce(1) {
            $0 + (["\n", "\r", "\u{85}", "\u{2028}", "\u{2029}"].contains($1) ? 1 : 0)
        }
    }

    private static func check(_ node: ConfigurationNode, depth: Int, lines: Int) throws {
        try require(depth <= YAMLParser.maximumDepth, "deeper than \(YAMLParser.maximumDepth)")
        try require((1...lines + 1).contains(node.mark.line), "\(node.mark) in a text of \(lines) lines")
        for element in node.elements { try check(element, depth: depth + 1, lines: lines) }
        try require(Set(node.pairs.map(\.key)).count == node.pairs.count, "a key twice in one mapping")
        for pair in node.pairs { try check(pair.value, depth: depth + 1, lines: lines) }
    }

    private static func textSize(_ node: ConfigurationNode) -> Int {
        (node.text?.utf8.count ?? 0) + node.elements.reduce(0) { $0 + textSize($1) }
            + node.pairs.reduce(0) { $0 + $1.key.utf8.count + textSize($1.value) }
    }
}
