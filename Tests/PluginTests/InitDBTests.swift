import ChildProcesses
import InitDBBootstrap
import PluginInterfaces
import Testing

@Suite(.timeLimit(.minutes(2)))
struct InitDBTests {
    @Test("initdb really makes a data directory with the options given")
    func real() async throws {
        let playground = try Playground()
        let yaml: Yaml = [
            ["encoding": "UTF8"], "data-checksums", ["auth-host": "scram-sha-256"], ["locale": "C"], "no-sync",
        ]
        let method = try InitDBBootstrapFactory().makeMethod(yaml.node)
        let password = try playground.write("password", "secret word\n")
        let progress = Collected<JobProgress>()
        try await method.createDataDirectory(playground.context(passwordFile: password, progress: progress))
        #expect(playground.read("data/PG_VERSION") == "15\n")
        #expect(playground.read("data/pg_hba.conf")?.contains("scram-sha-256") == true)
        let (end, control) = await ChildProcess.runCollecting(
            PluginCommand("\(Playground.binaries)/pg_controldata", ["\(playground.path)/data"]))
        #expect(end == .exited(0))
        #expect(control.contains("Data page checksum version:           1"))
        let steps = progress.all.map(\.step)
        #expect(steps.first == "initdb")
        #expect(steps.contains("initdb: running bootstrap script"), "\(steps)")
        await playground.remove()
    }

    @Test("The arguments are exactly these")
    func arguments() async throws {
        let playground = try Playground()
        let script = try playground.script(
            "initdb", "for word; do printf '%s\\n' \"$word\"; done > '\(playground.path)/words'")
        let yaml: Yaml = ["encoding": "UTF8", "username": "other"]
        try await InitDBBootstrapFactory().makeMethod(yaml.node)
            .createDataDirectory(playground.context(passwordFile: "/run/pw", binary: { _ in script }))
        #expect(
            playground.read("words") == """
                --encoding=UTF8
                --username=other
                --pgdata=\(playground.path)/data
                --username=postgres
                --pwfile=/run/pw

                """)
        try await InitDBBootstrapFactory().makeMethod(nil)
            .createDataDirectory(playground.context(binary: { _ in script }))
        #expect(playground.read("words") == "--pgdata=\(playground.path)/data\n--username=postgres\n")
        await playground.remove()
    }

    @Test("Its failure is told in its own words")
    func failure() async throws {
        let playground = try Playground()
        let yaml: Yaml = [["encoding": "no-such-encoding"]]
        let method = try InitDBBootstrapFactory().makeMethod(yaml.node)
        let failure = await #expect(throws: PluginFailure.self) {
            try await method.createDataDirectory(playground.context())
        }
        let text = failure?.description ?? ""
        #expect(text.hasPrefix("initdb for \(playground.path)/data exited with status 1: "), "\(text)")
        #expect(text.contains("no-such-encoding"))
        let missing = await #expect(throws: PluginFailure.self) {
            try await method.createDataDirectory(playground.context(binary: { "/nonexistent/\($0)" }))
        }
        #expect(missing?.description.contains("/nonexistent/initdb") == true)
        await playground.remove()
    }

    @Test(
        "Options that are the agent's are refused", arguments: ["pgdata", "nosync", "pwfile", "sync-only", "version"])
    func forbidden(_ name: String) {
        let pair = Yaml.map([(name, Yaml.plain("x"))])
        for yaml in [pair, Yaml.list([Yaml.plain(name)]), Yaml.list([pair])] {
            let text = complaints { _ = try InitDBBootstrapFactory().makeMethod(yaml.node) }
            #expect(text?.contains("'\(name)' may not be given to initdb") == true)
            #expect(text?.hasPrefix("test.yml:1:") == true)
        }
    }
}
