import AgentConfiguration
import ClusterModel
import ConfigurationTree
import Logging
import PluginInterfaces

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// Reading configurations for commands: less strict than for the agent, for a command needs little of it.
enum ConfigurationReading {
    /// The tree that names a cluster: an agent's configuration, merged with the environment as the agent does; or, when
    /// it is no whole one (an operator's file has no PostgreSQL), the file as it is.
    static func tree(_ path: String, plugins: PluginRegistry) throws -> ConfigurationNode {
        let loaded = ConfigurationLoader.load(
            path: path, environment: environmentVariables(), knownStores: plugins.stores.map(\.section))
        if let settings = loaded.settings { return settings.tree }
        return try parse(try CommandEnvironment.current.readFile(path), source: path)
    }

    private static func parse(_ text: String, source: String) throws -> ConfigurationNode {
        do {
            return try YAMLParser.parse(text: text, source: source)
        } catch {
            throw CommandFailure(error.description)
        }
    }

    static func value(_ text: String, source: String) throws -> JSONValue {
        try parse(text, source: source).json
    }

    /// Everything that is wrong with an agent's configuration, the environment's part included.
    static func validate(_ path: String, host: Bool, plugins: PluginRegistry) -> [ConfigurationComplaint] {
        let loaded = ConfigurationLoader.load(
            path: path, environment: environmentVariables(), knownStores: plugins.stores.map(\.section))
        var complaints = loaded.complaints
        if let store = loaded.settings?.store, let plugin = plugins.store(section: store.name) {
            complaints += plugin.check(store.node)
        }
        if host, let settings = loaded.settings { complaints += DeploymentCheck.run(settings) }
        return complaints
    }

    /// The one store section of a file, checked by its plugin.
    static func storeSection(_ path: String, plugins: PluginRegistry) throws -> (name: String, section: JSONValue) {
        let loaded = ConfigurationLoader.loadForOperator(
            path: path, environment: [:], knownStores: plugins.stores.map(\.section))
        guard let settings = loaded.settings else {
            let errors = loaded.complaints.filter { $0.severity == .error }
            throw CommandFailure(errors.map(\.description).joined(separator: "\n"))
        }
        guard let factory = plugins.store(section: settings.store.name) else {
            throw CommandFailure("\(path): no plugin owns the store section '\(settings.store.name)'")
        }
        let errors = factory.check(settings.store.node).filter { $0.severity == .error }
        if !errors.isEmpty { throw CommandFailure(errors.map(\.description).joined(separator: "\n")) }
        return (settings.store.name, settings.store.node.json)
    }

    /// All that `matriarch doctor` judges.
    static func examine(_ path: String, within limit: Duration, plugins: PluginRegistry) async -> DoctorFacts {
        let loaded = ConfigurationLoader.load(
            path: path, environment: environmentVariables(), knownStores: plugins.stores.map(\.section))
        var facts = DoctorFacts(complaints: loaded.complaints, settings: loaded.settings)
        guard let settings = loaded.settings else { return facts }
        if let plugin = plugins.store(section: settings.store.name) {
            facts.complaints += plugin.check(settings.store.node)
        }
        facts.host = await HostLook.facts(settings, configuration: path)
        if facts.complaints.containsError { return facts }
        do {
            let opened = try openStore(path, plugins: plugins)
            facts.store = await StoreLook.facts(opened, settings, within: limit)
            await opened.store.close()
        } catch {
            facts.store = StoreFacts(section: settings.store.name, error: "\(error)")
        }
        return facts
    }

    /// Opens the store that a configuration file names, an agent's or an operator's.
    static func openStore(_ path: String, plugins: PluginRegistry) throws -> OpenedStore {
        let loaded = ConfigurationLoader.loadForOperator(
            path: path, environment: environmentVariables(), knownStores: plugins.stores.map(\.section))
        guard let settings = loaded.settings else {
            let errors = loaded.complaints.filter { $0.severity == .error }
            throw CommandFailure(errors.map(\.description).joined(separator: "\n"))
        }
        guard let scope = settings.scope else { throw CommandFailure("\(path): scope: missing; the cluster's name") }
        guard let factory = plugins.store(section: settings.store.name) else {
            throw CommandFailure("\(path): no plugin owns the store section '\(settings.store.name)'")
        }
        let root = "/" + (settings.namespace + "/" + scope).split(separator: "/").joined(separator: "/") + "/"
        let context = PluginContext(
            root: root, memberName: settings.name ?? "operator", scope: scope, stateDirectory: "/nonexistent",
            retryTimeout: .seconds(10), logger: Logger(label: "matriarch") { _ in SwiftLogNoOpLogHandler() })
        do {
            return OpenedStore(
                store: try factory.makeStore(settings.store.node, context), section: settings.store.name, scope: scope,
                root: root)
        } catch {
            throw CommandFailure("\(error)")
        }
    }

    private static func environmentVariables() -> [String: String] {
        var result: [String: String] = [:]
        var entry = environ
        while let pointer = entry.pointee {
            let text = String(cString: pointer)
            if let equals = text.firstIndex(of: "=") {
                result[String(text[..<equals])] = String(text[text.index(after: equals)...])
            }
            entry += 1
        }
        return result
    }
}
