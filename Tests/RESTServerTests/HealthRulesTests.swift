import ClusterModel
import HighAvailability
import Testing

@testable import RESTServer

@Suite struct HealthRulesTests {
    struct Case: CustomTestStringConvertible {
        var member: String
        var request: String
        var code: Int
        var testDescription: String { "\(member): \(request) -> \(code)" }

        init(_ member: String, _ request: String, _ code: Int) {
            self.member = member
            self.request = request
            self.code = code
        }
    }

    /// The members that the table speaks of.
    static func member(_ word: String) -> AgentStatus {
        var status = word.hasPrefix("primary") ? Sample.primary() : Sample.replica()
        switch word {
        case "primary, lease over": status.leaderUntil = Sample.now
        case "primary, dead server":
            status.sample = nil
            status.state = .crashed
        case "primary, server silent": status.sample = nil
        case "primary, store lost":
            status.view?.requestedAt = Sample.now - .seconds(31)
            status.storeSilentSince = Sample.now - .seconds(31)
        case "primary, paused, store lost":
            status.view = nil
            status.leaderUntil = nil
            status.isPaused = true
        case "replica, paused, store lost":
            status.view = nil
            status.isPaused = true
        case "replica, noloadbalance": status.tags = Tags(["noloadbalance": true])
        case "replica, tagged":
            status.tags = Tags(["clonefrom": true, "zone": "a", "weight": 1.4, "n": 3])
        case "replica, sync":
            status.view?.configuration = ["synchronous_mode": true]
            status.view?.sync = SyncState(leader: "pg1", quorum: 0, standbys: ["PG2", "pg3"])
        case "replica, quorum":
            status.view?.configuration = ["synchronous_mode": "quorum"]
            status.view?.sync = SyncState(leader: "pg1", quorum: 1, standbys: ["pg2", "pg3"])
        case "replica, sync, quiet for an hour":
            status.view?.configuration = ["synchronous_mode": true]
            status.view?.sync = SyncState(leader: "pg1", quorum: 0, standbys: ["pg2"])
            status.view?.requestedAt = Sample.now - .seconds(3600)
        case "replica, sync, store lost":
            status.view?.configuration = ["synchronous_mode": true]
            status.view?.sync = SyncState(leader: "pg1", quorum: 0, standbys: ["pg2"])
            status.view?.requestedAt = Sample.now - .seconds(60)
            status.storeSilentSince = Sample.now - .seconds(40)
        case "replica, archive":
            status.sample?.receiver = nil
            status.sample?.hasRestoreCommand = true
        case "replica, starting":
            status.sample = nil
            status.state = .starting
        case "replica, leader unknown":
            status.view = nil
            status.sample?.receiver?.latestEndLSN = nil
        case "replica, standby leader":
            status.view?.configuration = ["standby_cluster": ["host": "other"]]
            status.role = .standbyLeader
            status.leaderUntil = Sample.now + .seconds(10)
        default: break
        }
        return status
    }

