import ChildProcesses
import PluginInterfaces
import Testing

struct HookCommandsTests {
    @Test("pre_promote and before_stop get no arguments of ours")
    func plain() throws {
        #expect(try HookCommands.prePromote("/x 'a b'") == PluginCommand("/x", ["a b"]))
        #expect(
            try HookCommands.beforeStop("x", deadline: .seconds(3)) == PluginCommand("x", [], deadline: .seconds(3)))
    }

    @Test("post_init gets the connection string, the password file and PGOPTIONS")
    func postBootstrap() throws {
        let command = try HookCommands.postBootstrap(
            "bash /x.sh -v", connectionString: "host=localhost port=5432 user=postgres", passfile: "/run/pgpass")
        #expect(command.executable == "bash")
        #expect(command.arguments == ["/x.sh", "-v", "host=localhost port=5432 user=postgres"])
        #expect(
            command.environment == [
                "PGPASSFILE": "/run/pgpass", "PGOPTIONS": "-c synchronous_commit=local -c statement_timeout=0",
            ])
        #expect(
            try HookCommands.postBootstrap("x", connectionString: "", passfile: nil).environment["PGPASSFILE"] == nil)
    }

    @Test("A line that cannot be split is refused")
    func refused() {
        #expect(throws: ShellWordsError.self) { try HookCommands.prePromote("'") }
        #expect(throws: ShellWordsError.self) { try HookCommands.beforeStop(" ") }
    }
}
