import ArgumentParser
import ClusterModel
import ClusterStore
import PluginInterfaces

/// `matriarch store clear`.
struct StoreClearCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "clear",
        abstract: "Remove the keys that a migration left in a store.",
        discussion: """
            Only where the key `migration` says that the cluster has moved away, or that it never arrived, and nobody \
            leads: one transaction removes what is there, or nothing. The file names the store that was left, so it is \
            the configuration from before the migration.

            Example: matriarch store clear -c /etc/matriarch/pg1.yml.old
            """)

    @OptionGroup var options: StoreOptions

    @Flag(name: [.customShort("n"), .customLong("dry-run")], help: "Tell what would be done; do nothing.")
    var isDryRun = false

    @Flag(help: "Do not ask.") var force = false

    mutating func run() async throws {
        let (options, isDryRun, force) = (options, isDryRun, force)
        let environment = CommandEnvironment.current
        try await options.withStore { opened in
            let snapshot = try await options.read(opened)
            guard let entry = snapshot[ClusterKey.migration] else {
                throw CommandFailure(
                    "\(opened.section) holds \(snapshot.entries.isEmpty ? "no keys" : "a cluster that did not move away") "
                        + "at \(opened.root): nothing was removed")
            }
            let mark = MigrationMark.read(entry.value).mark
            guard mark.state == .moved || mark.state == .arriving else {
                throw CommandFailure(
                    "the cluster at \(opened.root) lives in \(opened.section) (migration: \(mark.state.rawValue)): nothing "
                        + "was removed")
            }
            if let leader = snapshot[ClusterKey.leader] {
                throw CommandFailure(
                    "\(String(decoding: leader.value, as: UTF8.self)) still holds the leader entry there: wait until it "
                        + "has expired")
            }
            let keys = snapshot.entries.filter { $0.owner == nil }.map(\.key).sorted()
            for key in keys { environment.writeLine("remove  \(key)") }
            if isDryRun {
                environment.writeLine("a dry run: nothing was changed")
                return
            }
            if !force { try Prompt.confirm("Remove \(keys.count) keys from \(opened.section)?") }
            let transaction = StoreTransaction(
                id: ClusterStore.nextTransaction(),
                compares: [.version(ClusterKey.migration, entry.version), .absent(ClusterKey.leader)],
                writes: keys.map { .delete($0) })
            switch await opened.store.commit(transaction, within: .seconds(options.timeout)) {
            case .committed: environment.writeLine("removed")
            case .refused: throw CommandFailure("nothing was removed: the store changed meanwhile; run it again")
            case .notSent(let error): throw CommandFailure("nothing was removed: \(error)")
            case .unknown(let error):
                throw CommandFailure("it is not known whether the keys were removed: \(error); run it again")
            }
        }
    }
}
