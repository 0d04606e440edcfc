import ClusterModel
import ClusterStore
import PluginInterfaces
import Testing

@Suite struct ReadingTests {
    @Test func aWholeClusterOfAnotherProgram() throws {
        let view = ClusterCodec.view(
            of: snapshot(
                ("initialize", "7123456789012345678"), ("leader", "pg1"),
                (
                    "members/pg2",
                    #"{"conn_url":"postgres://10.0.0.2:5432/postgres","api_url":"http://10.0.0.2:8008/patroni","state":"running","role":"replica","version":"4.1.5","proxy_url":"postgres://10.0.0.2:6432/postgres","tags":{"clonefrom":true},"xlog_location":67419744,"replay_lsn":67419744,"receive_lsn":67419744,"replication_state":"streaming","timeline":5}"#
                ),
                ("members/pg1", #"{"state":"running","role":"master","pending_restart":true}"#),
                ("config", #"{"ttl":30,"pause":true,"postgresql":{"parameters":{"max_connections":100}}}"#),
                (
                    "status",
                    #"{"optime":67419744,"slots":{"pg2":67419744,"logical_a":67411000},"retain_slots":["pg2"]}"#
                ),
                ("optime/leader", "1"),
                ("failover", #"{"leader":"pg1","member":"pg2","scheduled_at":"2026-01-31T10:00:00+00:00"}"#),
                ("sync", #"{"leader":"pg1","quorum":0,"sync_standby":"pg2,pg3"}"#),
                (
                    "history",
                    #"[[1,67419744,"no recovery target specified","2026-01-31T10:00:00+01:00","pg1"],[2,67419800,"x"]]"#
                ),
                ("failsafe", #"{"pg1":"http://10.0.0.1:8008/patroni"}"#),
                ("promotions", #"{"3":{"leader":"pg1","fence":"0.12"}}"#),
                ("something/else", "ignored"), ("members/a/b", "ignored"), ("members/", "ignored")
            ), era: 3)
        #expect(view.problems == [])
        #expect(view.revision == StoreRevision(era: 3, number: 9))
        #expect(view.requestedAt == Instant(nanoseconds: 77))
        #expect(view.initialize == .identifier("7123456789012345678", anyVersion))
        #expect(
            view.leader
                == ClusterView.Leader(
                    name: "pg1", session: session, version: anyVersion, fence: Fence(era: 0, number: 5)))
        #expect(view.members.map(\.name) == ["pg1", "pg2"])
        #expect(view.memberVersions == ["pg1": anyVersion, "pg2": anyVersion])
        let replica = try #require(view.member("pg2"))
        #expect(replica.session == session)
        #expect(replica.role == .replica && replica.state == .running)
        #expect(replica.timeline == Timeline(5) && replica.position == LSN(67_419_744))
        #expect(replica.replicationState == .streaming && replica.tags.isCloneSource)
        #expect(!replica.isMatriarch)
        #expect(view.leaderMember?.role == .primary)
        #expect(view.isPaused)
        #expect(view.status?.optime == LSN(67_419_744))
        #expect(view.status?.slots == ["pg2": LSN(67_419_744), "logical_a": LSN(67_411_000)])
        #expect(view.failover?.leader == "pg1" && view.failover?.candidate == "pg2")
        #expect(view.failover?.scheduledAt == WallTime.parse("2026-01-31T10:00:00Z")?.time)
        #expect(view.sync == SyncState(leader: "pg1", quorum: 0, standbys: ["pg2", "pg3"]))
        #expect(view.history?.rows.count == 2)
        #expect(view.history?.currentTimeline == Timeline(3))
        #expect(view.failsafe == ["pg1": "http://10.0.0.1:8008/patroni"])
        #expect(view.promotions.records[Timeline(3)]?.fence == Fence(era: 0, number: 12))
        #expect(view.configurationVersion == anyVersion && view.failsafeVersion == anyVersion)
    }

    @Test func anEmptyStore() {
        let view = ClusterCodec.view(of: snapshot([]))
        #expect(view.initialize == .absent)
        #expect(view.leader == nil && view.members.isEmpty && view.sync.isEmpty)
        #expect(view.configurationVersion == nil && view.statusVersion == nil && view.syncVersion == nil)
        #expect(view.problems == [])
    }

    /// Nothing that another program wrote may stop an agent; what cannot be understood is told.
    @Test(arguments: [
        "initialize", "leader", "config", "failover", "status", "optime/leader", "sync", "history", "failsafe",
        "promotions", "members/pg1", "unknown",
    ])
    func garbageIsToldAndNotObeyed(_ key: String) {
        let deep = String(repeating: "[", count: 1000)
        let wide = "{" + (0..<2_000).map { "\"k\($0)\":\($0)" }.joined(separator: ",") + "}"
        let texts = [
            "", " ", "null", "true", "0", "-1", "5", "1e400", "99999999999999999999", "\"", "\"text\"", "{}", "[]",
            "[[]]", "[null]", "{\"a\":", "{\"leader\":5,\"member\":[]}", "{\"optime\":\"x\",\"slots\":7}",
            "{\"optime\":-5,\"slots\":\"{\",\"retain_slots\":\"[1,\"}",
            "{\"scheduled_at\":\"soon\",\"leader\":\"pg1\"}",
            "{\"leader\":\"pg1\",\"quorum\":-3,\"sync_standby\":17}",
            "[[1],[\"a\",\"b\"],[1,2,3,4,5,6,7],[4294967295,1,\"x\"]]",
            "{\"state\":7,\"role\":{},\"tags\":[],\"xlog_location\":\"abc\",\"timeline\":-1,\"pause\":\"maybe\"}",
            "{\"x_matriarch\":5,\"version\":4,\"scheduled_restart\":true,\"pending_restart\":\"yes\"}",
            "postgres", "postgres?", "postgres://x?application_name", "postgres://x?application_name=%", "a:b:c", ":",
            "::",
            "{\"1\":{\"leader\":1},\"x\":{},\"99999999999\":{\"leader\":\"a\",\"fence\":\"0.1\"}}",
            "{\"a\":\"\\ud800\"}", "{\"a\":\"\\u+123\"}", deep, wide,
        ]
        let values: [[UInt8]] =
            texts.map(bytes) + [[0], [0xFF, 0xFE], [0x22, 0xC0, 0x22], Array(repeating: 0x7B, count: 10_000)]
        for value in values {
            let view = ClusterCodec.view(of: snapshot([(key, value)]))
            // Whatever it was, it can be read again and compared; and the lock stays a lock.
            #expect(view == ClusterCodec.view(of: snapshot([(key, value)])))
            if key == "leader" { #expect(view.leader != nil) }
            if key == "members/pg1" { #expect(view.members.count == 1) }
            if key == "failover" {
                // Never half a request: a time that cannot be read must not mean now.
                #expect(view.failover?.scheduledText == nil || view.failover?.scheduledAt != nil)
            }
            if key == "sync" { #expect(view.sync.quorum >= 0) }
            if key == "unknown" { #expect(view.problems.isEmpty) }
        }
    }

    @Test(arguments: [
        ("", ClusterView.Initialize.inProgress(anyVersion)), ("7123456789", .identifier("7123456789", anyVersion)),
        ("123", .invalid(anyVersion)), ("7123456789\n", .invalid(anyVersion)), ("abc", .invalid(anyVersion)),
        ("٧١٢٣٤٥٦٧٨٩", .invalid(anyVersion)),
    ])
    func initialize(_ text: String, _ expected: ClusterView.Initialize) {
        #expect(ClusterCodec.view(of: snapshot(("initialize", text))).initialize == expected)
    }

    @Test func oldForms() {
        // The leader of members below 2.1 writes a position only.
        var view = ClusterCodec.view(of: snapshot(("optime/leader", "67419744")))
        #expect(view.status == ClusterStatus(optime: LSN(67_419_744)))
        #expect(view.statusVersion == nil)
        view = ClusterCodec.view(of: snapshot(("status", "67419744"), ("optime/leader", "5")))
        #expect(view.status == ClusterStatus(optime: LSN(67_419_744)))
        // A status that cannot be read is not replaced by an old one.
        view = ClusterCodec.view(of: snapshot(("status", "?"), ("optime/leader", "5")))
        #expect(view.status == nil && view.statusVersion == anyVersion)
        #expect(view.problems == ["status: no JSON"])
        view = ClusterCodec.view(
            of: snapshot(("status", #"{"optime":"7","slots":"{\"a\":5}","retain_slots":"[\"b\"]"}"#)))
        #expect(view.status == ClusterStatus(optime: LSN(7), slots: ["a": LSN(5)], retainSlots: ["b"]))
        view = ClusterCodec.view(of: snapshot(("failover", "pg1:pg2")))
        #expect(view.failover?.leader == "pg1" && view.failover?.candidate == "pg2")
        view = ClusterCodec.view(of: snapshot(("failover", ":pg2")))
        #expect(view.failover?.leader == nil && view.failover?.candidate == "pg2")
        view = ClusterCodec.view(
            of: snapshot(
                (
                    "members/pg1",
                    "postgres://10.0.0.1:5432/postgres?application_name=http%3A%2F%2F10.0.0.1%3A8008/patroni"
                )))
        #expect(view.member("pg1")?.connURL == "postgres://10.0.0.1:5432/postgres")
        #expect(view.member("pg1")?.apiURL == "http://10.0.0.1:8008/patroni")
        view = ClusterCodec.view(of: snapshot(("sync", #"{"leader":"pg1","sync_standby":"pg 2, pg3"}"#)))
        #expect(view.sync == SyncState(leader: "pg1", quorum: 0, standbys: ["pg 2", "pg3"]))
    }

    @Test func theHigherEraCounts() {
        var cut = snapshot(("leader", "pg1"))
        cut.revision.era = 7
        #expect(ClusterCodec.view(of: cut, era: 3).revision == StoreRevision(era: 7, number: 9))
        // A term has the era that was written with it, not what somebody knows besides.
        #expect(ClusterCodec.view(of: cut, era: 3).leader?.fence == Fence(era: 0, number: 5))
        #expect(ClusterCodec.view(of: cut, era: 8).revision == StoreRevision(era: 8, number: 9))
    }
}
