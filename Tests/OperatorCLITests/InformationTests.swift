import AgentConfiguration
import ClusterModel
import ConfigurationTree
import Testing

@testable import OperatorCLI

@Suite struct InformationTests {
    private func withDecisions(width: Int? = nil) -> FakeCluster {
        let fake = FakeCluster.three(width: width)
        fake.answer(
            "GET http://10.0.0.1:8008/decisions",
            #"[{"sequence":1,"at":"2026-01-31T10:00:01.000000+00:00","rule":"lease.lost","weight":"warning","#
                + #""text":"stops, for the lease is lost","facts":{"holder":"pg2"}},"#
                + #"{"sequence":2,"at":"2026-01-31T10:00:04.000000+00:00","rule":"follow","weight":"routine","#
                + #""text":"follows pg2","facts":{}}]"#)
        fake.answer(
            "GET http://10.0.0.2:8008/decisions",
            #"[{"sequence":7,"at":"2026-01-31T10:00:00.500000+00:00","rule":"race.won","weight":"action","#
                + #""text":"takes the lead","facts":{"position":"0/5","peers":2}}]"#)
        fake.silence("GET http://10.0.0.3:8008/decisions")
        return fake
    }

    @Test func explainMergesTheMembersDecisionsByTime() async {
        let fake = withDecisions()
        #expect(await fake.run("explain", url) == 0)
        #expect(
            fake.output == """
                2026-01-31 10:00:00.500Z  pg2  takes the lead [race.won]
                                               position=0/5 peers=2
                2026-01-31 10:00:01.000Z  pg1  ! stops, for the lease is lost [lease.lost]
                                               holder=pg2

                """)
        #expect(fake.complaints == "(pg3 did not answer: connection refused)\n")
    }

    @Test(arguments: [
        (["--all"], ["pg2", "pg1", "pg1"]), (["--rule", "race"], ["pg2"]), (["--rule", "rac"], []),
        (["--last", "1"], ["pg1"]), (["pg2"], ["pg2"]),
    ]) func explainSelects(arguments: [String], members: [String]) async throws {
        let fake = withDecisions()
        #expect(await fake.run(["explain", "--format", "json", url] + arguments) == 0)
        let rows = try #require(try JSONValue.parse(fake.output).array)
        #expect(rows.compactMap { $0["member"]?.string } == members)
    }

    @Test func explainFollowsWithoutRepeating() async {
        let fake = withDecisions()
        #expect(await fake.run("explain", "--follow", url) == 130)
        #expect(fake.output.split(separator: "\n").count { $0.contains("race.won") } == 1)
    }

    @Test func explainFitsTheTerminal() async {
        let fake = withDecisions(width: 60)
        #expect(await fake.run("explain", url) == 0)
        for line in fake.output.split(separator: "\n") { #expect(line.count <= 60, "\(line)") }
    }

    @Test func explainOfNobody() async {
        let fake = FakeCluster.three()
        #expect(await fake.run("explain", url) == 1)
        #expect(fake.complaints.contains("no member told its decisions"))
    }

    @Test func history() async {
        let fake = FakeCluster.three()
        fake.answer(
            "GET /history",
            #"[[1,25165984,"no recovery target specified","2026-01-30T09:00:00+00:00","pg1"],[2,50332000,"x"]]"#)
        #expect(await fake.run("history", url) == 0)
        #expect(
            fake.output.contains(
                "|  1 | 25165984 | no recovery target specified | 2026-01-30T09:00:00+00:00 | pg1        |"))
        #expect(await fake.run("history", "-f", "json", url) == 0)
        #expect(fake.output.contains(#""New Leader": "pg1""#))
    }

    @Test func showConfig() async {
        let fake = FakeCluster.three()
        fake.answer("GET /config", #"{"ttl":30,"postgresql":{"use_pg_rewind":true}}"#)
        #expect(await fake.run("show-config", url) == 0)
        #expect(fake.output == "ttl: 30\npostgresql:\n  use_pg_rewind: true\n")
    }

    @Test func validatePrintsAllComplaints() async {
        let mark = SourceMark(source: "a.yml", line: 3, column: 7)
        let fake = FakeCluster(complaints: [
            "a.yml": [
                ConfigurationComplaint(at: mark, path: "ttl", "'soon' is not a number"),
                ConfigurationComplaint(.warning, at: mark, path: "nmae", "unknown; did you mean 'name'?"),
            ],
            "b.yml": [ConfigurationComplaint(.warning, at: mark, path: "nmae", "unknown")],
        ])
        #expect(await fake.run("validate", "a.yml") == 1)
        #expect(
            fake.output == """
                error: a.yml:3:7: ttl: 'soon' is not a number
                warning: a.yml:3:7: nmae: unknown; did you mean 'name'?

                """)
        #expect(fake.complaints == "error: a.yml: 1 error, 1 warning\n")
        #expect(await fake.run("validate", "b.yml") == 0)
        #expect(await fake.run("validate", "--strict", "b.yml") == 1)
        #expect(await fake.run("validate", "none.yml") == 1)
    }

    @Test func version() async {
        let fake = FakeCluster.three()
        fake.silence("GET http://10.0.0.2:8008/patroni")
        #expect(await fake.run("version") == 0)
        #expect(fake.output == VersionCommand.line + "\n")
        #expect(await fake.run("version", url) == 0)
        #expect(fake.output.contains("pg1: Matriarch 0.1.0, PostgreSQL 15.18\npg2: did not answer\n"))
    }

    @Test(arguments: [
        ["list", "explain", "history", "switchover", "failover", "pause", "resume", "restart", "reload", "reinit"],
        ["show-config", "edit-config", "validate", "version"],
    ]) func helpIsThereAndTeaches(commands: [String]) async {
        for command in commands {
            let fake = FakeCluster()
            #expect(await fake.run(command, "--help") == 0)
            #expect(fake.output.contains("USAGE: matriarch \(command)"))
            #expect(fake.output.contains("OVERVIEW: "))
            #expect(fake.complaints.isEmpty)
        }
    }

    @Test(arguments: [
        (["list", "--fromat", "json"], "Unknown option '--fromat'"), (["lits"], "Unexpected argument 'lits'"),
        (["list", "-f", "xml", url], "The value 'xml' is invalid"),
        (["validate"], "Missing expected argument '<file>'"),
        (["list", "-w", "0", url], "--watch takes seconds above 0"),
        (["list"], "no cluster is named: give an agent's file with -c FILE"),
        (["list", "--url", "ftp://x"], "--url: 'ftp://x' is no address such as"),
        (["edit-config", "--replace", "-", url], "add --force"),
        (["switchover", "--force", "--scheduled", "soon", url], "'soon' is no time: write 2026-01-31T10:00"),
    ]) func wrongUseIsStatus2(arguments: [String], complaint: String) async {
        let fake = FakeCluster.three()
        #expect(await fake.run(arguments) == 2)
        #expect(fake.complaints.contains(complaint), "\(fake.complaints)")
        #expect(fake.changes.isEmpty)
    }
}

@Suite struct YAMLTextTests {
    /// What `show-config` prints, `edit-config` reads back: found by fuzzing where it did not.
    @Test(arguments: [
        "a\u{85}b", "a\u{2028}b", "\u{7f}", "\u{9b}x", "\u{feff}", "&\u{301}a", "a:\u{20}\u{301}b", "*\u{301}",
        "'\u{301}",
        " \u{301}a", "a #\u{301}", "a \"b\" \\c\n", "1e+308", "é", "😀",
    ]) func textsAreReadBack(text: String) throws {
        let value = JSONValue.object(JSONObject([(key: text, value: .array([.string(text)]))]))
        #expect(try YAMLParser.parse(text: YAMLText.write(value), source: "t").json == value)
    }

    @Test(arguments: [1e308, 1e16, .leastNonzeroMagnitude, -1.5, 0.1]) func numbersAreReadBack(number: Double) throws {
        #expect(try YAMLParser.parse(text: YAMLText.write(.number(number)), source: "t").json == .number(number))
    }
}

@Suite struct ConnectionTests {
    private func node(_ pairs: [(String, ConfigurationNode)]) -> ConfigurationNode {
        let mark = SourceMark(source: "x.yml", line: 1, column: 1)
        return ConfigurationNode(.map(pairs.map { .init(key: $0.0, keyMark: mark, value: $0.1) }), at: mark)
    }
    private func text(_ text: String) -> ConfigurationNode {
        ConfigurationNode(.scalar(text: text, isPlain: true), at: SourceMark(source: "x.yml", line: 1, column: 1))
    }

    @Test func anAgentsFileNamesAMemberAndCredentials() {
        let configuration = ControlConfiguration(
            node: node([
                ("scope", text("demo")),
                (
                    "restapi",
                    node([
                        ("listen", text("0.0.0.0:8008")), ("certfile", text("/c.pem")), ("cafile", text("/ca.pem")),
                        ("authentication", node([("username", text("u")), ("password", text("p"))])),
                    ])
                ),
                ("ctl", node([("insecure", text("on")), ("certfile", text("/client.pem"))])),
            ]))
        #expect(configuration.scope == "demo")
        #expect(configuration.bases == ["https://127.0.0.1:8008"])
        #expect(configuration.username == "u")
        #expect(configuration.password == "p")
        #expect(configuration.isInsecure)
        #expect(configuration.caFile == "/ca.pem")
        #expect(configuration.certificateFile == "/client.pem")
    }

    @Test func theConnectAddressCounts() {
        let configuration = ControlConfiguration(
            node: node([
                ("restapi", node([("listen", text("*:8008")), ("connect_address", text("10.0.0.1:8008"))])),
                ("ctl", node([("authentication", text("a:b:c"))])),
            ]))
        #expect(configuration.bases == ["http://10.0.0.1:8008"])
        #expect(configuration.username == "a")
        #expect(configuration.password == "b:c")
    }

    @Test func variablesNameTheFileAndTheMembers() async {
        let agent = node([("scope", text("demo")), ("restapi", node([("connect_address", text("10.0.0.1:8008"))]))])
        for variable in ["MATRIARCH_CONFIG_FILE", "PATRONICTL_CONFIG_FILE"] {
            let fake = FakeCluster(nodes: ["x.yml": agent], variables: [variable: "x.yml"])
            fake.answer("GET /cluster", JSONValue.object(FakeCluster.cluster()).serialized())
            #expect(await fake.run("list") == 0)
            #expect(fake.calls.first?.base == "http://10.0.0.1:8008")
        }
        let fake = FakeCluster.three(variables: ["MATRIARCH_URL": "http://10.0.0.2:8008"])
        #expect(await fake.run("list") == 0)
        #expect(fake.calls.first?.base == "http://10.0.0.2:8008")
    }

    @Test func theFilesScopeMustBeTheMembers() async {
        let agent = node([("scope", text("other")), ("restapi", node([("connect_address", text("10.0.0.1:8008"))]))])
        let fake = FakeCluster(nodes: ["x.yml": agent])
        fake.answer("GET /cluster", JSONValue.object(FakeCluster.cluster()).serialized())
        #expect(await fake.run("-c", "x.yml", "list") == 1)
        #expect(fake.complaints.contains("belongs to the cluster 'demo', not to 'other'"))
    }

    @Test(arguments: [("now", nil), ("2026-07-01T10:00:00+02:00", "2026-07-01T08:00:00+00:00")])
    func scheduleTimes(text: String, expected: String?) throws {
        #expect(try ScheduleTime.parse(text) == expected)
    }
}
