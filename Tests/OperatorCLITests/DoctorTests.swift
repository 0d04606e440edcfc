import AgentConfiguration
import ClusterModel
import ConfigurationTree
import PluginInterfaces
import Testing

@testable import OperatorCLI

/// What `matriarch doctor` makes of what it saw.
@Suite struct DoctorTests {
    private static let mark = SourceMark(source: "pg1.yml", line: 3, column: 5)

    private static func settings(_ change: (inout Settings) -> Void = { _ in }) -> Settings {
        var settings = Settings(
            scope: "demo", name: "pg1", store: StoreSection(name: "etcd3", node: ConfigurationNode(.map([]), at: mark)))
        settings.postgresql.dataDirectory = "/data/demo"
        settings.stateDirectory = "/data/demo.matriarch"
        settings.restAPI.listen = HostPort(host: "10.0.0.1", port: 8008)
        settings.restAPI.authentication = BasicCredentials(username: "a", password: Secret("b"))
        settings.restAPI.certificateFile = "/etc/server.crt"
        change(&settings)
        return settings
    }

    /// A host on which all is well.
    private static func host(_ change: (inout HostFacts) -> Void = { _ in }) -> HostFacts {
        var host = HostFacts(account: 107)
        host.serverVersion = 15
        host.fencing = .ran(lacking: [])
        host.clockSource = "tsc"
        host.isClockSynchronized = true
        host.hasWatchdog = true
        host.places = [
            "/data": .init(kind: .directory, owner: 107, mode: 0o755, device: 1, isWritable: true),
            "/data/demo": .init(kind: .directory, owner: 107, mode: 0o700, device: 1, isWritable: true),
            "/data/demo.matriarch": .init(kind: .directory, owner: 107, mode: 0o700, device: 1, isWritable: true),
            "/etc/pg1.yml": .init(kind: .file, owner: 107, mode: 0o600, device: 2, isWritable: true),
        ]
        host.configurationFiles = ["/etc/pg1.yml"]
        change(&host)
        return host
    }

    private static func store(_ change: (inout StoreFacts) -> Void = { _ in }) -> StoreFacts {
        var store = StoreFacts(section: "etcd3", took: .milliseconds(4), keys: 7, leader: "pg1")
        store.lease = .init(
            asked: .seconds(30), granted: .seconds(30), wishedInterval: .milliseconds(7500), intervalsBehind: 0)
        change(&store)
        return store
    }

    @Test func whereAllIsWellNothingIsComplainedOf() {
        let found = DoctorRules.judge(
            DoctorFacts(complaints: [], settings: Self.settings(), host: Self.host(), store: Self.store()))
        #expect(found.filter { $0.grade != .fine } == [])
        // One area after the other, each of them with something to say.
        let areas = found.map(\.area)
        let order = DoctorFinding.Area.allCases
        #expect(areas.map { order.firstIndex(of: $0) ?? 0 } == areas.map { order.firstIndex(of: $0) ?? 0 }.sorted())
        #expect(Set(areas) == Set(order))
    }