    @Test(arguments: [
        Case("primary", "/", 200), Case("primary", "/primary", 200), Case("primary", "/master", 200),
        Case("primary", "/read-write", 200), Case("primary", "/leader", 200), Case("primary", "/foo-leader", 200),
        Case("primary", "/standby-leader", 503), Case("primary", "/standby_leader", 503),
        Case("primary", "/replica", 503), Case("primary", "/read-only", 200), Case("primary", "/health", 200),
        Case("primary", "/sync", 503), Case("primary", "/async", 503), Case("primary", "/read-only-sync", 200),
        Case("primary", "/read-only-quorum", 200), Case("primary", "/nothing", 503), Case("primary", "/patroni", 503),
        Case("primary, lease over", "/primary", 503), Case("primary, lease over", "/leader", 503),
        Case("primary, lease over", "/health", 200),
        // The lease decides, whatever PostgreSQL does.
        Case("primary, dead server", "/primary", 200), Case("primary, dead server", "/health", 503),
        Case("primary, server silent", "/health", 503), Case("primary, server silent", "/primary", 200),
        Case("primary, store lost", "/primary", 200),
        Case("primary, paused, store lost", "/primary", 200), Case("primary, paused, store lost", "/leader", 200),
        Case("replica, paused, store lost", "/primary", 503), Case("replica, paused, store lost", "/replica", 200),
        Case("replica", "/", 503), Case("replica", "/primary", 503), Case("replica", "/replica", 200),
        Case("replica", "/leader", 503), Case("replica", "/read-only", 200), Case("replica", "/async", 200),
        Case("replica", "/asynchronous", 200), Case("replica", "/sync", 503), Case("replica", "/health", 200),
        // 96 bytes behind.
        Case("replica", "/replica?lag=95", 503), Case("replica", "/replica?lag=96", 200),
        Case("replica", "/replica?lag=1kB", 200), Case("replica", "/replica?lag=1MB", 200),
        Case("replica", "/replica?lag=many", 200), Case("replica", "/read-only?lag=10", 503),
        Case("replica", "/async?lag=10", 503),
        Case("replica", "/replica?replication_state=streaming", 200),
        Case("replica", "/replica?replication_state=in+archive+recovery", 503),
        Case("replica, archive", "/replica?replication_state=in%20archive%20recovery", 200),
        Case("replica, archive", "/replica?replication_state=streaming", 503),
        Case("replica, noloadbalance", "/replica", 503), Case("replica, noloadbalance", "/read-only", 503),
        Case("replica, noloadbalance", "/health", 200),
        Case("replica, tagged", "/replica?tag_clonefrom=true", 200),
        Case("replica, tagged", "/replica?tag_clonefrom=false", 503),
        Case("replica, tagged", "/replica?tag_zone=a&tag_n=3", 200),
        Case("replica, tagged", "/replica?tag_zone=a&tag_n=4", 503),
        Case("replica, tagged", "/replica?tag_weight=1.4", 200), Case("replica, tagged", "/health?tag_zone=b", 503),
        Case("replica, tagged", "/replica?tag_unknown=1", 503),
        Case("replica, starting", "/replica", 503), Case("replica, starting", "/health", 503),
        Case("replica, sync", "/sync", 200), Case("replica, sync", "/synchronous", 200),
        Case("replica, sync", "/async", 503), Case("replica, sync", "/quorum", 503),
        Case("replica, sync", "/read-only-sync", 200), Case("replica, sync", "/read-only-quorum", 503),
        Case("replica, sync", "/replica", 200), Case("replica, sync, store lost", "/sync", 503),
        Case("replica, sync, quiet for an hour", "/sync", 200),
        Case("replica, quorum", "/quorum", 200), Case("replica, quorum", "/sync", 503),
        Case("replica, quorum", "/read-only-quorum", 200),
        Case("replica, standby leader", "/standby-leader", 200), Case("replica, standby leader", "/leader", 200),
        Case("replica, standby leader", "/primary", 503), Case("replica, standby leader", "/replica", 503),
        Case("replica, standby leader", "/read-only", 200),
    ])
    func aHealthCheckFollowsTheContract(_ line: Case) {
        let parts = line.request.split(separator: "?")
        let code = HealthRules.answer(
            path: String(parts[0]), query: QueryItems(parts.count > 1 ? parts[1] : ""),
            status: Self.member(line.member), now: Sample.now)
        #expect(code == line.code)
    }

    @Test(arguments: [
        Case("primary", "", 200), Case("primary, dead server", "", 200), Case("replica", "", 200),
        Case("replica", "lag=90", 503), Case("replica", "lag=90&mode=write", 200), Case("replica", "lag=100", 200),
        Case("replica", "mode=apply", 200), Case("replica, archive", "", 503), Case("replica, starting", "", 503),
        Case("replica, leader unknown", "", 503), Case("replica, sync, store lost", "", 200),
        Case("primary, lease over", "", 503),
    ])
    func readinessNeedsTheLeaseOrANearStream(_ line: Case) {
        let isReady = HealthRules.isReady(
            query: QueryItems(line.request), status: Self.member(line.member), now: Sample.now)
        #expect(isReady == (line.code == 200))
    }

    @Test func livenessIsTheLoopsAndPatientWithReplicas() {
        var status = Sample.primary()
        status.ttl = .seconds(30)
        status.nextRunBy = Sample.now - .seconds(29)
        #expect(HealthRules.isLive(status: status, now: Sample.now))
        status.nextRunBy = Sample.now - .seconds(30)
        #expect(!HealthRules.isLive(status: status, now: Sample.now))
        status.isPaused = true
        #expect(HealthRules.isLive(status: status, now: Sample.now))
        var replica = Sample.replica()
        replica.nextRunBy = Sample.now - .seconds(59)
        #expect(HealthRules.isLive(status: replica, now: Sample.now))
        replica.nextRunBy = Sample.now - .seconds(60)
        #expect(!HealthRules.isLive(status: replica, now: Sample.now))
    }

    @Test(
        arguments: [
            ("0", 0), ("12", 12), ("12B", 12), ("2kB", 2048), ("16MB", 16_777_216), ("1.5 GB", 1_610_612_736),
            ("1TB", 1_099_511_627_776),
        ] as [(String, UInt64)])
    func sizesHaveUnits(_ text: String, _ bytes: UInt64) {
        #expect(ByteSize.parse(text) == bytes)
    }

    @Test(arguments: ["", "x", "-1", "12XB", "MB", "1e400", "nan", "99999999999999999999999TB"])
    func noSizeIsNoLimit(_ text: String) {
        #expect(ByteSize.parse(text) == nil)
    }
}
