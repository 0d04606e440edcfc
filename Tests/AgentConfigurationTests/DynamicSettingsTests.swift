import AgentConfiguration
import ClusterModel
import ConfigurationTree
import Testing

@Suite struct DynamicSettingsTests {
    @Test func `an empty document is all defaults`() throws {
        let (decoded, complaints) = try Samples.dynamic("{}")
        let settings = try #require(decoded)
        #expect(complaints.isEmpty)
        #expect(settings.ttl == 30)
        #expect(settings.maximumLagOnFailover == 1_048_576)
        #expect(settings.primaryStartTimeout == .seconds(300))
        #expect(settings.memberSlotsTTL == .seconds(1800))
        #expect(settings.usesSlots)
        #expect(settings.synchronousMode == .off)
        #expect(settings.synchronousNodeCount == 1)
        #expect(!settings.isStandbyCluster)
    }

    @Test func `every key is read and the rest is kept`() throws {
        let (decoded, complaints) = try Samples.dynamic(
            """
            {"ttl":"20","loop_wait":5,"retry_timeout":5,"maximum_lag_on_failover":"16MB","check_timeline":"on",
             "max_timelines_history":3,"master_start_timeout":60,"primary_stop_timeout":"5s","synchronous_mode":"quorum",
             "synchronous_mode_strict":true,"synchronous_node_count":0,"failsafe_mode":1,"pause":true,
             "member_slots_ttl":"1h","slots":{"a":{"type":"physical"}},"ignore_slots":[{"name":"b"}],
             "standby_cluster":{"host":"h","port":5432,"create_replica_methods":["basebackup"]},
             "postgresql":{"use_slots":false,"use_pg_rewind":true,"parameters":{"work_mem":"8MB"}}}
            """)
        #expect(complaints == [])
        let settings = try #require(decoded)
        #expect(settings.ttl == 20)
        #expect(settings.maximumLagOnFailover == 16_777_216)
        #expect(settings.checksTimeline)
        #expect(settings.maximumTimelinesHistory == 3)
        #expect(settings.primaryStartTimeout == .seconds(60))
        #expect(settings.primaryStopTimeout == .seconds(5))
        #expect(settings.synchronousMode == .quorum)
        #expect(settings.synchronousNodeCount == 1, "strict mode wants one at the least")
        #expect(settings.failsafeMode)
        #expect(settings.pause)
        #expect(settings.memberSlotsTTL == .seconds(3600))
        #expect(settings.slots.keys == ["a"])
        #expect(settings.ignoreSlots.count == 1)
        #expect(settings.isStandbyCluster)
        #expect(settings.standbyCluster?.port == "5432")
        #expect(!settings.usesSlots)
        #expect(settings.document["postgresql"]?["parameters"]?["work_mem"] == "8MB")
    }

