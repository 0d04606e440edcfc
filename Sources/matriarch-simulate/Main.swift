import ArgumentParser

/// The simulator's commands.
@main
struct Simulate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "matriarch-simulate",
        abstract: "Runs clusters of the real state machine in a simulated world, and looks for broken promises.",
        discussion: """
            The world is made from a seed: a store that expires sessions as ZooKeeper, etcd or Consul do, PostgreSQL with
            timelines, guards, clients that remember what was acknowledged, operators, and faults of every kind. What must
            hold is checked at every step. The same seed gives the same run; a failing one is minimised and told.
            """,
        subcommands: [Seeds.self, Explore.self, Kinds.self], defaultSubcommand: Seeds.self)
}
