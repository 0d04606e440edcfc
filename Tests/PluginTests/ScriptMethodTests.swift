import ConfigurationTree
import PluginInterfaces
import ScriptHooks
import Testing

@Suite(.timeLimit(.minutes(1)))
struct ScriptMethodTests {
    /// What a method hands to its command, by running it with a script that prints its arguments.
    private func arguments(
        _ playground: Playground, upstream: Upstream? = nil, _ make: (_ command: String) throws -> Yaml,
        isReplica: Bool
    ) async throws -> [String] {
        let script = try playground.script(
            "method", "for word; do printf '%s\\n' \"$word\"; done > '\(playground.path)/words'")
        let node = try make(script).node
        let context = playground.context(upstream: upstream)
        if isReplica {
            try await ScriptCommandFactory().makeReplicaMethod(name: "tool", node).createReplica(context)
        } else {
            try await ScriptCommandFactory().makeBootstrapMethod(name: "tool", node).createDataDirectory(context)
        }
        return playground.read("words")?.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
            .map(String.init) ?? []
    }

    private let member = Upstream(
        name: "pg2", host: "10.0.0.2", port: 5432, connectionString: "host=10.0.0.2 port=5432 user=replicator",
        passfile: nil, isLeader: true)

    @Test("A bootstrap command gets scope and data directory, then its own keys in their order")
    func bootstrap() async throws {
        let playground = try Playground()
        let words = try await arguments(
            playground,
            { command in
                [
                    "command": .quoted("\(command) first 'second word'"), "keep_existing_recovery_conf": "true",
                    "recovery_conf": ["restore_command": "x"], "backup": "latest", "verify": "true", "retries": "0x10",
                    "mode": "010",
                    "version": "1.10", "old": .quoted("1.10"),
                    "label": .quoted("a b"), "empty": .null, "quoted": .quoted("true"), "scope": "other",
                    "datadir": "/other",
                ]
            }, isReplica: false)
        #expect(
            words == [
                "first", "second word", "--scope=demo", "--datadir=\(playground.path)/data", "--backup=latest",
                "--verify=True", "--retries=16", "--mode=8", "--version=1.1", "--old=1.10", "--label=a b",
                "--empty=None", "--quoted=true",
            ])
        await playground.remove()
    }

    @Test("no_params takes scope and data directory away, not the keys")
    func bootstrapWithoutParameters() async throws {
        let playground = try Playground()
        let words = try await arguments(
            playground, { ["command": .plain($0), "no_params": "true", "stanza": "main"] }, isReplica: false)
        #expect(words == ["--stanza=main"])
        await playground.remove()
    }

    @Test("A replica command gets all its keys, then scope, role, data directory and connection string")
    func replica() async throws {
        let playground = try Playground()
        let words = try await arguments(
            playground, upstream: member,
            { ["command": .quoted("\($0) -v"), "keep_data": "true", "no_leader": "1", "threshold": "50"] },
            isReplica: true)
        #expect(
            words == [
                "-v", "--keep_data=True", "--no_leader=1", "--threshold=50", "--scope=demo", "--role=replica",
                "--datadir=\(playground.path)/data", "--connstring=host=10.0.0.2 port=5432 user=replicator",
            ])
        await playground.remove()
    }

    @Test("A replica command's keys of the agent's names keep their place, with the agent's values")
    func replicaOverrides() async throws {
        let playground = try Playground()
        let words = try await arguments(
            playground, { ["role": "x", "command": .plain($0), "scope": "y"] }, isReplica: true)
        #expect(
            words == ["--role=replica", "--scope=demo", "--datadir=\(playground.path)/data", "--connstring="])
        await playground.remove()
    }

    @Test("A replica command without parameters gets only the keys that are its own")
    func replicaWithoutParameters() async throws {
        let playground = try Playground()
        let words = try await arguments(
            playground, upstream: member,
            {
                [
                    "command": .plain($0), "no_params": "true", "keep_data": "true", "no_leader": "true",
                    "stanza": "main",
                ]
            }, isReplica: true)
        #expect(words == ["--stanza=main"])
        await playground.remove()
    }

    @Test("The password file is in the replica command's environment, nothing of the agent's")
    func replicaEnvironment() async throws {
        let playground = try Playground()
        let script = try playground.script("method", "echo \"$PGPASSFILE\" > '\(playground.path)/env'")
        var upstream = member
        upstream.passfile = "/run/pgpass"
        let yaml: Yaml = ["command": .plain(script)]
        try await ScriptCommandFactory().makeReplicaMethod(name: "tool", yaml.node)
            .createReplica(playground.context(upstream: upstream))
        #expect(playground.read("env") == "/run/pgpass\n")
        await playground.remove()
    }

    @Test("Without a section the method's name is the command")
    func nameIsCommand() async throws {
        let playground = try Playground()
        let script = try playground.script("tool", "echo ran > '\(playground.path)/ran'")
        try await ScriptCommandFactory().makeReplicaMethod(name: script, nil).createReplica(playground.context())
        #expect(playground.exists("ran"))
        await playground.remove()
    }

    @Test(
        "The switches speak to the agent",
        arguments: [
            ("true", true), ("True", true), ("yes", true), ("1", true), ("false", false), ("no", false), ("0", false),
            ("anything", true), ("", false),
        ])
    func switches(_ text: String, _ isOn: Bool) throws {
        for value in [Yaml.plain(text), .quoted(text)] {
            let yaml: Yaml = ["command": "x", "no_leader": value, "keep_data": value]
            let method = try ScriptCommandFactory().makeReplicaMethod(name: "m", yaml.node)
            #expect(method.worksWithoutUpstream == isOn)
            #expect(method.keepsData == isOn)
        }
        let plain = try ScriptCommandFactory().makeReplicaMethod(name: "m", nil)
        #expect(!plain.worksWithoutUpstream && !plain.keepsData)
    }

    @Test("A failing command is told with its status and its last words")
    func failure() async throws {
        let playground = try Playground()
        let script = try playground.script("method", "echo progress; echo 'no such backup' >&2; exit 7")
        let yaml: Yaml = ["command": .plain(script)]
        let log = Collected<String>()
        for isReplica in [true, false] {
            let failure = await #expect(throws: PluginFailure.self) {
                if isReplica {
                    try await ScriptCommandFactory().makeReplicaMethod(name: "wal", yaml.node)
                        .createReplica(playground.context(log: log))
                } else {
                    try await ScriptCommandFactory().makeBootstrapMethod(name: "wal", yaml.node)
                        .createDataDirectory(playground.context(log: log))
                }
            }
            let text = failure?.description ?? ""
            #expect(text.contains("method wal: \(script) exited with status 7: "), "\(text)")
            #expect(text.contains("no such backup"))
        }
        #expect(log.all.contains("info wal: progress"))
        await playground.remove()
    }

    @Test("What cannot be run is refused with its place")
    func refused() {
        let factory = ScriptCommandFactory()
        func bootstrap(_ yaml: Yaml) -> String? {
            complaints { _ = try factory.makeBootstrapMethod(name: "m", yaml.node) }
        }
        #expect(bootstrap(["stanza": "x"])?.hasPrefix("test.yml:1:1: bootstrap.m.command: is missing") == true)
        #expect(bootstrap("x")?.hasPrefix("test.yml:1:1: bootstrap.m: expected a mapping") == true)
        #expect(
            bootstrap(["a": "1", "command": "x 'y"])?.hasPrefix(
                "test.yml:2:3: bootstrap.m.command: 'x 'y' cannot be split into words: the ' at character 3") == true)
        #expect(
            bootstrap(["command": "x", "k": ["y"]])?.hasPrefix("test.yml:2:3: bootstrap.m.k: expected a single value")
                == true)
        #expect(
            complaints { _ = try factory.makeReplicaMethod(name: "m", (["k": ["y"]] as Yaml).node) }?
                .hasPrefix("test.yml:1:3: postgresql.m.k: expected a single value") == true)
    }
}
