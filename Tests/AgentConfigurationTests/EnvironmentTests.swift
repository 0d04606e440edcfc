import AgentConfiguration
import ClusterModel
import ConfigurationTree
import Testing

@Suite struct EnvironmentTests {
    @Test func `variables replace what the file says`() throws {
        let loaded = Samples.load(
            Samples.minimal,
            [
                "PATRONI_NAME": "pg2", "PATRONI_POSTGRESQL_DATA_DIR": "/data",
                "PATRONI_REPLICATION_PASSWORD": "from-env",
                "PATRONI_RESTAPI_USERNAME": "u", "PATRONI_RESTAPI_PASSWORD": "p", "PATRONI_LOGLEVEL": "WARNING",
                "PATRONI_POSTGRESQL_BIN_PG_REWIND": "rw", "PATRONI_SCOPE": "", "HOME": "/root",
            ])
        #expect(loaded.complaints.isEmpty)
        let settings = try #require(loaded.settings)
        #expect(settings.name == "pg2")
        #expect(settings.scope == "demo", "an empty variable counts as unset")
        #expect(settings.postgresql.dataDirectory == "/data")
        #expect(settings.postgresql.authentication.replication.username == "replicator")
        #expect(settings.postgresql.authentication.replication.password?.value == "from-env")
        #expect(settings.restAPI.authentication?.username == "u")
        #expect(settings.log.level == .warning)
        #expect(settings.postgresql.executable(.pgRewind) == "rw")
        #expect(
            loaded.consumedEnvironment == [
                "PATRONI_NAME", "PATRONI_POSTGRESQL_DATA_DIR", "PATRONI_REPLICATION_PASSWORD",
                "PATRONI_RESTAPI_USERNAME",
                "PATRONI_RESTAPI_PASSWORD", "PATRONI_LOGLEVEL", "PATRONI_POSTGRESQL_BIN_PG_REWIND", "PATRONI_SCOPE",
            ])
    }

    @Test func `our variables win over Patroni's of the same name`() throws {
        let loaded = Samples.load(Samples.minimal, ["PATRONI_NAME": "theirs", "MATRIARCH_NAME": "ours"])
        #expect(loaded.settings?.name == "ours")
        #expect(loaded.consumedEnvironment == ["PATRONI_NAME", "MATRIARCH_NAME"])
    }

    @Test(arguments: [
        ("'localhost:2181'", ["localhost:2181"]), ("'a:2181','b:2181'", ["a:2181", "b:2181"]),
        ("a:2181,b:2181", ["a:2181", "b:2181"]), ("[a:2181, 'b:2181']", ["a:2181", "b:2181"]),
        ("- a:2181\n- b:2181", ["a:2181", "b:2181"]), ("[::1]:2181,[fe80::1]:2181", ["[::1]:2181", "[fe80::1]:2181"]),
    ])
    func `a list may be written in any way`(text: String, hosts: [String]) throws {
        let loaded = Samples.load(Samples.minimal, ["PATRONI_ZOOKEEPER_HOSTS": text])
        #expect(loaded.complaints.isEmpty)
        let reader = ConfigurationReader(try #require(loaded.settings?.store.node))
        #expect(reader.stringList("hosts") == hosts)
    }

    @Test(arguments: [
        ("{a: b, 'c': 'd'}", ["a", "c"]), ("a: b, c: d", ["a", "c"]), ("'a': 'b'", ["a"]), ("a: b\nc: d", ["a", "c"]),
    ])
    func `a mapping may be written in any way`(text: String, names: [String]) {
        let loaded = Samples.load(Samples.minimal, ["PATRONI_RESTAPI_HTTP_EXTRA_HEADERS": text])
        #expect(loaded.settings?.restAPI.httpExtraHeaders.map(\.name) == names)
    }

    @Test(arguments: [
        (
            ["PATRONI_RESTAPI_HTTP_EXTRA_HEADERS": "secret"],
            "error environment variable PATRONI_RESTAPI_HTTP_EXTRA_HEADERS: restapi.http_extra_headers: is no mapping; write {name: value, other: value}"
        ),
        (
            ["PATRONI_ZOOKEEPER_HOSTS": "'a"],
            "error environment variable PATRONI_ZOOKEEPER_HOSTS: zookeeper.hosts: a quote is not closed in this list"
        ),
        (
            ["PATRONI_NAEM": "x"],
            "warning environment variable PATRONI_NAEM: unknown variable, ignored; did you mean 'PATRONI_NAME'?"
        ),
        (
            ["MATRIARCH_WATCHDOG_SPECIAL": "x"],
            "warning environment variable MATRIARCH_WATCHDOG_SPECIAL: unknown variable, ignored"
        ),
        (
            ["PATRONI_RESTAPI_LISTEN": "x"],
            "error environment variable PATRONI_RESTAPI_LISTEN: restapi.listen: 'x' has no port; write host:port"
        ),
        (
            ["PATRONI_ETCD3_HOST": "x"],
            "error environment variable PATRONI_ETCD3_HOST: etcd3: a second store beside 'zookeeper' (c.yml:5:1); a cluster has exactly one, remove either"
        ),
    ])
    func `complaints name the variable and no secret`(environment: [String: String], expected: String) {
        #expect(Samples.complaints(Samples.minimal, environment) == [expected])
    }

    @Test func `a store which no table lists has variables for its keys`() throws {
        let text = Samples.minimal.replacing("zookeeper:\n  hosts: [127.0.0.1:2181]\n", "")
        let loaded = Samples.load(text, ["MATRIARCH_EMBEDDED_PATH": "/var/lib/store.db"])
        #expect(loaded.complaints.isEmpty)
        #expect(loaded.settings?.store.node["path"]?.text == "/var/lib/store.db")
    }

    @Test func `the environment alone can be the configuration`() throws {
        let environment = [
            "PATRONI_NAME": "pg1", "PATRONI_SCOPE": "demo", "PATRONI_RESTAPI_LISTEN": "127.0.0.1:8008",
            "PATRONI_POSTGRESQL_LISTEN": "127.0.0.1:5432", "PATRONI_POSTGRESQL_DATA_DIR": "/srv/pg",
            "PATRONI_REPLICATION_USERNAME": "rep", "PATRONI_ZOOKEEPER_HOSTS": "a:2181",
        ]
        let alone = ConfigurationLoader.load(path: nil, environment: environment, knownStores: Samples.stores)
        #expect(alone.complaints.isEmpty)
        #expect(alone.settings?.name == "pg1")
        let missing = ConfigurationLoader.load(
            path: "/nonexistent/c.yml", environment: environment, knownStores: Samples.stores)
        #expect(
            missing.complaints.map { "\($0.severity) \($0)" } == [
                "warning /nonexistent/c.yml: no such file or directory; the environment variables alone are used"
            ])
        #expect(missing.settings?.name == "pg1")
    }

    @Test func `a whole configuration in a variable silences the others`() {
        let loaded = ConfigurationLoader.load(
            path: nil,
            environment: ["PATRONI_CONFIGURATION": Samples.minimal, "PATRONI_NAME": "other", "PATRONI_X": "y"],
            knownStores: Samples.stores)
        #expect(loaded.complaints.isEmpty)
        #expect(loaded.settings?.name == "pg1")
        #expect(loaded.consumedEnvironment == ["PATRONI_CONFIGURATION", "PATRONI_NAME"])
        let broken = ConfigurationLoader.load(
            path: nil, environment: ["PATRONI_CONFIGURATION": "a: b: c"], knownStores: Samples.stores)
        #expect(
            broken.complaints.first?.description.hasPrefix("environment variable PATRONI_CONFIGURATION:1:5: ") == true)
    }

    @Test func `nothing at all is an error that says what to do`() {
        let nothing = ConfigurationLoader.load(path: nil, environment: [:], knownStores: Samples.stores)
        #expect(
            nothing.complaints.map(\.description) == [
                "configuration: nothing is configured; name a YAML file, or set environment variables PATRONI_*"
            ])
        let missing = ConfigurationLoader.load(path: "/nonexistent", environment: [:], knownStores: Samples.stores)
        #expect(
            missing.complaints.map(\.description) == [
                "/nonexistent: no such file or directory; give an existing one, or configure by environment variables "
                    + "PATRONI_*"
            ])
        #expect(missing.settings == nil)
    }
}
