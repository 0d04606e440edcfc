public import ArgumentParser

/// Which cluster a command is for, and how its members are reached.
public struct ConnectionOptions: ParsableArguments {
    @Option(
        name: [.customShort("c"), .customLong("config"), .customLong("config-file")],
        help: ArgumentHelp(
            "The YAML file of any agent of the cluster; names the cluster, a member's API and the credentials.",
            discussion: """
                Without it: MATRIARCH_CONFIG_FILE, PATRONICTL_CONFIG_FILE, then \
                ~/.config/patroni/patronictl.yaml.
                """, valueName: "file"))
    var config: String?

    @Option(
        name: .customLong("url"),
        help: ArgumentHelp(
            "The REST API of any member, such as http://10.0.0.1:8008; several with commas, the first to answer serves.",
            discussion: "Without it: MATRIARCH_URL, then the address in the file.", valueName: "url"))
    var urls: [String] = []

    @Flag(name: [.customShort("k"), .customLong("insecure")], help: "Do not verify the members' certificates.")
    var insecure = false

    public init() {}

    /// Reads the file, the variables and the options, the latter winning.
    func resolve() throws -> ControlConfiguration {
        let environment = CommandEnvironment.current
        var configuration = ControlConfiguration()
        let given = config ?? variable("MATRIARCH_CONFIG_FILE") ?? variable("PATRONICTL_CONFIG_FILE")
        if let given {
            guard environment.fileExists(given) else { throw CommandFailure("cannot read \(given): no such file") }
            configuration = ControlConfiguration(node: try environment.readConfiguration(given))
        } else if let home = variable("HOME") {
            let path = "\(home)/.config/patroni/patronictl.yaml"
            if environment.fileExists(path) {
                configuration = ControlConfiguration(node: try environment.readConfiguration(path))
            }
        }
        let texts = urls.isEmpty ? [variable("MATRIARCH_URL") ?? ""] : urls
        let list = texts.flatMap { $0.split(separator: ",") }.map(\.trimmed).filter { !$0.isEmpty }
        if !list.isEmpty {
            configuration.bases = try list.map { text in
                guard let base = ControlConfiguration.base(of: text) else {
                    throw CommandFailure("--url: '\(text)' is no address such as http://10.0.0.1:8008", status: 2)
                }
                return base
            }
        }
        if insecure { configuration.isInsecure = true }
        guard !configuration.bases.isEmpty else {
            let why =
                given.map { "\($0) has no restapi.connect_address, so no member is known" }
                ?? "no cluster is named"
            throw CommandFailure(
                why + ": give an agent's file with -c FILE, or any member's REST API with --url http://host:port",
                status: 2)
        }
        return configuration
    }

    /// Whether a cluster was named at all (`version` works without).
    var isGiven: Bool { config != nil || !urls.isEmpty }

    private func variable(_ name: String) -> String? {
        CommandEnvironment.current.variable(name).flatMap { $0.isEmpty ? nil : $0 }
    }
}
