public import ArgumentParser
import ClusterModel
import ClusterStore
import PluginInterfaces

/// `matriarch store`: the cluster's keys, as one document.
public struct StoreCommand: AsyncParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "store",
        abstract: "Save the cluster's keys in the coordination store, bring them back, move to another store.",
        subcommands: [
            StoreBackupCommand.self, StoreRestoreCommand.self, StoreMigrateCommand.self, StoreClearCommand.self,
        ])

    public init() {}
}

/// Which store: the one of an agent's configuration file.
struct StoreOptions: ParsableArguments {
    @Option(
        name: [.customShort("c"), .customLong("config"), .customLong("config-file")],
        help: ArgumentHelp(
            "The YAML file of any agent of the cluster: it names the cluster and the store.",
            discussion: "Without it: MATRIARCH_CONFIG_FILE, then PATRONICTL_CONFIG_FILE.", valueName: "file"))
    var config: String?

    @Option(help: ArgumentHelp("How long the store may take, in seconds.", valueName: "s")) var timeout = 10

    func validate() throws {
        if timeout < 1 || timeout > 3600 { throw ValidationError("--timeout: 1 to 3600 seconds") }
    }

    /// Runs the body with the store open, and closes it.
    func withStore<Result>(_ body: (OpenedStore) async throws -> Result) async throws -> Result {
        let environment = CommandEnvironment.current
        func variable(_ name: String) -> String? { environment.variable(name).flatMap { $0.isEmpty ? nil : $0 } }
        guard let path = config ?? variable("MATRIARCH_CONFIG_FILE") ?? variable("PATRONICTL_CONFIG_FILE") else {
            throw CommandFailure("no store is named: give an agent's file with -c FILE", status: 2)
        }
        guard environment.fileExists(path) else { throw CommandFailure("cannot read \(path): no such file") }
        let opened = try environment.openStore(path)
        do {
            let result = try await body(opened)
            await opened.store.close()
            return result
        } catch {
            await opened.store.close()
            throw (error as? StoreError).map { CommandFailure("\(opened.section): \($0)") } ?? error
        }
    }

    /// All keys as they were at one revision. The first connection may take a while.
    func read(_ opened: OpenedStore) async throws -> StoreSnapshot {
        let deadline = SystemClock.now() + .seconds(timeout)
        var last = StoreError(.timedOut, "the keys could not be read within \(timeout) s")
        while SystemClock.now() < deadline {
            do throws(StoreError) {
                let snapshot = try await opened.store.read(.all, .linearizable, within: deadline - SystemClock.now())
                if snapshot.isCut { return snapshot }
                last = StoreError(.timedOut, "the keys changed all the time while they were read")
            } catch {
                if error.code == .notAuthorized || error.code == .misconfigured { throw error }
                last = error
            }
            try await Task.sleep(for: .milliseconds(50))
        }
        throw last
    }
}

/// `matriarch store backup`.
struct StoreBackupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup",
        abstract: "Write the cluster's keys into one JSON file.",
        discussion: """
            What lives in sessions (the leader, the members) and a pending request are left out. The file is made for \
            its owner alone (mode 0600) and replaces one of that name as a whole. PostgreSQL's data is not in it.

            Example: matriarch store backup -c /etc/matriarch/pg1.yml -o demo.json
            """)

    @OptionGroup var options: StoreOptions

    @Option(name: .shortAndLong, help: ArgumentHelp("Where to; without it: standard output.", valueName: "file"))
    var output: String?

    mutating func run() async throws {
        let (options, output) = (options, output)
        let environment = CommandEnvironment.current
        let backup = try await options.withStore { opened in
            StoreBackup(
                of: try await options.read(opened), scope: opened.scope, root: opened.root, store: opened.section,
                takenAt: environment.now().iso8601())
        }
        if backup.entries.isEmpty {
            throw CommandFailure("\(backup.store) holds no keys of the cluster '\(backup.scope)' at \(backup.root)")
        }
        guard let output, output != "-" else {
            environment.write(backup.text)
            return
        }
        try environment.writeFile(output, backup.text)
        environment.writeLine(
            "\(output): \(backup.entries.count) keys of the cluster '\(backup.scope)' from \(backup.store) "
                + "(\(backup.entries.keys.sorted().joined(separator: ", ")))")
    }
}

/// `matriarch store restore`.
struct StoreRestoreCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore",
        abstract: "Bring the cluster's keys back from a backup: what is missing in the store.",
        discussion: """
            Keys that the store has stay as they are, unless --replace is given and nobody leads. One transaction writes \
            everything or nothing. The era rises, so that fencing numbers go on growing in a store whose own numbers \
            begin anew. Nothing is restored over another cluster, and never `sync`.

            Example: matriarch store restore -c /etc/matriarch/pg1.yml demo.json
            """)

    @OptionGroup var options: StoreOptions

    @Argument(help: ArgumentHelp("The backup; - for standard input.", valueName: "file")) var file: String

    @Flag(help: "Overwrite keys that are different in the store.") var replace = false

    @Flag(name: [.customShort("n"), .customLong("dry-run")], help: "Tell what would be done; do nothing.")
    var isDryRun = false

    @Flag(help: "Do not ask.") var force = false

    mutating func run() async throws {
        let (options, file, replace, isDryRun, force) = (options, file, replace, isDryRun, force)
        let environment = CommandEnvironment.current
        let text = try environment.readFile(file)
        let backup: StoreBackup
        do {
            backup = try StoreBackup(text: text)
        } catch {
            throw CommandFailure("\(file): \(error)")
        }
        try await options.withStore { opened in
            guard backup.scope == opened.scope else {
                throw CommandFailure(
                    "\(file) is of the cluster '\(backup.scope)'; the configuration names '\(opened.scope)'")
            }
            let plan: StoreBackup.Plan
            do {
                plan = try backup.plan(
                    for: try await options.read(opened), replacing: replace, id: ClusterStore.nextTransaction())
            } catch let problem as StoreBackup.Problem {
                throw CommandFailure("nothing was restored: \(problem)")
            }
            for key in plan.created { environment.writeLine("restore  \(key)") }
            for key in plan.replaced { environment.writeLine("replace  \(key)") }
            for (key, why) in plan.kept { environment.writeLine("leave    \(key): \(why)") }
            if let era = plan.era { environment.writeLine("era      \(era)") }
            if plan.isEmpty {
                environment.writeLine("nothing is missing; nothing was changed")
                return
            }
            if isDryRun {
                environment.writeLine("a dry run: nothing was changed")
                return
            }
            if !force {
                try Prompt.confirm("Write \(plan.created.count + plan.replaced.count) keys into \(opened.section)?")
            }
            switch await opened.store.commit(plan.transaction, within: .seconds(options.timeout)) {
            case .committed: environment.writeLine("restored")
            case .refused:
                throw CommandFailure("nothing was restored: the store changed meanwhile; run it again")
            case .notSent(let error): throw CommandFailure("nothing was restored: \(error)")
            case .unknown(let error):
                throw CommandFailure(
                    "it is not known whether the keys were restored: \(error); run it again: what is there is left")
            }
        }
    }
}
