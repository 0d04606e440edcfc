import ClusterModel
import HighAvailability
import Testing

@testable import RESTServer

@Suite struct OperatorBodiesTests {
    static let now = WallTime(seconds: 1_767_225_600)  // 2026-01-01T00:00:00Z

    @Test(
        arguments: [
            ("{}", false, false, 400), (#"{"candidate":"b"}"#, false, false, 400),
            (#"{"leader":"a"}"#, true, false, 400),
            (#"{"leader":"a","candidate":"a"}"#, false, false, 400), (#"{"leader":1}"#, false, false, 400),
            (#"{"leader":"a"}"#, false, true, 400),
            (#"{"candidate":"b","scheduled_at":"2027-01-01T00:00Z"}"#, true, false, 400),
            (#"{"leader":"a","candidate":"b","scheduled_at":"2027-01-01T00:00Z"}"#, false, true, 400),
            (#"{"leader":"a","scheduled_at":"2027-01-01T00:00"}"#, false, false, 400),
            (#"{"leader":"a","scheduled_at":"2025-01-01T00:00Z"}"#, false, false, 422),
            (#"{"leader":"a","scheduled_at":"tomorrow"}"#, false, false, 422),
            (#"{"leader":"a","scheduled_at":"2027-13-01T00:00Z"}"#, false, false, 422),
            (#"{"leader":"a","scheduled_at":5}"#, false, false, 422),
        ] as [(String, Bool, Bool, Int)])
    func aHandOverThatMakesNoSenseIsRefused(_ body: String, isFailover: Bool, isPaused: Bool, code: Int) throws {
        let object = try #require(try JSONValue.parse(body).object)
        #expect {
            try OperatorBodies.handOver(object, isFailover: isFailover, isPaused: isPaused, now: Self.now)
        } throws: { error in
            (error as? BodyRefusal)?.code == code && (error as? BodyRefusal)?.text.isEmpty == false
        }
    }

    @Test func handOversAreRead() throws {
        func read(_ body: JSONObject, failover: Bool = false, paused: Bool = false) throws -> OperatorRequest {
            try OperatorBodies.handOver(body, isFailover: failover, isPaused: paused, now: Self.now)
        }
        #expect(
            try read(["leader": "a", "candidate": "b"])
                == .switchover(leader: "a", candidate: "b", scheduledAt: nil))
        #expect(try read(["leader": "a", "member": "b"]) == .switchover(leader: "a", candidate: "b", scheduledAt: nil))
        #expect(
            try read(["leader": "a", "candidate": ""]) == .switchover(leader: "a", candidate: nil, scheduledAt: nil))
        #expect(try read(["candidate": "b"], failover: true, paused: true) == .failover(candidate: "b"))
        // A failover that names the leader is a switchover.
        #expect(
            try read(["leader": "a", "candidate": "b"], failover: true)
                == .switchover(leader: "a", candidate: "b", scheduledAt: nil))
        let at = WallTime(seconds: 1_767_225_600 + 3600)
        for text in [
            "2026-01-01T01:00:00+00:00", "2026-01-01T02:00+01:00", "2026-01-01 01:00:00Z", "2026-01-01 01:00 UTC",
        ] {
            #expect(
                try read(["leader": "a", "scheduled_at": .string(text)])
                    == .switchover(leader: "a", candidate: nil, scheduledAt: at), "\(text)")
        }
    }

    @Test(
        arguments: [
            (#"{"role":"demoted"}"#, false, 400), (#"{"role":1}"#, false, 400),
            (#"{"postgres_version":"15"}"#, false, 400),
            (#"{"postgres_version":"15.x"}"#, false, 400), (#"{"postgres_version":15.4}"#, false, 400),
            (#"{"timeout":0}"#, false, 400), (#"{"timeout":"-3"}"#, false, 400),
            (#"{"timeout":"3 apples"}"#, false, 400),
            (#"{"surprise":1}"#, false, 400), (#"{"schedule":"2027-01-01T00:00Z"}"#, true, 500),
            (#"{"schedule":"2027-01-01T00:00"}"#, false, 400), (#"{"schedule":"2020-01-01T00:00Z"}"#, false, 422),
        ] as [(String, Bool, Int)])
    func aRestartThatMakesNoSenseIsRefused(_ body: String, isPaused: Bool, code: Int) throws {
        let object = try #require(try JSONValue.parse(body).object)
        #expect {
            try OperatorBodies.restart(object, isPaused: isPaused, now: Self.now)
        } throws: { error in
            (error as? BodyRefusal)?.code == code
        }
    }

    @Test func restartsAreRead() throws {
        func read(_ body: JSONObject) throws -> OperatorRequest {
            try OperatorBodies.restart(body, isPaused: false, now: Self.now)
        }
        #expect(try read([:]) == .restart(RestartRequest()))
        // The key's presence counts, not its value.
        #expect(try read(["restart_pending": false]) == .restart(RestartRequest(onlyPending: true)))
        #expect(
            try read([
                "role": "replica", "postgres_version": "15.4", "timeout": "2min",
                "schedule": "2026-01-01T01:00:00+00:00",
            ])
                == .restart(
                    RestartRequest(
                        scheduledAt: WallTime(seconds: 1_767_225_600 + 3600), role: .replica, postgresVersion: "15.4",
                        timeout: .seconds(120))))
    }

    @Test func reinitializeReadsTruth() {
        #expect(OperatorBodies.reinitialize([:]) == .reinitialize(force: false, fromLeader: false))
        #expect(
            OperatorBodies.reinitialize(["force": "yes", "from_leader": 1])
                == .reinitialize(force: true, fromLeader: true))
        #expect(
            OperatorBodies.reinitialize(["force": true, "from_leader": "off"])
                == .reinitialize(force: true, fromLeader: false))
    }

    @Test func queriesAreDecodedAsTheyAre() {
        let query = QueryItems("a=%41%2b&b=%+1&c=%-1&d=%4&e=%zz&a=2&=x&f")
        #expect(["a", "b", "c", "d", "e", "", "f"].map { query[$0] } == ["A+", "% 1", "%-1", "%4", "%zz", "x", ""])
    }
}
