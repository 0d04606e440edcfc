import AgentConfiguration
import ClusterModel
import ConfigurationTree
import Testing

@Suite struct SettingsTests {
    @Test func `the smallest file gets its defaults`() throws {
        let loaded = Samples.load(Samples.minimal)
        #expect(loaded.complaints.isEmpty)
        let settings = try #require(loaded.settings)
        #expect(settings.scope == "demo")
        #expect(settings.name == "pg1")
        #expect(settings.namespace == "service")
        #expect(settings.stateDirectory == "/srv/pg1.matriarch")
        #expect(settings.store.name == "zookeeper")
        #expect(settings.store.node["hosts"]?.elements.count == 1)
        #expect(settings.bootstrap == nil)
        #expect(settings.restAPI.connectAddress == HostPort(host: "127.0.0.1", port: 8008))
        #expect(settings.postgresql.listenAddresses == ["127.0.0.1"])
        #expect(settings.postgresql.port == 5433)
        #expect(settings.postgresql.connectAddress.description == "127.0.0.1:5433")
        #expect(settings.postgresql.configDirectory == "/srv/pg1")
        #expect(settings.postgresql.createReplicaMethods == ["basebackup"])
        #expect(settings.postgresql.authentication.replication.username == "replicator")
        #expect(settings.postgresql.authentication.replication.password?.value == "rep-pass")
        #expect(settings.postgresql.executable(.pgCtl) == "pg_ctl")
        #expect(settings.watchdog.mode == .automatic)
        #expect(settings.log.level == .info)
    }

