import AgentConfiguration
import ClusterModel
import ConfigurationTree
import Testing

@Suite struct EffectiveConfigurationTests {
    private func effective(
        local: String = "", _ json: String, environment: [String: String] = [:]
    ) throws -> (configuration: EffectiveConfiguration, complaints: [String]) {
        let loaded = Samples.load(Samples.minimal(under: "postgresql", local), environment)
        let settings = try #require(loaded.settings, "\(loaded.complaints)")
        let dynamic = try #require(try Samples.dynamic(json).settings)
        let (configuration, complaints) = ConfigurationLoader.effective(
            local: settings, dynamic: dynamic, allPeersOurs: true)
        return (configuration, complaints.map { "\($0.severity) \($0)" })
    }

    @Test func `local keys replace dynamic ones, parameters merge by name`() throws {
        let (configuration, complaints) = try effective(
            local: """
                  parameters: {work_mem: 8MB, Log_Statement: ddl, max_connections: 500}
                  pg_hba: [local]
                  use_slots: true
                """,
            """
            {"postgresql":{"parameters":{"work_mem":"4MB","log_statement":"all","jit":false,"shared_buffers":"1GB",
              "max_connections":200,"old":null},
              "pg_hba":["dynamic"],"pg_ident":["dynamic"],"use_pg_rewind":true,"use_slots":false,
              "data_dir":"/elsewhere","listen":"9.9.9.9:1","recovery_conf":{"restore_command":"cp"}}}
            """)
        #expect(complaints == [])
        let postgresql = configuration.postgresql
        #expect(postgresql.parameters["WORK_MEM"] == "8MB")
        #expect(postgresql.parameters["log_statement"] == "ddl")
        #expect(postgresql.parameters["jit"] == "off")
        #expect(postgresql.parameters["shared_buffers"] == "1GB")
        #expect(postgresql.parameters["max_connections"] == nil, "controlled")
        #expect(postgresql.parameters.names.count == 4)
        #expect(configuration.controlled.commandLine["max_connections"] == "200", "dynamic only")
        #expect(postgresql.pgHBA == ["local"])
        #expect(postgresql.pgIdent == ["dynamic"])
        #expect(postgresql.usesPgRewind)
        #expect(!postgresql.usesSlots, "dynamic only")
        #expect(postgresql.dataDirectory == "/srv/pg1", "local only")
        #expect(postgresql.listenAddresses == ["127.0.0.1"], "local only")
        #expect(postgresql.recoveryConf["restore_command"] == "cp")
        #expect(postgresql.authentication.replication.username == "replicator")
    }

    @Test func `controlled parameters have their defaults in a fixed order`() throws {
        let (configuration, _) = try effective("{}")
        #expect(
            configuration.controlled.commandLine.map { "\($0.name)=\($0.value)" } == [
                "listen_addresses=127.0.0.1", "port=5433", "cluster_name=demo", "wal_level=replica", "hot_standby=on",
                "max_connections=100", "max_wal_senders=10", "max_prepared_transactions=0",
                "max_locks_per_transaction=64", "track_commit_timestamp=off", "max_replication_slots=10",
                "max_worker_processes=8", "wal_log_hints=on",
            ])
        #expect(configuration.controlled.walKeep(majorVersion: 15).value == "128MB")
        #expect(configuration.controlled.walKeep(majorVersion: 12) == .init(name: "wal_keep_segments", value: "8"))
    }

    @Test(
        arguments: [
            ("max_connections", #""500""#, "500", nil),
            ("max_connections", "25", "25", nil),
            ("max_connections", "24", "100", "'24' is below the minimum of 25; the default 100 is used"),
            ("max_connections", #""500ABC""#, "100", "'500ABC' is not a whole number; the default 100 is used"),
            (
                "max_connections", "300000", "100",
                "'300000' is above PostgreSQL's maximum of 262143; the default 100 is used"
            ),
            ("max_wal_senders", "2", "10", "'2' is below the minimum of 3; the default 10 is used"),
            ("max_replication_slots", "3", "10", "'3' is below the minimum of 4; the default 10 is used"),
            ("max_locks_per_transaction", "31", "64", "'31' is below the minimum of 32; the default 64 is used"),
            ("max_worker_processes", "1", "8", "'1' is below the minimum of 2; the default 8 is used"),
            ("max_prepared_transactions", "0", "0", nil),
            ("wal_level", #""hot_standby""#, "replica", nil),
            ("wal_level", #""Logical""#, "logical", nil),
            (
                "wal_level", #""minimal""#, "replica",
                "'minimal' is not one of replica, logical; the default replica is used"
            ),
            ("hot_standby", "false", "on", "'off' is not possible, only on is; the default on is used"),
            ("track_commit_timestamp", "true", "on", nil),
            ("track_commit_timestamp", #""yes""#, "on", nil),
            ("wal_log_hints", #""maybe""#, "on", "'maybe' is not a Boolean; the default on is used"),
            ("port", "5555", "5433", "is set by the agent from listen and scope; ignored here"),
            ("listen_addresses", #""*""#, "127.0.0.1", "is set by the agent from listen and scope; ignored here"),
        ] as [(String, String, String, String?)])
    func `a rejected value falls back to its default, with a warning`(
        name: String, json: String, value: String, message: String?
    ) throws {
        let (configuration, complaints) = try effective(#"{"postgresql":{"parameters":{"\#(name)":\#(json)}}}"#)
        #expect(configuration.controlled.commandLine[name] == value)
        #expect(complaints == (message.map { ["warning config: postgresql.parameters.\(name): \($0)"] } ?? []))
    }

    @Test(arguments: [
        (#""wal_keep_size":"1GB""#, 1024, 0), (#""wal_keep_size":64"#, 64, 0), (#""wal_keep_segments":10"#, 160, 0),
        (#""wal_keep_size":"1MB""#, 128, 1), (#""wal_keep_segments":0"#, 128, 1),
        (#""wal_keep_segments":10,"wal_keep_size":"32MB""#, 32, 0),
    ])
    func `kept WAL is converted between its two settings`(json: String, megabytes: Int, warnings: Int) throws {
        let (configuration, complaints) = try effective(#"{"postgresql":{"parameters":{\#(json)}}}"#)
        #expect(configuration.controlled.walKeepSizeMegabytes == megabytes)
        #expect(complaints.count == warnings)
    }

    @Test func `times and the standby cluster come from the dynamic configuration alone`() throws {
        let (configuration, complaints) = try effective(
            #"{"ttl":20,"loop_wait":10,"retry_timeout":5,"standby_cluster":{"primary_slot_name":"x"}}"#)
        #expect(configuration.timing == Timing(ttl: .seconds(20), loopWait: .seconds(10), retryTimeout: .seconds(5)))
        #expect(configuration.standbyCluster == nil, "without host, port and restore command it is none")
        #expect(complaints == [])
    }

    @Test func `environment wins over file, file over dynamic`() throws {
        let (configuration, _) = try effective(
            local: "  bin_dir: /file", #"{"postgresql":{"bin_dir":"/dynamic","database":"d"}}"#,
            environment: ["PATRONI_POSTGRESQL_BIN_DIR": "/environment"])
        #expect(configuration.postgresql.binDirectory == "/environment")
        #expect(configuration.postgresql.database == "d")
    }
}
