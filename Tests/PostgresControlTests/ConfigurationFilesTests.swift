import ClusterModel
import Foundation
import Testing

@testable import PostgresControl

struct ConfigurationFilesTests {
    /// A small catalogue of what each version knows of recovery.
    static func catalog(_ version: Int) -> SettingsCatalog {
        var lines = [
            "max_connections\tpostmaster\tg\tINTEGER\t0\t1\t262143\t\t",
            "wal_level\tpostmaster\tg\tENUM\treplica\t\t\t\t",
            "listen_addresses\tpostmaster\tg\tSTRING\tlocalhost\t\t\t\t",
            "port\tpostmaster\tg\tINTEGER\t5432\t1\t65535\t\t",
            "cluster_name\tpostmaster\tg\tSTRING\t\t\t\t\t",
            "autovacuum_vacuum_scale_factor\tsighup\tg\tREAL\t0\t0\t100\t\t",
            "hot_standby\tpostmaster\tg\tBOOLEAN\tTRUE\t\t\t\t",
            "shared_buffers\tpostmaster\tg\tINTEGER\t0\t16\t1073741823\t\t",
            "wal_retrieve_retry_interval\tsighup\tg\tINTEGER\t5000\t1\t2147483647\t\t",
            "restore_command\tsighup\tg\tSTRING\t\t\t\t\t", "primary_conninfo\tsighup\tg\tSTRING\t\t\t\t\t",
            "primary_slot_name\tsighup\tg\tSTRING\t\t\t\t\t",
            "recovery_min_apply_delay\tsighup\tg\tINTEGER\t0\t0\t2147483647\t\t",
            "recovery_target_timeline\tpostmaster\tg\tSTRING\tlatest\t\t\t\t",
            "synchronous_standby_names\tsighup\tg\tSTRING\t\t\t\t\t",
        ]
        for name in [
            "recovery_target", "recovery_target_lsn", "recovery_target_name", "recovery_target_time",
            "recovery_target_xid",
        ] {
            lines.append("\(name)\tpostmaster\tg\tSTRING\t\t\t\t\t")
        }
        if version < 16 { lines.append("promote_trigger_file\tsighup\tg\tSTRING\t\t\t\t\t") }
        return SettingsCatalog(entries: SettingsCatalog.parse(lines), majorVersion: version)
    }

    static func layout() -> PostgresLayout {
        var layout = PostgresLayout(
            dataDirectory: "/data", stateDirectory: "/state", clusterName: "demo", memberName: "pg 1")
        layout.replication = RoleLogin(
            user: "replicator", password: Password("secret"), options: [ServerSetting("sslmode", "verify-full")])
        layout.controlledParameters = [ServerSetting("wal_level", "replica"), ServerSetting("max_connections", "100")]
        layout.parameters = [
            ServerSetting("shared_buffers", "128MB"), ServerSetting("no_such_setting", "1"),
            ServerSetting("pg_stat_statements.max", "10"), ServerSetting("autovacuum_vacuum_scale_factor", "1000"),
            ServerSetting("cluster_name", "not ours"), ServerSetting("hot_standby", "maybe"),
            ServerSetting("restore_command", "cp '/arch\\ive/%f' %p"),
        ]
        layout.recoveryConf = [
            ServerSetting("recovery_min_apply_delay", "5s"), ServerSetting("recovery_target_time", "2020-01-01"),
            ServerSetting("trigger_file", "/tmp/go"), ServerSetting("primary_conninfo", "host=elsewhere"),
        ]
        return layout
    }

