public import ArgumentParser
import ClusterModel

/// `matriarch show-config`: the dynamic configuration.
public struct ShowConfigCommand: AsyncParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "show-config",
        abstract: "Show the dynamic configuration, which all members share through the store.",
        discussion: "What a member has in its own file is not in it; see contents of that file.")

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: ArgumentHelp("The cluster's name; may be left out.", valueName: "cluster"))
    var cluster: String?

    @Option(name: .shortAndLong, help: "How to print: yaml or json.")
    var format = OutputFormat.yaml

    public init() {}

    public mutating func run() async throws {
        let options = self
        try await ClusterAccess.with(connection) { access in
            let report = try await access.report()
            try report.check(options.cluster)
            let document = JSONValue.object(try await access.dynamicConfiguration(report))
            CommandEnvironment.current.write(
                options.format == .json ? document.serializedPretty() + "\n" : YAMLText.write(document))
        }
    }
}

extension ClusterAccess {
    func dynamicConfiguration(_ report: ClusterReport) async throws -> JSONObject {
        let answer = try await first("GET", of: report.leaderFirst, path: "/config")
        guard answer.status == 200, let object = answer.json?.object else {
            throw CommandFailure("the configuration could not be read: \(answer.message)")
        }
        return object
    }
}

/// `matriarch edit-config`: changes the dynamic configuration.
public struct EditConfigCommand: AsyncParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "edit-config",
        abstract: "Change the dynamic configuration, which all members share through the store.",
        discussion: """
            Without options it opens $EDITOR. Shows the difference and asks before anything is written; a change \
            that somebody else made meanwhile is not overwritten, unless by --replace.

            Examples:
              matriarch edit-config -c /etc/matriarch.yml -s ttl=10 -s loop_wait=2
              matriarch edit-config -c /etc/matriarch.yml -p max_connections=200
              matriarch edit-config -c /etc/matriarch.yml -s maximum_lag_on_failover=null
              matriarch edit-config -c /etc/matriarch.yml --replace new.yml --force
            """)

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: ArgumentHelp("The cluster's name; may be left out.", valueName: "cluster"))
    var cluster: String?

    @Option(
        name: [.customShort("s"), .customLong("set")],
        help: ArgumentHelp(
            "Set a value, the key with dots between its parts, the value in YAML; null removes the key.",
            valueName: "key=value"))
    var values: [String] = []

    @Option(
        name: [.customShort("p"), .customLong("pg")],
        help: ArgumentHelp("Set a parameter of PostgreSQL: -s postgresql.parameters.KEY.", valueName: "key=value"))
    var parameters: [String] = []

    @Option(
        name: .customLong("apply"),
        help: ArgumentHelp("Merge a YAML file (- for standard input) into the configuration.", valueName: "file"))
    var apply: String?

    @Option(
        name: .customLong("replace"),
        help: ArgumentHelp("Put a YAML file (- for standard input) in the configuration's place.", valueName: "file"))
    var replace: String?

    @Flag(name: .shortAndLong, help: "Do not show the difference.")
    var quiet = false

    @Flag(help: "Do not ask.")
    var force = false

    public init() {}

    public func validate() throws {
        if replace != nil, apply != nil || !values.isEmpty || !parameters.isEmpty {
            throw ValidationError("--replace goes with none of --apply, --set and --pg")
        }
        if !force, apply == "-" || replace == "-" {
            throw ValidationError("standard input holds the configuration, so nobody can be asked: add --force")
        }
    }

    public mutating func run() async throws {
        let options = self
        try await ClusterAccess.with(connection) { try await options.run($0) }
    }

    private func run(_ access: ClusterAccess) async throws {
        let environment = CommandEnvironment.current
        let report = try await access.report()
        try report.check(cluster)
        let before = try await access.dynamicConfiguration(report)
        let (after, isReplacement) = try change(before, environment)
        let difference = LineDifference.unified(
            YAMLText.write(.object(before)), YAMLText.write(.object(after)))
        if difference.isEmpty {
            environment.writeLine("Not changed")
            return
        }
        if !quiet { environment.write(difference.joined(separator: "\n") + "\n") }
        if !force { try Prompt.confirm("Apply these changes?") }
        let answer = try await access.first(
            isReplacement ? "PUT" : "PATCH", of: report.leaderFirst, path: "/config",
            body: .object(isReplacement ? after : Self.patch(from: before, to: after)))
        switch answer.status {
        case 200: environment.writeLine("Configuration changed")
        case 409: throw CommandFailure("somebody else changed the configuration meanwhile; look again, and repeat")
        default: throw CommandFailure("\(answer.message) (HTTP status \(answer.status))")
        }
    }

    private func change(_ before: JSONObject, _ environment: CommandEnvironment) throws -> (JSONObject, Bool) {
        func mapping(_ text: String, _ source: String) throws -> JSONObject {
            guard let object = try environment.readYAML(text, source).object else {
                throw CommandFailure("\(source): a configuration is a mapping of keys to values")
            }
            return object
        }
        if let replace { return (try mapping(environment.readFile(replace), replace), true) }
        var after = before
        if let apply { after = after.merging(try mapping(environment.readFile(apply), apply)) }
        for (option, prefix, texts) in [("--set", "", values), ("--pg", "postgresql.parameters.", parameters)] {
            for text in texts {
                guard let equals = text.firstIndex(of: "="), equals != text.startIndex else {
                    throw CommandFailure("\(option): '\(text)' is not key=value", status: 2)
                }
                // A parameter's name may contain a dot itself (pg_stat_statements.max).
                let name = String(text[..<equals]).trimmed
                let path =
                    prefix.isEmpty
                    ? name.split(separator: ".").map(String.init) : ["postgresql", "parameters", name]
                let value = try environment.readYAML(String(text[text.index(after: equals)...]), "\(option) \(name)")
                var patch = value
                for key in path.reversed() { patch = .object(JSONObject([(key: key, value: patch)])) }
                if let object = patch.object { after = after.merging(object) }
            }
        }
        if apply == nil, values.isEmpty, parameters.isEmpty {
            guard let edited = try environment.edit(YAMLText.write(.object(before))) else { return (before, false) }
            after = try mapping(edited, "the edited configuration")
        }
        return (after, false)
    }

    /// What turns one document into the other when it is merged: what went is null.
    static func patch(from before: JSONObject, to after: JSONObject) -> JSONObject {
        var patch = JSONObject()
        for key in before.keys where after[key] == nil { patch[key] = .null }
        for (key, value) in after.members {
            guard let old = before[key] else {
                patch[key] = value
                continue
            }
            if old == value { continue }
            if let left = old.object, let right = value.object {
                patch[key] = .object(self.patch(from: left, to: right))
            } else {
                patch[key] = value
            }
        }
        return patch
    }
}
