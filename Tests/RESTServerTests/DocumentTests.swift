import ClusterModel
import HighAvailability
import Testing

@testable import RESTServer

@Suite struct DocumentTests {
    @Test func aPrimarysStatus() throws {
        let document = StatusDocument.make(status: Sample.primary(), now: Sample.now)
        let wanted = """
            {"state":"running","postmaster_start_time":"2024-08-28 19:39:26.352526+00:00","role":"primary",\
            "server_version":150018,"xlog":{"location":67108960},"timeline":5,\
            "replication":[{"usename":"replicator","application_name":"pg2","client_addr":"10.0.0.2",\
            "state":"streaming","sync_state":"async","sync_priority":0}],"dcs_last_seen":1692356928,\
            "database_system_identifier":"7268616322854375442",\
            "patroni":{"version":"\(advertisedVersion)","scope":"demo","name":"pg1"},\
            "x_matriarch":{"fence":"guarded","silent":false,"version":"\(matriarchVersion)","term":"0.9",\
            "position":67108960}}
            """
        #expect(JSONValue.object(document).serialized() == wanted)
    }

    @Test func aReplicasStatus() {
        var status = Sample.replica()
        status.isPaused = true
        status.tags = Tags(["clonefrom": true, "nosync": false])
        status.pendingRestart = ["max_connections": ["old_value": "100", "new_value": "101"]]
        status.scheduledRestart = [
            "schedule": "2026-01-31T10:00:00+00:00", "postmaster_start_time": "x", "restart_pending": true,
        ]
        status.view?.configuration = ["synchronous_mode": "on"]
        status.view?.sync = SyncState(leader: "pg1", standbys: ["pg2"])
        let document = StatusDocument.make(status: status, now: Sample.now)
        #expect(
            document["xlog"] == [
                "received_location": 67_108_960, "replayed_location": 67_108_864, "replayed_timestamp": .null,
                "paused": false,
            ])
        #expect(document["role"] == "replica")
        #expect(document["replication_state"] == "streaming")
        #expect(document["sync_standby"] == true)
        #expect(document["quorum_standby"] == nil)
        #expect(document["replication"] == nil)
        #expect(document["pause"] == true)
        #expect(document["cluster_unlocked"] == nil)
        #expect(document["tags"] == ["clonefrom": true])
        #expect(document["pending_restart"] == true)
        #expect(document["pending_restart_reason"]?["max_connections"]?["new_value"] == "101")
        #expect(
            document["scheduled_restart"] == ["schedule": "2026-01-31T10:00:00+00:00", "restart_pending": true])
    }

    @Test func withoutPostgreSQLOnlyWhatTheAgentKnows() {
        var status = Sample.primary()
        status.sample = nil
        status.job = "cloning from pg1"
        status.progress = ["done": 10]
        status.isSilent = true
        status.grant = GrantRecord(holder: "pg3", lasts: .seconds(30))
        status.failsafeList = EntryVersion(created: 5, number: 7)
        let document = StatusDocument.make(status: status, now: Sample.now)
        #expect(document["x_matriarch"]?["failsafe_granted_to"] == "pg3")
        #expect(document["x_matriarch"]?["failsafe_grant_ms"] == 30000)
        #expect(document["x_matriarch"]?["failsafe_list"] == "5:7")
        #expect(document["state"] == "unknown")
        #expect(document["role"] == "primary")
        for key in ["xlog", "server_version", "timeline", "replication", "postmaster_start_time"] {
            #expect(document[key] == nil, "\(key)")
        }
        #expect(document["x_matriarch"]?["job"] == "cloning from pg1")
        #expect(document["x_matriarch"]?["progress"] == ["done": 10])
        #expect(document["x_matriarch"]?["silent"] == true)
        #expect(document["x_matriarch"]?["position"] == nil)
    }

    /// Since when the store is silent and how old the view is, in parts of a third of `ttl` and milliseconds.
    @Test(arguments: [
        // While the store tells of changes, no news is good news, however long there was none.
        (silent: nil, age: 300, isUnlocked: false), (silent: nil, age: 1, isUnlocked: false),
        (silent: (1, -1), age: 300, isUnlocked: false), (silent: (1, 0), age: 300, isUnlocked: true),
        (silent: (1, 0), age: 2, isUnlocked: false), (silent: (300, 0), age: 2, isUnlocked: false),
        (silent: (300, 0), age: 3, isUnlocked: true),
    ])
    func anOldViewOfASilentStoreSaysThatTheClusterIsUnlocked(
        _ silent: (Int, Int64)?, _ age: Int, _ isUnlocked: Bool
    ) {
        var status = Sample.replica()
        let third = status.ttl / 3
        status.view?.requestedAt = Sample.now - third * age
        status.storeSilentSince = silent.map { Sample.now - third * $0.0 - .milliseconds($0.1) }
        #expect((StatusDocument.make(status: status, now: Sample.now)["cluster_unlocked"] == true) == isUnlocked)
        status.view = nil
        #expect(StatusDocument.make(status: status, now: Sample.now)["cluster_unlocked"] == true)
    }

    @Test func theClustersDocument() {
        var view = Sample.view()
        view.members[2].pendingRestart = true
        view.members[2].tags = Tags(["clonefrom": true])
        view.members[2].fenceState = .guarded
        view.members[0].xlogLocation = nil
        view.members[0].receiveLSN = LSN(0x400_0000)
        view.members[0].connURL = "postgres://[::1]/postgres"
        let document = ClusterDocument.make(view: view, scope: "demo")
        let wanted = """
            {"members":[\
            {"name":"pg1","role":"leader","state":"running","api_url":"http://10.0.0.1:8008/patroni",\
            "host":"10.0.0.1","port":5432,"timeline":5},\
            {"name":"pg2","role":"replica","state":"streaming","api_url":"http://10.0.0.2:8008/patroni",\
            "host":"10.0.0.2","port":5432,"timeline":5,"pending_restart":true,"tags":{"clonefrom":true},\
            "receive_lag":0,"receive_lsn":"0/4000060","replay_lag":96,"replay_lsn":"0/4000000",\
            "lag":0,"lsn":"0/4000060","x_matriarch":{"fence":"guarded"}},\
            {"name":"pg3","role":"replica","state":"streaming","api_url":"http://10.0.0.3:8008/patroni",\
            "host":"::1","port":5432,"timeline":5,"receive_lag":96,"receive_lsn":"0/4000000",\
            "replay_lag":96,"replay_lsn":"0/4000000","lag":"unknown","lsn":"unknown"}],"scope":"demo"}
            """
        #expect(JSONValue.object(document).serialized() == wanted)
    }

    @Test func theClustersPlans() throws {
        var view = Sample.view()
        let at = try #require(WallTime.parse("2026-01-31T10:00:00+01:00")).time
        view.failover = FailoverRequest(leader: "pg1", candidate: "pg2", scheduledAt: at)
        view.configuration = ["pause": true, "synchronous_mode": "quorum"]
        view.sync = SyncState(leader: "pg1", quorum: 1, standbys: ["pg2"])
        let document = ClusterDocument.make(view: view)
        #expect(document["pause"] == true)
        #expect(
            document["scheduled_switchover"] == [
                "at": "2026-01-31T09:00:00+00:00", "from": "pg1", "to": "pg2",
            ])
        #expect(document["members"]?.array?.map { $0["role"]?.string } == ["leader", "quorum_standby", "replica"])
        view.failover = FailoverRequest(leader: "pg1", candidate: "pg2")
        #expect(ClusterDocument.make(view: view)["scheduled_switchover"] == nil)
        view.configuration = ["standby_cluster": ["port": 5433], "synchronous_mode": true]
        let roles = ClusterDocument.make(view: view)["members"]?.array?.map { $0["role"]?.string }
        #expect(roles == ["standby_leader", "sync_standby", "replica"])
    }

    @Test(
        arguments: [
            ("postgres://10.0.0.1:5432/postgres", "10.0.0.1", 5432), ("postgres://[fd00::1]:5433/x", "fd00::1", 5433),
            ("http://u:p@pg1:8008/patroni", "pg1", 8008), ("http://pg1", "pg1", nil),
            ("postgres://a,b:5432/x", "a", nil), ("https://h?x=1", "h", nil),
        ] as [(String, String, Int?)])
    func urlsHaveHosts(_ url: String, _ host: String, _ port: Int?) {
        let found = URLAuthority.hostAndPort(of: url)
        #expect(found?.host == host)
        #expect(found?.port == port)
    }

    @Test(arguments: ["", "pg1:5432", "http://", "http://[::1", "http://[::1]x", "http://h:70000/", "http://:80/"])
    func noURLHasNoHost(_ url: String) {
        #expect(URLAuthority.hostAndPort(of: url) == nil)
    }

    @Test func metricsOfAPrimary() {
        let text = MetricsDocument.make(status: Sample.primary(), now: Sample.now)
        let lines = Set(text.split(separator: "\n").map(String.init))
        for (name, value) in [
            ("patroni_version", "040105"), ("patroni_postgres_running", "1"),
            ("patroni_postmaster_start_time", "1724873966.352526"), ("patroni_primary", "1"),
            ("patroni_xlog_location", "67108960"), ("patroni_replica", "0"),
            ("patroni_xlog_received_location", "0"), ("patroni_postgres_server_version", "150018"),
            ("patroni_cluster_unlocked", "0"), ("patroni_postgres_timeline", "5"),
            ("patroni_dcs_last_seen", "1692356928"), ("patroni_is_paused", "0"), ("patroni_postgres_state", "5"),
            ("matriarch_guarded", "1"),
        ] {
            #expect(lines.contains("\(name){scope=\"demo\",name=\"pg1\"} \(value)"), "\(name)")
        }
        #expect(lines.contains("# TYPE patroni_xlog_location counter"))
        #expect(lines.contains("# TYPE patroni_primary gauge"))
    }

    @Test func metricsWithoutPostgreSQLAndWithOddNames() {
        var status = Sample.replica()
        status.sample = nil
        status.state = .creatingReplica
        status.scope = "a\"b\\c\nd"
        let text = MetricsDocument.make(status: status, now: Sample.now)
        #expect(text.contains("patroni_postgres_state{scope=\"a\\\"b\\\\c\\nd\",name=\"pg2\"} 4\n"))
        #expect(!text.contains("patroni_postgres_streaming"))
        #expect(MetricsDocument.stateCodes.count == MemberState.allCases.count)
        for state in MemberState.allCases {
            #expect(MetricsDocument.stateCodes.contains { $0.state == state.rawValue }, "\(state)")
        }
    }

    @Test(
        arguments: [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"), (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
        ] as [(Int64, String)])
    func datesAreHTTPs(_ seconds: Int64, _ text: String) {
        #expect(HTTPDate.text(WallTime(seconds: seconds)) == text)
    }
}
