import AgentConfiguration
import ClusterModel
import ConfigurationTree
import HighAvailability
import Logging

/// What the agent keeps of a migration to another store, until its configuration names that store: mode 0600, for a section
/// may hold passwords.
struct MigrationFile: Sendable {
    static let name = "migration"

    var id: String
    /// The new store's section.
    var section: StoreSection
    /// The section that the configuration had when the member was made ready: it is out of date once the migration is over.
    var from: JSONValue
    var isOver: Bool

    init(id: String, section: StoreSection, from: JSONValue, isOver: Bool = false) {
        self.id = id
        self.section = section
        self.from = from
        self.isOver = isOver
    }

    var bytes: [UInt8] {
        let value: JSONValue = [
            "id": .string(id), "store": .string(section.name), "section": section.node.json, "from": from,
            "over": .bool(isOver),
        ]
        return Array(value.serialized().utf8)
    }

    /// Nil where there is none that can be read: then the configuration alone says which store it is.
    init?(_ state: StateDirectory, _ logger: Logger) {
        guard let bytes = state.read(Self.name) else { return nil }
        do {
            let value = try JSONValue.parse(bytes)
            guard let id = value["id"]?.string, let name = value["store"]?.string, let section = value["section"],
                let from = value["from"], let isOver = value["over"]?.bool
            else { throw AgentError("something is missing in it") }
            self.init(id: id, section: try Self.section(name, section), from: from, isOver: isOver)
        } catch {
            logger.error("the record of a store migration (\(state.path)/\(Self.name)) is left aside: \(error)")
            return nil
        }
    }

    /// A section as it came over the network or from disk, as if it stood in a file.
    static func section(_ name: String, _ value: JSONValue) throws -> StoreSection {
        let tree = try YAMLParser.parse(text: value.serialized(), source: "the new store's section '\(name)'")
        return StoreSection(name: name, node: tree)
    }

    static func value(of section: StoreSection) -> JSONValue {
        .object(JSONObject([(key: section.name, value: section.node.json)]))
    }

    /// Which store an agent begins with.
    static func beginning(
        _ settings: Settings, _ state: StateDirectory, _ logger: Logger
    ) throws -> (store: StoreSection, file: MigrationFile?) {
        guard let file = MigrationFile(state, logger) else { return (settings.store, nil) }
        let configured = value(of: settings.store)
        if configured == file.from {
            if file.isOver {
                logger.warning("\(file.stale(settings.store.name))")
                return (file.section, file)
            }
            return (settings.store, file)
        }
        // The configuration was changed since.
        if file.isOver {
            state.remove(name)
            return (settings.store, nil)
        }
        if configured == value(of: file.section) {
            // Too early, perhaps: the old store, or the new one itself, says whether the cluster is there.
            guard let pair = file.from.object?.members.first else { return (settings.store, nil) }
            let former = try section(pair.key, pair.value)
            logger.notice(
                "the configuration names the store of migration \(file.id), and this member has not seen the cluster move: it begins with the store before, '\(former.name)'"
            )
            return (former, file)
        }
        return (settings.store, file)
    }

    func stale(_ name: String) -> String {
        "the cluster has moved to another store (migration \(id)): this agent uses '\(section.name)' as it was told then. The "
            + "section '\(name)' of its configuration is out of date: put the new one in its place"
    }
}

extension AgentSetup {
    /// What the machine is told of it at the start.
    func beginning(_ state: StateDirectory) -> MigrationRecord? {
        guard let file = MigrationFile(state, Logger(label: "matriarch") { _ in SwiftLogNoOpLogHandler() }) else {
            return nil
        }
        return MigrationRecord(
            id: file.id, isOver: file.isOver,
            isConfigured: MigrationFile.value(of: settings.store) == MigrationFile.value(of: file.section))
    }
}

extension Settings {
    /// Puts another store's section in the place of the present one.
    mutating func take(_ section: StoreSection) {
        guard section != store else { return }
        var pairs = tree.pairs.filter { $0.key != store.name && $0.key != section.name }
        pairs.append(ConfigurationNode.Pair(key: section.name, keyMark: section.node.mark, value: section.node))
        tree = ConfigurationNode(.map(pairs), at: tree.mark)
        store = section
    }
}