    @Test func `a full file is read key by key`() throws {
        let loaded = Samples.load(
            """
            scope: demo
            name: pg-1
            namespace: /db/service/
            thread_pool_size: 5
            state_dir: /var/lib/matriarch
            log: {type: json, level: debug, traceback_level: WARN, format: [asctime, {levelname: level}], mode: 0640,
                  static_fields: {app: db, n: 5}, loggers: {pg.main: ERROR}, file_size: 25MB, dir: /var/log/db}
            restapi:
              listen: '[::1]:8008'
              connect_address: db1.example.com:8008
              authentication: {username: admin, password: 'p:w'}
              certfile: /etc/ssl/db.crt
              cafile: /etc/ssl/ca.crt
              verify_client: optional
              allowlist: 10.0.0.0/8, localhost
              allowlist_include_members: yes
              http_extra_headers: {X-Frame-Options: DENY}
              server_tokens: ProductOnly
            ctl: {insecure: on, certfile: /etc/ssl/ctl.crt}
            bootstrap:
              dcs: {ttl: 20, loop_wait: 5, retry_timeout: 5, postgresql: {parameters: {max_connections: 200}}}
              method: pitr
              pitr: {command: /usr/local/bin/pitr.sh, keep_existing_recovery_conf: true}
              initdb: [{encoding: UTF8}, data-checksums]
              pg_hba: ['host all all 0.0.0.0/0 scram-sha-256']
              post_init: /usr/local/bin/post.sh
            embedded: {path: /var/lib/store.db}
            postgresql:
              listen: '10.0.0.1,[::1]:5432'
              connect_address: 10.0.0.1
              proxy_address: 10.0.0.9:6432
              data_dir: /srv/pg1/
              config_dir: /etc/pg1
              bin_dir: /usr/lib/postgresql/15/bin
              bin_name: {pg_ctl: my_ctl, postgres: /opt/pg/postgres}
              pgpass: /run/pgpass
              authentication:
                superuser: {username: postgres, password: sup, sslmode: verify-ca, sslpassword: x}
                replication: {username: rep, password: 0123}
                rewind: {username: rew}
              parameters: {archive_mode: on, archive_command: "cp %p /a/%f", work_mem: 8MB, log_file_mode: 0640,
                           jit: 'off', max_files_per_process: 1_000}
              pg_hba: ["local all all peer", "host db1,db2 all 10.0.0.0/8 md5"]
              pg_ident: |
                m u p

                m v q
              callbacks: {on_role_change: /bin/cb.sh}
              create_replica_methods: [pgbackrest, basebackup]
              pgbackrest: {command: restore.sh, keep_data: true, no_params: true}
              wal_e: {command: wal_e.sh}
              basebackup: [{max-rate: 100M}, checkpoint: fast, verbose]
              use_pg_rewind: true
              recovery_conf: {restore_command: cp /a/%f %p}
              pre_promote: /bin/pre.sh
              pg_ctl_timeout: 2min
            watchdog: {mode: off, safety_margin: -1}
            tags: {nofailover: no, clonefrom: true, zone: '2', weight: 2, ratio: 1.4}
            guard: {executable: /usr/libexec/guard}
            """)
        #expect(loaded.complaints.map(\.description) == [])
        let settings = try #require(loaded.settings)
        #expect(settings.namespace == "db/service")
        #expect(settings.stateDirectory == "/var/lib/matriarch")
        #expect(settings.log.kind == .json)
        #expect(settings.log.level == .debug)
        #expect(settings.log.tracebackLevel == .warning)
        #expect(settings.log.fileMode == 0o640)
        #expect(settings.log.fileSize == 26_214_400)
        #expect(settings.log.loggers == [.init(name: "pg.main", level: .error)])
        #expect(settings.log.staticFields["n"] == 5)
        #expect(settings.restAPI.listen == HostPort(host: "::1", port: 8008))
        #expect(settings.restAPI.listen.description == "[::1]:8008")
        #expect(settings.restAPI.authentication?.password.value == "p:w")
        #expect(settings.restAPI.allowlist == ["10.0.0.0/8", "localhost"])
        #expect(settings.restAPI.clientVerification == .optional)
        #expect(settings.restAPI.serverTokens == .productOnly)
        #expect(settings.restAPI.usesTLS)
        #expect(settings.control.isInsecure)
        #expect(settings.control.authentication?.username == "admin", "taken from restapi")
        #expect(settings.control.caFile == "/etc/ssl/ca.crt", "taken from restapi")
        let bootstrap = try #require(settings.bootstrap)
        #expect(bootstrap.method == "pitr")
        #expect(bootstrap.methods["pitr"]?["command"]?.text == "/usr/local/bin/pitr.sh")
        #expect(bootstrap.initdb.map(\.description) == ["--encoding=UTF8", "--data-checksums"])
        #expect(bootstrap.postBootstrap == "/usr/local/bin/post.sh")
        #expect(bootstrap.dynamic["ttl"] == 20)
        #expect(settings.store == StoreSection(name: "embedded", node: settings.store.node))
        let postgresql = settings.postgresql
        #expect(postgresql.listenAddresses == ["10.0.0.1", "::1"])
        #expect(postgresql.connectAddress == HostPort(host: "10.0.0.1", port: 5432))
        #expect(postgresql.proxyAddress == HostPort(host: "10.0.0.9", port: 6432))
        #expect(postgresql.executable(.pgCtl) == "/usr/lib/postgresql/15/bin/my_ctl")
        #expect(postgresql.executable(.postgres) == "/opt/pg/postgres")
        #expect(postgresql.authentication.superuser.options == [NamedText(name: "sslmode", value: "verify-ca")])
        #expect(postgresql.authentication.replication.password?.value == "0123")
        #expect(postgresql.authentication.rewind?.username == "rew")
        #expect(
            postgresql.parameters.map(\.value) == ["on", "cp %p /a/%f", "8MB", "0640", "off", "1000"])
        #expect(postgresql.pgHBA?.last == "host db1,db2 all 10.0.0.0/8 md5")
        #expect(postgresql.pgIdent == ["m u p", "m v q"])
        #expect(postgresql.callbacks["on_role_change"] == "/bin/cb.sh")
        #expect(postgresql.createReplicaMethods == ["pgbackrest", "basebackup"])
        #expect(Set(postgresql.methods.keys) == ["pgbackrest", "wal_e", "basebackup"])
        #expect(
            postgresql.basebackup.map(\.description) == ["--max-rate=100M", "--checkpoint=fast", "--verbose"])
        #expect(postgresql.pgCtlTimeout == .seconds(120))
        #expect(settings.watchdog.mode == .off)
        #expect(
            settings.tags.values.members.map(\.value) == [
                .bool(false), .bool(true), .string("2"), .integer(2), .number(1.4),
            ])
        #expect(settings.guardProcess.executable == "/usr/libexec/guard")
    }

    @Test func `nothing configured names all that is missing`() {
        #expect(
            Samples.complaints("") == [
                "error c.yml:1:1: name: missing; this member's name, unique in the cluster",
                "error c.yml:1:1: scope: missing; the cluster's name, the same on all members",
                "error c.yml:1:1: no store is configured; give one of these sections: zookeeper, embedded",
                "error c.yml:1:1: restapi: missing; give a section with at least listen: host:port",
                "error c.yml:1:1: postgresql: missing; give a section with at least listen, data_dir and authentication",
            ])
    }

    @Test(arguments: [
        // Whole file.
        (
            "[a]",
            [
                "error c.yml:1:1: expected a mapping (name: value), found a list"
            ]
        ),
        // Stores.
        (
            "\(Samples.minimal)embedded: {path: x}",
            [
                "error c.yml:12:1: embedded: a second store beside 'zookeeper' (c.yml:5:1); a cluster has exactly one, remove either"
            ]
        ),
        ("\(Samples.minimal)embedded:", []),
        (
            "\(Samples.minimal)etcd3: {host: x}",
            [
                "error c.yml:12:1: etcd3: a second store beside 'zookeeper' (c.yml:5:1); a cluster has exactly one, remove either"
            ]
        ),
        (
            "\(Samples.minimal.replacing("zookeeper:", "consul:"))",
            [
                "error c.yml:5:1: consul: this store is not supported by this build; it has: zookeeper, embedded"
            ]
        ),
        (
            "\(Samples.minimal.replacing("zookeeper:", "zoekeeper:"))",
            [
                "error c.yml:1:1: no store is configured; give one of these sections: zookeeper, embedded",
                "warning c.yml:5:1: zoekeeper: unknown key, ignored; did you mean 'zookeeper'?",
            ]
        ),
        // Top level.
        (
            Samples.minimal.replacing("name: pg1", "name: a/b"),
            [
                "error c.yml:2:7: name: a member's name has neither slashes nor control characters"
            ]
        ),
        (
            Samples.minimal.replacing("name: pg1", "name: __patroni_strict_sync_replica_placeholder__"),
            [
                "error c.yml:2:7: name: '__patroni_strict_sync_replica_placeholder__' is reserved; choose another name"
            ]
        ),
        (
            "\(Samples.minimal)ttl: 30",
            [
                "warning c.yml:12:6: ttl: is set for the whole cluster, in the dynamic configuration (bootstrap.dcs for a new one); ignored here"
            ]
        ),
        // restapi
        (
            Samples.minimal.replacing("127.0.0.1:8008", "0.0.0.0:8008"),
            [
                "error c.yml:4:3: restapi.connect_address: missing; with listen '0.0.0.0:8008' the peers must be told an address, host:port"
            ]
        ),
        (
            Samples.minimal.replacing("127.0.0.1:8008", "localhost"),
            [
                "error c.yml:4:11: restapi.listen: 'localhost' has no port; write host:port"
            ]
        ),
        (
            Samples.minimal.replacing("127.0.0.1:8008", "localhost:http"),
            [
                "error c.yml:4:11: restapi.listen: 'http' is not a port; write host:port, the port from 1 to 65535"
            ]
        ),
        (
            Samples.minimal(under: "restapi", "  authentication: {username: me}\n  verify_client: allways"),
            [
                "error c.yml:4:19: restapi.authentication.password: missing; give both username and password, or neither",
                "error c.yml:5:18: restapi.verify_client: 'allways' is not one of none, optional or required",
            ]
        ),
        (
            Samples.minimal(under: "restapi", "  certfile: a\n  verify_client: required"),
            [
                "error c.yml:5:18: restapi.verify_client: needs cafile, which signs the clients' certificates"
            ]
        ),
        (
            Samples.minimal(under: "restapi", "  http_extra_headers: {'X Y': z}"),
            [
                "error c.yml:4:23: restapi.http_extra_headers: 'X Y' is no header: a name without blanks, a value on one line"
            ]
        ),
        // postgresql
        (
            Samples.minimal.replacing("127.0.0.1:5433", "'*:5433'"),
            [
                "error c.yml:8:3: postgresql.connect_address: missing; with listen '*' the peers must be told an address, host:port"
            ]
        ),
        (
            Samples.minimal.replacing("data_dir: /srv/pg1", "data_dri: /srv/pg1"),
            [
                "error c.yml:8:3: postgresql.data_dir: missing; PostgreSQL's data directory",
                "warning c.yml:9:3: postgresql.data_dri: unknown key, ignored; did you mean 'data_dir'?",
            ]
        ),
        (
            Samples.minimal.replacing("replication:", "replicator:"),
            [
                "error c.yml:11:5: postgresql.authentication.replication: missing; standbys connect as this role: {username: ..., password: ...}",
                "warning c.yml:11:5: postgresql.authentication.replicator: unknown key, ignored; did you mean 'replication'?",
            ]
        ),
        (
            Samples.minimal(
                under: "postgresql",
                "  parameters: {max_connections: 5, Port: 1, shared_preload_libraries: [a, b], 'x y': 1}"),
            [
                "warning c.yml:8:16: postgresql.parameters.max_connections: has to be the same on all members: it is set in the dynamic configuration; ignored here",
                "warning c.yml:8:36: postgresql.parameters.Port: is set by the agent from listen and scope; ignored here",
                "error c.yml:8:71: postgresql.parameters.shared_preload_libraries: expected a single value, found a list; a list in PostgreSQL is one text: 'a, b'",
                "error c.yml:8:79: postgresql.parameters.x y: is not the name of a PostgreSQL setting",
            ]
        ),
        (
            Samples.minimal(under: "postgresql", "  parameters: [a]"),
            [
                "error c.yml:8:15: postgresql.parameters: expected a mapping (name: value), found a list"
            ]
        ),
        (
            Samples.minimal(under: "postgresql", "  pg_hba: []\n  use_slots: false\n  use_pg_rewind: perhaps"),
            [
                "error c.yml:8:11: postgresql.pg_hba: is an empty list: nobody could connect; remove the key to leave pg_hba.conf alone",
                "warning c.yml:9:14: postgresql.use_slots: is set for the whole cluster, in the dynamic configuration; ignored in a local file",
                "error c.yml:10:18: postgresql.use_pg_rewind: 'perhaps' is not a Boolean; write true or false",
            ]
        ),
        (
            Samples.minimal(under: "postgresql", "  basebackup: [{pgdata: /x}, verbose]\n  pgbackrset: {comand: x}"),
            [
                "warning c.yml:8:17: postgresql.basebackup[0]: option 'pgdata' of pg_basebackup is set by the agent and cannot be given; ignored",
                "warning c.yml:9:3: postgresql.pgbackrset: unknown key, ignored",
            ]
        ),
        (
            Samples.minimal(
                under: "postgresql",
                "  recovery_conf: {primary_conninfo: x, recovery_target_name: y, restore_command: z}"),
            [
                "warning c.yml:8:18: postgresql.recovery_conf: 'primary_conninfo' is set by the agent; ignored here",
                "warning c.yml:8:18: postgresql.recovery_conf: 'recovery_target_name' is set by the agent; ignored here",
            ]
        ),
        // bootstrap
        (
            "\(Samples.minimal)bootstrap: {initdb: [pwfile: x], users: {a: {}}, dcs: {ttl: soon, loop_wiat: 3}}",
            [
                "error c.yml:12:22: bootstrap.initdb[0]: option 'pwfile' of initdb is set by the agent and cannot be given",
                "warning c.yml:12:41: bootstrap.users: is no longer supported since Patroni 4.0; create roles in post_bootstrap; ignored",
                "error c.yml:12:61: bootstrap.dcs.ttl: 'soon' is not a whole number",
                "warning c.yml:12:67: bootstrap.dcs.loop_wiat: unknown key, ignored; did you mean 'loop_wait'?",
            ]
        ),
        (
            "\(Samples.minimal)bootstrap: {dcs: {ttl: 20, postgresql: {parameters: {max_connections: 500ABC}}}}",
            [
                "warning c.yml:12:24: bootstrap.dcs.ttl: loop_wait 10 + 2 * retry_timeout 10 exceeds ttl 20; loop_wait 1, retry_timeout 9 are used",
                "warning c.yml:12:71: bootstrap.dcs.postgresql.parameters.max_connections: '500ABC' is not a whole number; the default 100 is used",
            ]
        ),
        // watchdog, tags, log
        (
            "\(Samples.minimal)watchdog: {mode: sometimes}",
            [
                "error c.yml:12:18: watchdog.mode: 'sometimes' is not one of off, automatic, required, auto, require, disable, disabled, false or no"
            ]
        ),
        (
            "\(Samples.minimal)tags: {nofailover: true, failover_priority: 1, nosync: no, sync_priority: x}",
            [
                "warning c.yml:12:45: tags.failover_priority: Conflicting configuration between nofailover: True and failover_priority: 1. Defaulting to nofailover: True",
                "error c.yml:12:75: tags.sync_priority: is not a whole number",
            ]
        ),
        (
            "\(Samples.minimal)log: {level: LOUD, loggers: {a: b}, fil_num: 3}",
            [
                "error c.yml:12:14: log.level: 'LOUD' is not one of DEBUG, INFO, WARNING, ERROR, CRITICAL, WARN, FATAL or NOTSET",
                "error c.yml:12:33: log.loggers.a: 'b' is not one of DEBUG, INFO, WARNING, ERROR, CRITICAL, WARN, FATAL or NOTSET",
                "warning c.yml:12:37: log.fil_num: unknown key, ignored; did you mean 'file_num'?",
            ]
        ),
    ])
    func `each complaint has its exact place`(text: String, expected: [String]) {
        let loaded = Samples.load(text)
        #expect(loaded.complaints.map { "\($0.severity) \($0)" } == expected)
        #expect((loaded.settings == nil) == loaded.complaints.containsError)
    }

    @Test func `files of long ago are understood`() throws {
        let loaded = Samples.load(
            """
            scope: demo
            zookeeper:
            restapi: {listen: 'localhost:8008', auth: 'user:secret'}
            postgresql:
              name: pg7
              listen: localhost
              data_dir: /srv/pg
              replication: {username: rep, password: x}
              superuser: {username: sup}
              pg_rewind: {username: rew}
              create_replica_method: [basebackup]
            """)
        #expect(loaded.complaints.map(\.description) == [])
        let settings = try #require(loaded.settings)
        #expect(settings.name == "pg7")
        #expect(settings.postgresql.port == 5432)
        #expect(settings.restAPI.authentication?.password.value == "secret")
        #expect(settings.postgresql.authentication.rewind?.username == "rew")
    }

    @Test func `no complaint and no description shows a password`() {
        let text = """
            scope: demo
            name: pg1
            restapi: {listen: x, authentication: {username: a, password: [hunter2]}, auth: hunter2}
            postgresql: {authentication: {replication: {username: r, password: hunter2, sslmode: [hunter2]}}}
            zookeeper: {}
            """
        let loaded = Samples.load(text)
        #expect(!loaded.complaints.isEmpty)
        #expect(!"\(loaded.complaints)".contains("hunter2"))
    }

    @Test func `printed settings show no password`() throws {
        let settings = try #require(Samples.load(Samples.minimal).settings)
        var dumped = "\(settings)"
        dump(settings, to: &dumped)
        #expect(!dumped.contains("rep-pass"))
        let shown = settings.tree.redacted.json.serialized()
        #expect(!shown.contains("rep-pass"))
        #expect(shown.contains("replicator"))
    }

    @Test func `the sample file that people start from is understood`() throws {
        let loaded = Samples.load(
            """
            scope: batman
            name: postgresql0
            restapi:
              listen: 127.0.0.1:8008
              connect_address: 127.0.0.1:8008
            zookeeper:
              hosts: '127.0.0.1:2181','127.0.0.2:2181'
            bootstrap:
              dcs:
                ttl: 30
                loop_wait: 10
                retry_timeout: 10
                maximum_lag_on_failover: 1048576
                postgresql:
                  use_pg_rewind: true
                  pg_hba:
                  - host replication replicator 127.0.0.1/32 md5
                  parameters:
              initdb:
              - encoding: UTF8
              - data-checksums
            postgresql:
              listen: 127.0.0.1:5432
              connect_address: 127.0.0.1:5432
              data_dir: data/postgresql0
              pgpass: /tmp/pgpass0
              authentication:
                replication:
                  username: replicator
                  password: rep-pass
                superuser:
                  username: postgres
                  password: zalando
                rewind:
                  username: rewind_user
                  password: rewind_password
              parameters:
                unix_socket_directories: '..'
            tags:
                noloadbalance: false
                clonefrom: false
                nostream: false
            """.replacing("'127.0.0.1:2181','127.0.0.2:2181'", "127.0.0.1:2181,127.0.0.2:2181"))
        #expect(loaded.complaints.map(\.description) == [])
        #expect(loaded.settings != nil)
    }

    @Test func `a reload takes over what can change and warns of the rest`() throws {
        let running = try #require(Samples.load(Samples.minimal).settings)
        let newer = try #require(
            Samples.load(
                Samples.minimal.replacing("name: pg1", "name: pg2").replacing("/srv/pg1", "/srv/pg2")
                    .replacing(":8008", ":8009").replacing(":2181", ":2182") + "tags: {nosync: true}\n"
            ).settings)
        let (settings, complaints) = ConfigurationLoader.reloading(running, with: newer)
        #expect(
            complaints.map { "\($0.severity) \($0)" } == [
                "warning c.yml:2:7: name: cannot change while the agent runs; restart the agent for it",
                "warning c.yml:6:3: zookeeper: cannot change while the agent runs; restart the agent for it",
                "warning c.yml:9:13: postgresql.data_dir: cannot change while the agent runs; restart the agent for it",
            ])
        #expect(settings.name == "pg1")
        #expect(settings.postgresql.dataDirectory == "/srv/pg1")
        #expect(settings.stateDirectory == "/srv/pg1.matriarch")
        #expect(settings.store == running.store)
        #expect(settings.restAPI.listen.port == 8009)
        #expect(settings.tags.isNoSync)
        // What the store took over itself is no change that waits for a restart.
        let taken = ConfigurationLoader.reloading(running, with: newer, storeIsTaken: true)
        #expect(taken.complaints.map(\.path) == ["name", "postgresql.data_dir"])
        #expect(taken.settings.store == newer.store)
        let same = ConfigurationLoader.reloading(running, with: running)
        #expect(same.settings == running)
        #expect(same.complaints.isEmpty)
        let moved = try #require(
            Samples.load(Samples.minimal.replacing("zookeeper:\n  hosts: [127.0.0.1:2181]", "embedded: {path: x}"))
                .settings)
        let kept = ConfigurationLoader.reloading(running, with: moved)
        #expect(kept.settings.store == running.store)
        #expect(kept.complaints.map(\.path) == ["zookeeper", "embedded"])
    }

    @Test func `the section of etcd's old API points to the new one`() {
        let text = Samples.minimal.replacing("zookeeper:", "etcd:")
        let known = ConfigurationLoader.load(
            text: text, source: "c.yml", environment: [:], knownStores: ["zookeeper", "etcd3"])
        #expect(known.complaints.count == 1)
        let message = known.complaints.first?.description ?? ""
        #expect(message.hasPrefix("c.yml:5:1: etcd: ") && message.contains("name the section etcd3"), "\(message)")
        // Without a plugin for it there is nothing to point to.
        let unknown = ConfigurationLoader.load(
            text: text, source: "c.yml", environment: [:], knownStores: ["zookeeper"])
        #expect(unknown.complaints.first?.description.contains("it has: zookeeper") == true)
    }

    @Test func `a text with a NUL is refused`() {
        #expect(
            Samples.complaints(Samples.minimal.replacing("/srv/pg1", "\"/srv\\0/pg1\"")) == [
                "error c.yml:9:13: postgresql.data_dir: contains a NUL character"
            ])
    }

    @Test func `an operator needs no PostgreSQL`() throws {
        let loaded = ConfigurationLoader.loadForOperator(
            path: nil,
            environment: [
                "PATRONI_CONFIGURATION":
                    "scope: demo\nnamespace: /a/\nzookeeper: {hosts: x}\nctl: {authentication: {username: u, password: p}}\n"
            ], knownStores: Samples.stores)
        #expect(loaded.complaints.isEmpty)
        let settings = try #require(loaded.settings)
        #expect(settings.scope == "demo")
        #expect(settings.namespace == "a")
        #expect(settings.store.name == "zookeeper")
        #expect(settings.control.authentication?.username == "u")
        let named = ConfigurationLoader.loadForOperator(
            path: nil, environment: [:], knownStores: Samples.stores, store: settings.store)
        #expect(named.settings?.store.name == "zookeeper")
    }
}

extension String {
    /// For spoiling samples.
    func replacing(_ old: String, _ new: String) -> String {
        var result = "", rest = self[...]
        while let range = rest.firstRange(of: old) {
            result += rest[..<range.lowerBound] + new
            rest = rest[range.upperBound...]
        }
        return result + rest
    }
}