    struct Row: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var settings: @Sendable (inout Settings) -> Void = { _ in }
        var host: @Sendable (inout HostFacts) -> Void = { _ in }
        var store: @Sendable (inout StoreFacts) -> Void = { _ in }
        var area: DoctorFinding.Area
        var grade: StoreFinding.Grade
        var says: String
        var remedy: String?
    }

    static let rows: [Row] = [
        // Files
        Row(
            testDescription: "data directory of another account", host: { $0.places["/data/demo"]?.owner = 33 },
            area: .files, grade: .error, says: "/data/demo belongs to account 33", remedy: "chown"),
        Row(
            testDescription: "data directory open to others", host: { $0.places["/data/demo"]?.mode = 0o755 },
            area: .files, grade: .warning, says: "mode 0755", remedy: "chmod 0700 /data/demo"),
        Row(
            testDescription: "data directory's group may read", host: { $0.places["/data/demo"]?.mode = 0o750 },
            area: .files, grade: .fine, says: "the data directory /data/demo, mode 0750"),
        Row(
            testDescription: "state directory's group may read",
            host: { $0.places["/data/demo.matriarch"]?.mode = 0o750 },
            area: .files, grade: .warning, says: "the state directory", remedy: "chmod 0700"),
        Row(
            testDescription: "nothing there, and it can be made", host: { $0.places["/data/demo"] = nil }, area: .files,
            grade: .fine, says: "/data/demo is not there yet"),
        Row(
            testDescription: "nothing there, and it cannot be made",
            host: {
                $0.places["/data/demo"] = nil
                $0.places["/data"]?.isWritable = false
            }, area: .files, grade: .error, says: "/data/demo cannot be made", remedy: "make /data/demo, mode 0700"),
        Row(
            testDescription: "nothing above it either",
            host: {
                $0.places["/data/demo"] = nil
                $0.places["/data"] = nil
            }, area: .files, grade: .error, says: "there is no /data"),
        Row(
            testDescription: "a file in its place", host: { $0.places["/data/demo"]?.kind = .file }, area: .files,
            grade: .error, says: "is no directory"),
        Row(
            testDescription: "data directory is a mount point", host: { $0.places["/data/demo"]?.device = 9 },
            area: .files, grade: .warning, says: "a file system of its own", remedy: "below the mount point"),
        Row(
            testDescription: "nothing can be made beside it",
            host: { $0.places["/data"]?.isWritable = false }, area: .files, grade: .warning,
            says: "/data cannot be written to"),
        Row(
            testDescription: "state within the data", settings: { $0.stateDirectory = "/data/demo/state" },
            area: .files, grade: .error, says: "lies inside the data directory"),
        Row(
            testDescription: "as root", host: { $0.account = 0 }, area: .files, grade: .warning, says: "runs as root"),
        Row(
            testDescription: "as root, and root's",
            host: {
                $0.account = 0
                $0.places["/data/demo"]?.owner = 0
            }, area: .files, grade: .error, says: "belongs to root"),
        // Secrets
        Row(
            testDescription: "everybody reads the passwords", host: { $0.places["/etc/pg1.yml"]?.mode = 0o644 },
            area: .secrets, grade: .error, says: "/etc/pg1.yml can be read by everybody",
            remedy: "chmod 0600 /etc/pg1.yml"),
        Row(
            testDescription: "everybody changes the passwords", host: { $0.places["/etc/pg1.yml"]?.mode = 0o606 },
            area: .secrets, grade: .error, says: "can be changed by everybody"),
        Row(
            testDescription: "the group changes them", host: { $0.places["/etc/pg1.yml"]?.mode = 0o660 },
            area: .secrets, grade: .warning, says: "can be changed by its group"),
        Row(
            testDescription: "the group reads them", host: { $0.places["/etc/pg1.yml"]?.mode = 0o640 }, area: .secrets,
            grade: .fine, says: "kept from everybody else"),
        Row(
            testDescription: "a key that everybody reads",
            host: {
                $0.secretFiles = ["/etc/a.key"]
                $0.places["/etc/a.key"] = .init(kind: .file, owner: 107, mode: 0o444, device: 2)
            }, area: .secrets, grade: .error, says: "the secret file /etc/a.key"),
        // The guard
        Row(
            testDescription: "no guard", host: { $0.fencing = .failed("no such file") }, area: .fencing, grade: .error,
            says: "the guard does not run: no such file", remedy: "guard: {executable: ...}"),
        Row(
            testDescription: "a guard that may be swapped out",
            host: { $0.fencing = .ran(lacking: ["its memory is not locked"]) }, area: .fencing, grade: .warning,
            says: "its memory is not locked", remedy: "LimitMEMLOCK"),
        Row(
            testDescription: "no watchdog", host: { $0.hasWatchdog = false }, area: .fencing, grade: .fine,
            says: "there is no /dev/watchdog"),
        Row(
            testDescription: "no watchdog where one is required", settings: { $0.watchdog.mode = .required },
            host: { $0.hasWatchdog = false }, area: .fencing, grade: .error, says: "required"),
        // The API
        Row(
            testDescription: "an open API", settings: { $0.restAPI.authentication = nil }, area: .api, grade: .warning,
            says: "whoever reaches 10.0.0.1:8008 can restart", remedy: "restapi.authentication"),
        Row(
            testDescription: "an API for this host",
            settings: {
                $0.restAPI.authentication = nil
                $0.restAPI.listen.host = "127.0.0.1"
            }, area: .api, grade: .fine, says: "listens on 127.0.0.1:8008 only"),
        Row(
            testDescription: "an API with an allowlist",
            settings: {
                $0.restAPI.authentication = nil
                $0.restAPI.allowlist = ["10.0.0.0/24"]
            }, area: .api, grade: .fine, says: "asks who"),
        Row(
            testDescription: "a password without TLS", settings: { $0.restAPI.certificateFile = nil }, area: .api,
            grade: .warning, says: "without TLS", remedy: "restapi.certfile"),
        // Ports
        Row(
            testDescription: "a port that is taken", host: { $0.apiPortFailure = "Address already in use" },
            area: .ports, grade: .error, says: "10.0.0.1:8008: Address already in use", remedy: "ss -ltnp"),
        Row(
            testDescription: "a port that is ours",
            host: {
                $0.apiPortFailure = "Address already in use"
                $0.isAgentRunning = true
            }, area: .ports, grade: .fine, says: "taken, by the agent"),
        Row(
            testDescription: "PostgreSQL's port is taken",
            host: {
                $0.serverPortFailures = ["127.0.0.1:5432": "Address already in use"]
                $0.isAgentRunning = true
            }, area: .ports, grade: .error, says: "127.0.0.1:5432"),
        Row(
            testDescription: "PostgreSQL's port is ours",
            host: {
                $0.serverPortFailures = ["127.0.0.1:5432": "Address already in use"]
                $0.isServerRunning = true
            }, area: .ports, grade: .fine, says: "taken, by the PostgreSQL"),
        // The clock
        Row(
            testDescription: "a slow clock", host: { $0.clockSource = "hpet" }, area: .clock, grade: .warning,
            says: "from hpet", remedy: "clocksource"),
        Row(
            testDescription: "a clock that drifts", host: { $0.isClockSynchronized = false }, area: .clock,
            grade: .warning, says: "not synchronized", remedy: "chrony"),
        // Store and lease
        Row(
            testDescription: "no store", store: { $0.error = "nobody answers (unreachable)" }, area: .store,
            grade: .error, says: "etcd3 cannot be read: nobody answers", remedy: "nothing leads without it"),
        Row(
            testDescription: "a slow store", store: { $0.took = .milliseconds(1800) }, area: .store, grade: .warning,
            says: "was read in 1800 ms", remedy: "retry_timeout"),
        Row(
            testDescription: "nobody leads", store: { $0.leader = nil }, area: .store, grade: .fine,
            says: "nobody leads"),
        Row(
            testDescription: "what the plugin says",
            store: { $0.findings = [StoreFinding(.warning, "etcd 3.4.23 is old", remedy: "upgrade")] }, area: .store,
            grade: .warning, says: "etcd 3.4.23 is old", remedy: "upgrade"),
        Row(
            testDescription: "no session", store: { $0.sessionError = "not allowed" }, area: .lease, grade: .error,
            says: "no session can be opened: not allowed"),
        Row(
            testDescription: "a timing that cannot be had", store: { $0.timingComplaints = ["ttl: raised"] },
            area: .lease, grade: .warning, says: "ttl: raised"),
        Row(
            testDescription: "the arithmetic", area: .lease, grade: .fine,
            says:
                "ttl 30 s (the defaults): the store grants 30 s, renewed every 7.5 s; after the last one a fast stop at "
                + "26.7 s, SIGQUIT at 27.7 s, SIGKILL at 29.5 s"),
        Row(
            testDescription: "the arithmetic through a follower",
            store: {
                $0.lease?.wishedInterval = .seconds(5)
                $0.lease?.intervalsBehind = 2
            }, area: .lease, grade: .fine, says: "renewed every 5 s (reckoned from 2 renewals before the last)"),
        Row(
            testDescription: "a longer lease than asked for",
            store: {
                $0.lease?.asked = .seconds(3)
                $0.lease?.granted = .seconds(4)
                $0.lease?.wishedInterval = .seconds(1)
            }, area: .lease, grade: .warning, says: "grants 4 s where ttl asks for 3 s", remedy: "shortest session"),
        Row(
            testDescription: "a lease too short to live by",
            store: {
                $0.lease?.granted = .milliseconds(500)
                $0.lease?.wishedInterval = .milliseconds(125)
            }, area: .lease, grade: .error, says: "a lease of 500 ms leaves"),
    ]

    @Test(arguments: rows) func aFaultIsSeenAndItsRemedyTold(_ row: Row) throws {
        let facts = DoctorFacts(
            complaints: [], settings: Self.settings(row.settings), host: Self.host(row.host),
            store: Self.store(row.store))
        let found = DoctorRules.judge(facts).filter { $0.area == row.area }
        let finding = try #require(found.first { $0.text.contains(row.says) }, "\(found.map(\.text))")
        #expect(finding.grade == row.grade, "\(finding)")
        if let remedy = row.remedy { #expect(finding.remedy?.contains(remedy) == true, "\(finding)") }
        if finding.grade != .fine, row.area != .lease { #expect(finding.remedy != nil) }
    }

    @Test func complaintsOfTheConfigurationAreFindings() {
        let complaints = [
            ConfigurationComplaint(.error, at: Self.mark, path: "ttl", "is no number"),
            ConfigurationComplaint(.warning, at: Self.mark, path: "x", "is unknown"),
        ]
        let found = DoctorRules.judge(DoctorFacts(complaints: complaints))
        #expect(found.map(\.grade) == [.error, .warning])
        #expect(found[0].text == "pg1.yml:3:5: ttl: is no number")
    }

    @Test(arguments: [
        ("/a/b", "/a"), ("/a/b/", "/a"), ("/a", "/"), ("a", "."), ("a/b", "a"),
    ]) func parents(_ path: String, _ parent: String) {
        #expect(DoctorRules.parent(of: path) == parent)
    }

    @Test(arguments: [
        (#"{"postgresql":{"authentication":{"superuser":{"password":"x"}}}}"#, true),
        (#"{"consul":{"token":"x"}}"#, true), (#"{"consul":{"token":""}}"#, false),
        (#"{"a":[{"auth_data":{"u":"p"}}]}"#, true), (#"{"scope":"demo","tags":{"clonefrom":true}}"#, false),
    ]) func secretsAreKnownByTheirNames(_ text: String, _ isThere: Bool) throws {
        let node = ConfigurationNode(try JSONValue.parse(text), at: Self.mark)
        #expect(HostLook.holdsSecrets(node) == isThere)
    }

    @Test func theCommandPrintsAndItsStatusTells() async throws {
        let fake = FakeCluster(files: ["pg1.yml": ""])
        fake.facts = DoctorFacts(
            complaints: [], settings: Self.settings { $0.restAPI.authentication = nil }, host: Self.host(),
            store: Self.store())
        #expect(await fake.run("doctor", "pg1.yml") == 0)
        #expect(fake.output.contains("ok       lease          ttl 30 s"))
        #expect(
            fake.output.contains(
                """
                warning  api            whoever reaches 10.0.0.1:8008 can restart, switch over and reconfigure this cluster
                                        -> set restapi.authentication
                """))
        #expect(fake.output.hasSuffix("pg1.yml: 0 errors, 1 warning\n"))
        let quiet = FakeCluster(files: ["pg1.yml": ""])
        quiet.facts = DoctorFacts(
            complaints: [], settings: Self.settings(), host: Self.host { $0.fencing = .failed("gone") },
            store: Self.store())
        #expect(await quiet.run("doctor", "-q", "--format", "json", "pg1.yml") == 1)
        let rows = try #require(try JSONValue.parse(quiet.output).array)
        #expect(rows.map { $0["grade"]?.string } == ["error"])
        #expect(rows.map { $0["area"]?.string } == ["guard"])
        #expect(quiet.complaints == "error: pg1.yml: 1 error, 0 warnings\n")
        #expect(await FakeCluster().run("doctor", "none.yml") == 1)
        #expect(await FakeCluster().run("doctor") == 2)
    }
}