    @Test(arguments: 13...18) func theMainFileOfAStandby(_ version: Int) {
        let files = PostgresConfigurationFiles(layout: Self.layout(), catalog: Self.catalog(version))
        let standby = StandbySettings(upstream: ServerEndpoint(host: "10.0.0.2", port: 5433), slotName: "pg_1")
        let (text, warnings) = files.mainText(.standby(standby), synchronousStandbyNames: nil)
        let lines = text.split(separator: "\n").map(String.init)
        #expect(text.hasPrefix(PostgresConfigurationFiles.header))
        #expect(lines[1] == "include 'postgresql.base.conf'")
        #expect(lines.contains("shared_buffers = '128MB'"))
        #expect(lines.contains("pg_stat_statements.max = '10'"))
        #expect(lines.contains("autovacuum_vacuum_scale_factor = '100.0'"))
        #expect(lines.contains("cluster_name = 'demo'"))
        #expect(lines.contains("hba_file = '/data/pg_hba.conf'"))
        #expect(lines.contains("restore_command = 'cp ''/arch\\\\ive/%f'' %p'"))
        #expect(lines.contains("recovery_min_apply_delay = '5s'"))
        #expect(lines.contains("recovery_target_timeline = 'latest'"))
        #expect(lines.contains("recovery_target_time = ''"))
        #expect(lines.contains("primary_slot_name = 'pg_1'"))
        #expect(lines.contains("wal_retrieve_retry_interval = '\(StandbySettings.retryInterval)'"))
        #expect(lines.contains("promote_trigger_file = '/tmp/go'") == (version < 16))
        let conninfo = lines.first { $0.hasPrefix("primary_conninfo") } ?? ""
        #expect(
            conninfo
                == "primary_conninfo = 'host=10.0.0.2 port=5433 user=replicator passfile=/state/pgpass application_name=''pg 1'' sslmode=verify-full dbname=postgres'"
        )
        #expect(!text.contains("secret") && !text.contains("elsewhere") && !text.contains("not ours"))
        #expect(!text.contains("no_such_setting") && !text.contains("maybe"))
        #expect(warnings.count == (version < 16 ? 3 : 4))
    }

    @Test func thePrimaryHasNoRecoverySection() {
        let files = PostgresConfigurationFiles(layout: Self.layout(), catalog: nil)
        let (text, warnings) = files.mainText(.primary, synchronousStandbyNames: "ANY 1 (b, c)")
        #expect(!text.contains("recovery_target") && !text.contains("restore_command"))
        #expect(text.contains("synchronous_standby_names = 'ANY 1 (b, c)'"))
        #expect(warnings.isEmpty)
    }

    @Test func usersSettingsWinWhereTheyMay() {
        var layout = Self.layout()
        layout.parameters = [
            ServerSetting("wal_retrieve_retry_interval", "3s"), ServerSetting("hba_file", "/etc/hba"),
            ServerSetting("ident_file", "my_ident.conf"),
        ]
        layout.configDirectory = "/etc/pg"
        layout.customConf = "/etc/custom.conf"
        let (text, _) = PostgresConfigurationFiles(layout: layout, catalog: nil).mainText(
            .primary, synchronousStandbyNames: nil)
        #expect(text.contains("wal_retrieve_retry_interval = '3s'"))
        #expect(text.contains("hba_file = '/etc/hba'"))
        #expect(text.contains("ident_file = '/etc/pg/my_ident.conf'"))
        #expect(text.contains("include '/etc/custom.conf'"))
    }

    @Test func aDetachedStandbyStreamsFromNobody() {
        let settings = StandbySettings(upstream: nil, slotName: "x").settings(Self.layout())
        #expect(settings.contains(ServerSetting("primary_conninfo", "")))
        #expect(settings.contains(ServerSetting("primary_slot_name", "")))
    }

    @Test func standbyClusterSettingsWinOverTheUsers() {
        var layout = Self.layout()
        layout.recoveryConf = [ServerSetting("restore_command", "a")]
        let standby = StandbySettings(
            upstream: ServerEndpoint(host: "a,b", port: 5432), restoreCommand: "b", requiresWritableUpstream: true)
        let settings = standby.settings(layout)
        #expect(settings.filter { $0.name == "restore_command" } == [ServerSetting("restore_command", "b")])
        #expect(standby.primaryConnInfo(layout)?.contains("target_session_attrs=read-write") == true)
    }

    @Test func recoverySettingsAreStrippedFromTheAutomaticFile() {
        let text = """
            # Do not edit this file manually!
            work_mem = '64MB'
            primary_conninfo = 'host=old'
              RECOVERY_TARGET_TIME='x'
            recovery_prefetch = 'off'

            """
        #expect(
            PostgresConfigurationFiles.strippingRecovery(text)
                == "# Do not edit this file manually!\nwork_mem = '64MB'\nrecovery_prefetch = 'off'\n")
    }

    @Test func theCommandLineHoldsWhatMayNotBeOverridden() {
        var layout = Self.layout()
        layout.binDirectory = "/usr/lib/pg"
        layout.controlledParameters.append(ServerSetting("wal_keep_size", "128MB"))
        let control = ControlData(
            systemIdentifier: "1", state: .shutDownInRecovery, timeline: Timeline(1), checkpoint: .zero,
            settings: ["max_connections": 200])
        let standby = ServerCommand.start(layout, asStandby: true, control: control)
        #expect(standby.executable == "/usr/lib/pg/postgres")
        #expect(
            standby.arguments == [
                "-D", "/data", "--config-file=/data/postgresql.conf", "--listen_addresses=127.0.0.1", "--port=5432",
                "--cluster_name=demo", "--wal_level=replica", "--max_connections=200",
            ])
        #expect(
            ServerCommand.start(layout, asStandby: false, control: control).arguments.contains("--max_connections=100"))
        let hidden = ServerCommand.start(layout, scope: .privateSocket(directory: "/p"), asStandby: false, control: nil)
        #expect(
            hidden.arguments.contains("--listen_addresses=")
                && hidden.arguments.contains("--unix_socket_directories=/p"))
    }

    @Test func filesAreWrittenOnceAndTheOriginalIsKept() async throws {
        let root = try TestServer.makeRoot()
        defer { try? FileManager.default.removeItem(atPath: root) }
        var layout = Self.layout()
        layout.dataDirectory = root + "/data"
        layout.configDirectory = root + "/conf"
        layout.passfile = root + "/pgpass"
        layout.hbaLines = ["local all all peer"]
        try FileManager.default.createDirectory(atPath: layout.dataDirectory, withIntermediateDirectories: true)
        try "original".write(toFile: layout.dataDirectory + "/postgresql.conf", atomically: true, encoding: .utf8)
        try "hba of initdb".write(toFile: layout.dataDirectory + "/pg_hba.conf", atomically: true, encoding: .utf8)
        try "primary_conninfo = 'x'\n".write(
            toFile: layout.dataDirectory + "/postgresql.auto.conf", atomically: true, encoding: .utf8)
        let files = PostgresConfigurationFiles(layout: layout, catalog: nil)
        let role = PostgresConfigurationFiles.Role.standby(
            StandbySettings(upstream: ServerEndpoint(host: "h", port: 1)))
        let first = try await files.prepareStart(as: role)
        #expect(first.changed == ["pgpass", "pg_hba.conf", "pg_ident.conf", "postgresql.conf", "postgresql.auto.conf"])
        #expect(try await files.prepareStart(as: role).changed.isEmpty)
        #expect(files.isMarkedStandby)
        #expect(try String(contentsOfFile: layout.baseConfigFile, encoding: .utf8) == "original")
        #expect(
            try String(contentsOfFile: layout.configDirectory + "/pg_hba.conf", encoding: .utf8).hasSuffix(
                "local all all peer\n"))
        #expect(try String(contentsOfFile: layout.passfile, encoding: .utf8) == "*:*:*:replicator:secret\n")
        #expect(Files.facts(layout.passfile)?.mode == 0o600)
        try await files.saveCopies()
        try FileManager.default.removeItem(atPath: layout.configDirectory + "/pg_hba.conf")
        #expect(try await files.restoreCopies() == [layout.configDirectory + "/pg_hba.conf"])
        _ = try await files.prepareStart(as: .primary)
        #expect(!files.isMarkedStandby)
        try await files.appendHBA(["host all all all reject"])
        try await files.appendHBA(["host all all all reject"])
        let hba = try String(contentsOfFile: layout.configDirectory + "/pg_hba.conf", encoding: .utf8)
        #expect(hba.components(separatedBy: "reject").count == 2)
    }

    @Test func whatIsMissingIsRestoredOrToldOf() async throws {
        let root = try TestServer.makeRoot()
        defer { try? FileManager.default.removeItem(atPath: root) }
        var layout = Self.layout()
        layout.dataDirectory = root
        layout.configDirectory = root
        layout.passfile = root + "/pgpass"
        let files = PostgresConfigurationFiles(layout: layout, catalog: nil)
        let bare = try await files.write(.primary)
        #expect(bare.warnings.count == 2)
        #expect(try String(contentsOfFile: root + "/pg_hba.conf", encoding: .utf8).contains("scram-sha-256"))
        #expect(try await files.write(.primary) == PostgresConfigurationFiles.Outcome())
        // The base from its copy, byte for byte, also where it is no UTF-8.
        let odd = Data([35, 0xE9, 10])
        try odd.write(to: URL(fileURLWithPath: layout.baseConfigFile))
        try await files.saveCopies()
        try FileManager.default.removeItem(atPath: layout.baseConfigFile)
        #expect(try await files.write(.primary).warnings.isEmpty)
        #expect(FileManager.default.contents(atPath: layout.baseConfigFile) == odd)
    }

    @Test func valuesAreComparedAsTheServerReadsThem() {
        #expect(SettingText.same("on", "TRUE") && SettingText.same("0x10", "0X10") && SettingText.same("1", "1.0"))
        #expect(!SettingText.same("replica", "logical") && !SettingText.same("on", "off"))
        #expect(SettingText.bool("of") == false && SettingText.bool("o") == nil && SettingText.bool("") == nil)
    }

    @Test func aBoundThatNoIntegerHoldsIsTold() {
        let lines = ["a\tsighup\tg\tINTEGER\t1\t1e300\tnan\tx", "b\tsighup\tg\tINTEGER\t1\t2\t9\tx"]
        let catalog = SettingsCatalog(entries: SettingsCatalog.parse(lines), majorVersion: 15)
        let (settings, warnings) = catalog.admitted([ServerSetting("a", "5"), ServerSetting("b", "10")])
        #expect(settings.map(\.value) == ["1e+300", "9"] && warnings.count == 2)
    }

    @Test(arguments: [
        ("pg1", "pg1"), ("PG-1.example", "pg_1_example"), ("a b", "au0020b"), ("é", "u00e9"),
    ]) func slotNames(_ member: String, _ slot: String) {
        #expect(StandbySettings.slotName(forMember: member) == slot)
    }
}
