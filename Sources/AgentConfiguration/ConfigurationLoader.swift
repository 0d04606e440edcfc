public import ConfigurationTree

/// Reads, merges and checks the configuration. Blocking file reads: not for the cooperative pool.
public enum ConfigurationLoader {
    /// What a loading brought: no settings when one of the complaints is an error. The names of the variables that
    /// were ours are for the runtime to take out of the environment.
    public typealias Loaded = (
        settings: Settings?, complaints: [ConfigurationComplaint], consumedEnvironment: Set<String>
    )
    /// The same for an operator's command.
    public typealias LoadedForOperator = (
        settings: OperatorSettings?, complaints: [ConfigurationComplaint], consumedEnvironment: Set<String>
    )

    /// Loads an agent's configuration and returns all complaints at once.
    ///
    /// `path` is a YAML file or a directory of them; `PATRONI_*` and `MATRIARCH_*` are merged over it. Without a path
    /// that exists, `MATRIARCH_CONFIGURATION` or `PATRONI_CONFIGURATION` is the whole YAML text and the other
    /// variables are ignored; without that, the variables alone are the configuration.
    /// - Parameter knownStores: the sections of the store plugins there are, in the order complaints list them.
    public static func load(path: String?, environment: [String: String], knownStores: [String]) -> Loaded {
        checked(merge(path: path, environment: environment, knownStores: knownStores), knownStores)
    }

    /// Loads an agent's configuration from a text, with the environment's variables over it.
    ///
    /// `source` is what complaints call the text.
    public static func load(
        text: String, source: String, environment: [String: String], knownStores: [String]
    ) -> Loaded {
        let variables = EnvironmentConfiguration.read(environment, stores: allStores(knownStores))
        var merged = Merged(complaints: variables.complaints, consumed: variables.consumed)
        do {
            merged.tree = over(try YAMLParser.parse(text: text, source: source), variables)
        } catch {
            merged.complaints += error.complaints
        }
        return checked(merged, knownStores)
    }

    private static func checked(_ merged: Merged, _ knownStores: [String]) -> Loaded {
        var complaints = merged.complaints
        guard let tree = merged.tree else { return (nil, complaints.inReadingOrder(), merged.consumed) }
        let (settings, found) = SettingsDecoding.decode(tree, knownStores: knownStores)
        complaints += found
        return (complaints.containsError ? nil : settings, complaints.inReadingOrder(), merged.consumed)
    }

    /// What a running agent takes over from newly loaded settings; a warning for each change that needs a restart.
    ///
    /// Scope, name, namespace, the store, the directories, thread pools and the bootstrap section stay what they were.
    /// - Parameter storeIsTaken: the running store took over its section, which then is no such change.
    public static func reloading(
        _ running: Settings, with newer: Settings, storeIsTaken: Bool = false
    ) -> (settings: Settings, complaints: [ConfigurationComplaint]) {
        var complaints: [ConfigurationComplaint] = []
        var tree = newer.tree
        let isSameStore = newer.store.name == running.store.name
        for path in fixed + (isSameStore && storeIsTaken ? [] : [[running.store.name]])
            + (isSameStore ? [] : [[newer.store.name]])
        {
            let old = node(at: path[...], in: running.tree)
            let new = node(at: path[...], in: newer.tree)
            guard old?.json != new?.json else { continue }
            let holder = new ?? node(at: path.dropLast(), in: newer.tree) ?? newer.tree
            complaints.append(
                ConfigurationComplaint(
                    .warning, at: holder.mark, path: path.joined(separator: "."),
                    "cannot change while the agent runs; restart the agent for it"))
            tree = replacing(path[...], in: tree, with: old)
        }
        guard !complaints.isEmpty else { return (newer, []) }
        // Both were good, but the mixture need not be.
        let (mixed, found) = SettingsDecoding.decode(tree, knownStores: [running.store.name])
        guard let mixed else { return (running, complaints + found.filter { $0.severity == .error }) }
        return (mixed, complaints.inReadingOrder())
    }

    private static let fixed: [[String]] = [
        ["scope"], ["name"], ["namespace"], ["state_dir"], ["guard"], ["bootstrap"], ["thread_pool_size"],
        ["thread_stack_size"], ["restapi", "request_queue_size"], ["restapi", "thread_pool_size"],
        ["postgresql", "data_dir"], ["postgresql", "config_dir"], ["postgresql", "bin_dir"],
        ["postgresql", "bin_name"],
        ["postgresql", "pgpass"],
    ]

    private static func node(at path: ArraySlice<String>, in tree: ConfigurationNode) -> ConfigurationNode? {
        guard let key = path.first else { return tree }
        return tree[key].flatMap { node(at: path.dropFirst(), in: $0) }
    }

    private static func replacing(
        _ path: ArraySlice<String>, in tree: ConfigurationNode, with value: ConfigurationNode?
    ) -> ConfigurationNode {
        guard let key = path.first else { return tree }
        if path.count == 1 { return tree.setting(key, to: value) }
        let inner = tree[key] ?? ConfigurationNode(.map([]), at: tree.mark)
        return tree.setting(key, to: replacing(path.dropFirst(), in: inner, with: value))
    }

