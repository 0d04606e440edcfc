import ChildProcesses
import ConfigurationTree
import PluginInterfaces
import Testing

struct CommandOptionsTests {
    private func read(_ yaml: Yaml?) throws -> CommandOptions {
        try CommandOptions(yaml?.node, path: "s", tool: "initdb", forbidden: ["pgdata", "version"])
    }

    @Test("Nothing is no options")
    func nothing() throws {
        #expect(try read(nil).arguments == [])
        #expect(try read(.null).arguments == [])
        #expect(try read([]).arguments == [])
    }

    @Test("A list of switches and pairs, in its order")
    func list() throws {
        let yaml: Yaml = [
            "data-checksums", ["encoding": "UTF8"], ["auth-local": "trust"], ["wal-segsize": .quoted("32")],
            "--no-sync", "locale=C", ["debug": .null], ["show": "true"], ["quiet": "off"], ["flag": .quoted("true")],
        ]
        #expect(
            try read(yaml).arguments == [
                "--data-checksums", "--encoding=UTF8", "--auth-local=trust", "--wal-segsize=32", "--no-sync",
                "--locale=C", "--debug", "--show", "--flag=true",
            ])
    }

    @Test("A mapping, in its order, with one pair of quotes too many taken off")
    func map() throws {
        let yaml: Yaml = ["max-rate": .quoted("'100M'"), "label": .quoted("a b"), "verbose": .null]
        #expect(try read(yaml).arguments == ["--max-rate=100M", "--label=a b", "--verbose"])
    }

    @Test("What cannot be an option is told with its place, all at once")
    func complaints() {
        let yaml: Yaml = [
            "pgdata", ["version": "1"], ["a": "1", "b": "2"], ["list": ["x"]], [["x"]], "-D", .quoted(""), "pgdat=x",
            "two words", "ok",
        ]
        let text = PluginTests.complaints { _ = try read(yaml) }
        let expected = [
            "test.yml:1:3: s[0]: 'pgdata' may not be given to initdb",
            "test.yml:2:3: s[1].version: 'version' may not be given to initdb",
            "test.yml:3:3: s[2]: expected one option, found a mapping of 2",
            "test.yml:5:5: s[3].list: expected a single value",
            "test.yml:6:3: s[4]: expected a switch of initdb",
            "test.yml:7:3: s[5]: '-D' is no long option",
            "test.yml:8:3: s[6]: '' is no long option",
            "test.yml:9:3: s[7]: 'pgdat' (short for 'pgdata') may not be given",
            "test.yml:10:3: s[8]: 'two words' is no long option",
        ]
        let lines = text?.split(separator: "\n") ?? []
        #expect(lines.count == expected.count)
        for (line, start) in zip(lines, expected) { #expect(line.hasPrefix(start)) }
        let scalar = PluginTests.complaints { _ = try read("verbose") }
        #expect(scalar?.hasPrefix("test.yml:1:1: s: expected a list of options of initdb") == true)
    }
}