    @Test(arguments: [
        (#"[]"#, ["error config: expected a mapping (name: value), found a list"]),
        (#"{"ttl":"soon"}"#, ["error config: ttl: 'soon' is not a whole number"]),
        (#"{"ttl":{}}"#, ["error config: ttl: expected a whole number, found a mapping"]),
        (#"{"pause":"perhaps"}"#, ["error config: pause: 'perhaps' is not a Boolean; write true or false"]),
        (
            #"{"synchronous_mode":"qourum"}"#,
            [
                "error config: synchronous_mode: 'qourum' is not one of on, off, quorum, true, false, yes, no, 1 or 0; did you mean 'quorum'?"
            ]
        ),
        (#"{"postgresql":[]}"#, ["error config: postgresql: expected a mapping (name: value), found a list"]),
        (
            #"{"postgresql":{"parameters":5}}"#,
            ["error config: postgresql.parameters: expected a mapping (name: value), found a single value"]
        ),
        (
            #"{"standby_cluster":"x"}"#,
            ["error config: standby_cluster: expected a mapping (name: value), found a single value"]
        ),
    ])
    func `a document of the wrong type is refused as a whole`(json: String, expected: [String]) throws {
        let (settings, complaints) = try Samples.dynamic(json)
        #expect(settings == nil)
        #expect(complaints == expected)
    }

    @Test(arguments: [
        (
            #"{"maximum_lag_on_failover":"much"}"#,
            "warning config: maximum_lag_on_failover: 'much' is not a whole number that fits; the default 1048576 is used"
        ),
        (
            #"{"primary_start_timeout":"x"}"#,
            "warning config: primary_start_timeout: 'x' is not a length of time (seconds, or with a unit: 30s, 5min); the default 300s is used"
        ),
        (#"{"loop_wiat":5}"#, "warning config: loop_wiat: unknown key, ignored; did you mean 'loop_wait'?"),
        (
            #"{"postgresql":{"data_dir":"/x"}}"#,
            "warning config: postgresql.data_dir: belongs into each member's own file and is ignored in the dynamic configuration"
        ),
        (
            #"{"postgresql":{"parameters_primary":{"max_connections":5}}}"#,
            "warning config: postgresql.parameters_primary.max_connections: is controlled by the agent and cannot differ by role; ignored"
        ),
    ])
    func `what every peer replaces by a default is a warning`(json: String, expected: String) throws {
        let (settings, complaints) = try Samples.dynamic(json)
        #expect(settings != nil)
        #expect(complaints == [expected])
    }

    @Test(arguments: [
        // ttl, loop_wait, retry_timeout; what holds among ours; what holds beside a Patroni
        ([30, 10, 10], [30, 10, 10], [30, 10, 10]),
        ([20, 10, 10], [20, 1, 9], [20, 1, 9]),
        ([30, 15, 10], [30, 10, 10], [30, 10, 10]),
        ([3, 1, 1], [3, 1, 1], [20, 1, 3]),
        ([2, 1, 1], [3, 1, 1], [20, 1, 3]),
        ([1, 0, 0], [3, 1, 1], [20, 1, 3]),
        ([4, 5, 1], [4, 2, 1], [20, 5, 3]),
        ([5, 1, 9], [5, 1, 2], [20, 1, 9]),
        ([20, 1, 30], [20, 1, 9], [20, 1, 9]),
        ([-5, -5, -5], [3, 1, 1], [20, 1, 3]),
    ])
    func `times are corrected to hold together`(asked: [Int], ours: [Int], mixed: [Int]) throws {
        var settings = DynamicSettings()
        (settings.ttl, settings.loopWait, settings.retryTimeout) = (asked[0], asked[1], asked[2])
        for (allPeersOurs, expected) in [(true, ours), (false, mixed)] {
            let (timing, complaints) = settings.timing(allPeersOurs: allPeersOurs)
            let seconds = [timing.ttl, timing.loopWait, timing.retryTimeout].map { Int($0.components.seconds) }
            #expect(seconds == expected)
            #expect(complaints.isEmpty == (asked == expected), "never silently")
            #expect(timing.loopWait + timing.retryTimeout * 2 <= timing.ttl)
            #expect(complaints.allSatisfy { $0.severity == .warning })
        }
    }

    @Test func `a correction says what was asked for and what holds`() throws {
        let (decoded, _) = try Samples.dynamic(#"{"ttl":3,"loop_wait":1,"retry_timeout":5}"#)
        let settings = try #require(decoded)
        #expect(
            settings.timing(allPeersOurs: false).complaints.map(\.description) == [
                "config: ttl: 3 is below 20, the least that a Patroni member of this cluster accepts; 20 is used"
            ])
        #expect(
            settings.timing(allPeersOurs: true).complaints.map(\.description) == [
                "config: ttl: loop_wait 1 + 2 * retry_timeout 5 exceeds ttl 3; retry_timeout 1 is used"
            ])
    }

    @Test func `no document crashes it`() throws {
        var generator = SplitMix(state: 42)
        let keys = [
            "ttl", "loop_wait", "retry_timeout", "maximum_lag_on_failover", "max_timelines_history", "member_slots_ttl",
            "primary_start_timeout", "synchronous_mode", "synchronous_node_count", "slots", "ignore_slots", "pause",
            "standby_cluster", "postgresql", "parameters", "max_connections", "wal_keep_size", "wal_keep_segments",
            "host",
            "pg_hba", "basebackup", "callbacks", "port", "recovery_conf",
        ]
        func value(_ depth: Int) -> JSONValue {
            switch generator.next() % (depth > 3 ? 7 : 10) {
            case 0: return .null
            case 1: return .bool(generator.next() % 2 == 0)
            case 2: return .integer([0, -1, 20, .max, .min, 5_000_000_000][Int(generator.next() % 6)])
            case 3: return .number([0.5, -1e300, 1e300, 9.3e18, .infinity, .nan][Int(generator.next() % 6)])
            case 4:
                return .string(
                    ["", "on", "1TB", "9e99999", "0x", "-", "99999999TB", "é\u{0}"][Int(generator.next() % 8)])
            case 5: return .string("30min")
            case 6: return .integer(Int64(generator.next() % 40))
            case 7: return .array((0..<generator.next() % 4).map { _ in value(depth + 1) })
            default:
                return .object(
                    JSONObject(
                        (0..<generator.next() % 8).map { _ in
                            (key: keys[Int(generator.next() % UInt64(keys.count))], value: value(depth + 1))
                        }))
            }
        }
        let local = try #require(Samples.load(Samples.minimal).settings)
        var accepted = 0
        for _ in 0..<5000 {
            guard let settings = DynamicSettings.decode(value(0), source: "config").settings else { continue }
            let (configuration, _) = ConfigurationLoader.effective(
                local: local, dynamic: settings, allPeersOurs: generator.next() % 2 == 0)
            #expect(configuration.timing.loopWait + configuration.timing.retryTimeout * 2 <= configuration.timing.ttl)
            accepted += 1
        }
        #expect(accepted > 100)
    }
}