    /// Loads what an operator's command needs: scope, namespace, store, `ctl`. Nothing else is looked at.
    /// - Parameter store: the store given on the command line, which then need not be in the file.
    public static func loadForOperator(
        path: String?, environment: [String: String], knownStores: [String], store: StoreSection? = nil
    ) -> LoadedForOperator {
        var merged = merge(path: path, environment: environment, knownStores: knownStores, mayBeEmpty: store != nil)
        guard let tree = merged.tree else { return (nil, merged.complaints.inReadingOrder(), merged.consumed) }
        let (settings, complaints) = SettingsDecoding.decodeForOperator(tree, knownStores: knownStores, store: store)
        merged.complaints += complaints
        return (
            merged.complaints.containsError ? nil : settings, merged.complaints.inReadingOrder(), merged.consumed
        )
    }

    /// What holds when the dynamic configuration meets the local one; warnings for all that is not as asked for.
    ///
    /// `allPeersOurs` is false while a member lives whose value in the store lacks our field.
    public static func effective(
        local: Settings, dynamic: DynamicSettings, allPeersOurs: Bool
    ) -> (configuration: EffectiveConfiguration, complaints: [ConfigurationComplaint]) {
        var (timing, complaints) = dynamic.timing(allPeersOurs: allPeersOurs)
        let postgresql = merged(
            local: local.tree["postgresql"], dynamic: dynamic.postgresqlNode, settings: local.postgresql)
        let (controlled, warnings) = ControlledParameters.make(
            scope: local.scope, postgresql: local.postgresql, dynamic: dynamic.postgresqlNode)
        complaints += warnings
        return (
            EffectiveConfiguration(
                local: local, dynamic: dynamic, timing: timing, postgresql: postgresql, controlled: controlled,
                standbyCluster: dynamic.standbyCluster.flatMap { $0.isActive ? $0 : nil }), complaints
        )
    }

    /// `postgresql`: local keys replace dynamic ones wholesale; `parameters` merge by name.
    private static func merged(
        local: ConfigurationNode?, dynamic: ConfigurationNode?, settings: PostgresSettings
    ) -> PostgresSettings {
        let mark = local?.mark ?? dynamic?.mark ?? SourceMark(source: "built-in defaults")
        var pairs = (dynamic?.pairs ?? []).filter { !PostgresDecoding.localKeys.contains($0.key) }
        var places: [String: Int] = [:]
        for (index, pair) in pairs.enumerated() { places[pair.key] = index }
        for pair in local?.pairs ?? []
        where pair.key != "use_slots" && pair.key != "parameters" && !pair.value.isNull {
            if let index = places[pair.key] {
                pairs[index].value = pair.value
            } else {
                pairs.append(pair)
            }
        }
        let union = ConfigurationNode(.map(pairs), at: mark)
        var result = PostgresDecoding.decode(ConfigurationReader(union), .effective)
        result.parameters = ParameterList(
            result.parameters.merging(settings.parameters).filter { !ControlledParameters.isControlled($0.name) })
        return result
    }

    private struct Merged {
        /// Nil when nothing could be read.
        var tree: ConfigurationNode?
        var complaints: [ConfigurationComplaint] = []
        var consumed: Set<String> = []
    }

    private static func merge(
        path: String?, environment: [String: String], knownStores: [String], mayBeEmpty: Bool = false
    ) -> Merged {
        var merged = Merged()
        let variables = EnvironmentConfiguration.read(environment, stores: allStores(knownStores))
        merged.consumed = variables.consumed
        var file: ConfigurationNode?
        if let path {
            switch ConfigurationFiles.read(path) {
            case .tree(let node):
                file = node
            case .unreadable(let complaints):
                merged.complaints += complaints
                return merged
            case .missing:
                break
            }
        }
        func missing(_ severity: ConfigurationComplaint.Severity, _ consequence: String) {
            guard let path else { return }
            merged.complaints.append(
                ConfigurationComplaint(
                    severity, at: SourceMark(source: path), path: "", "no such file or directory; \(consequence)"))
        }
        if file == nil, let (name, text) = EnvironmentConfiguration.wholeText(in: environment) {
            missing(.warning, "the text of \(name) is used")
            do {
                merged.tree = try YAMLParser.parse(text: text, source: "environment variable \(name)")
            } catch {
                merged.complaints += error.complaints
            }
            return merged
        }
        merged.complaints += variables.complaints
        guard let file else {
            if variables.node.pairs.isEmpty {
                if path != nil {
                    missing(.error, "give an existing one, or configure by environment variables PATRONI_*")
                } else if !mayBeEmpty {
                    merged.complaints.append(
                        ConfigurationComplaint(
                            at: SourceMark(source: "configuration"), path: "",
                            "nothing is configured; name a YAML file, or set environment variables PATRONI_*"))
                }
                if mayBeEmpty, path == nil { merged.tree = variables.node }
                return merged
            }
            missing(.warning, "the environment variables alone are used")
            merged.tree = variables.node
            return merged
        }
        merged.tree = over(file, variables)
        return merged
    }

    /// The file with the variables over it. A file that is no mapping stays as it is, to be complained of.
    private static func over(_ file: ConfigurationNode, _ variables: EnvironmentConfiguration) -> ConfigurationNode {
        let base = file.isNull ? ConfigurationNode(.map([]), at: file.mark) : file
        return base.isMap ? base.merging(variables.node) : base
    }

    private static func allStores(_ knownStores: [String]) -> [String] {
        knownStores + SettingsDecoding.recognisedStores.filter { !knownStores.contains($0) }
    }
}
