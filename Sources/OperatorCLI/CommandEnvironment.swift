public import ClusterModel
public import ConfigurationTree
import PluginInterfaces

/// Everything that a command touches outside itself, so that tests can stand in for it.
public struct CommandEnvironment: Sendable {
    /// Writes to standard output, as it is.
    public var write: @Sendable (String) -> Void
    /// Writes a line to standard error.
    public var complain: @Sendable (String) -> Void
    /// Shows a question and reads a line; nil at the end of the input.
    public var ask: @Sendable (String) -> String?
    /// Whether standard output is a terminal.
    public var isTerminal: Bool
    /// The terminal's width; nil: as wide as needed.
    public var width: @Sendable () -> Int?
    public var variable: @Sendable (String) -> String?
    public var now: @Sendable () -> WallTime
    public var sleep: @Sendable (Duration) async throws -> Void
    /// Reads a configuration file (or directory) as a tree.
    public var readConfiguration: @Sendable (String) throws -> ConfigurationNode
    /// Reads a YAML text; the second argument says where it comes from, for complaints.
    public var readYAML: @Sendable (String, String) throws -> JSONValue
    /// Reads a whole file, `-` standing for standard input.
    public var readFile: @Sendable (String) throws -> String
    /// Whether something is at this path.
    public var fileExists: @Sendable (String) -> Bool
    /// Lets a person edit a text; nil when nothing was changed or the editor failed.
    public var edit: @Sendable (String) throws -> String?
    public var makeAPI: @Sendable (ControlConfiguration) throws -> any ClusterAPI
    /// All complaints about a configuration file, errors and warnings; about the host it is for when that is asked.
    public var validate: @Sendable (_ path: String, _ host: Bool) throws -> [ConfigurationComplaint]

    /// Opens the store that an agent's configuration file names.
    var openStore: @Sendable (_ path: String) throws -> OpenedStore = { path in
        throw CommandFailure("\(path): this program has no store plugins")
    }
    /// The store section of a file; the environment's variables do not count, nor the rest of it.
    var readStoreSection: @Sendable (_ path: String) throws -> (name: String, section: JSONValue) = { path in
        throw CommandFailure("\(path): this program has no store plugins")
    }
    /// Looks at everything that an agent with this configuration file depends on; the store may take so long.
    var examine: @Sendable (_ path: String, _ limit: Duration) async throws -> DoctorFacts = { path, _ in
        throw CommandFailure("\(path): this program has no store plugins")
    }
    /// Writes a file for its owner alone, as a whole or not at all.
    public var writeFile: @Sendable (_ path: String, _ text: String) throws -> Void = { path, _ in
        throw CommandFailure("cannot write \(path)")
    }

    /// What commands use. Tests bind their own.
    @TaskLocal public static var current: CommandEnvironment = .live

    func writeLine(_ line: String = "") { write(line + "\n") }
}

/// A cluster's store, open for a command.
struct OpenedStore: Sendable {
    var store: any CoordinationStore
    /// The configuration's section that names it.
    var section: String
    var scope: String
    var root: String
}

/// A failure that a person is told of; the program ends with its status.
public struct CommandFailure: Error, Hashable, Sendable, CustomStringConvertible {
    public var description: String
    /// 1: it was refused or did not work; 2: the command was used wrongly.
    public var status: Int32

    public init(_ description: String, status: Int32 = 1) {
        self.description = description
        self.status = status
    }
}
