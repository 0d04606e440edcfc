import ClusterModel
import Testing

@testable import OperatorCLI

@Suite struct ChangeTests {
    @Test func switchoverAsksThenTellsTheLeader() async {
        let fake = FakeCluster.three()
        fake.answer("POST http://10.0.0.1:8008/switchover", #"Successfully switched over to "pg2""#)
        fake.reply("", "pg2", "", "y")
        #expect(await fake.run("switchover", url) == 0)
        #expect(
            fake.changes == [#"POST http://10.0.0.1:8008/switchover {"leader":"pg1","candidate":"pg2"}"#])
        #expect(fake.output.contains("Leader [pg1]: "))
        #expect(fake.output.contains("Candidate (pg2, pg3) [any]: "))
        #expect(fake.output.contains("Switch over from 'pg1' to 'pg2' now? [y/N]: "))
        #expect(fake.output.contains(#"Successfully switched over to "pg2""#))
    }

    @Test func switchoverByForceAsksNothing() async {
        let fake = FakeCluster.three()
        fake.answer("POST /switchover", status: 202, "Switchover scheduled")
        #expect(
            await fake.run("switchover", "demo", "--force", "--scheduled", "2026-02-01T10:00+02:00", url) == 0)
        #expect(
            fake.changes == [
                #"POST http://10.0.0.1:8008/switchover {"leader":"pg1","scheduled_at":"2026-02-01T08:00:00+00:00"}"#
            ])
        #expect(!fake.output.contains("["))
    }

    @Test func whoSaysNoChangesNothing() async {
        let fake = FakeCluster.three()
        fake.reply("", "", "", "n")
        #expect(await fake.run("switchover", url) == 1)
        #expect(fake.complaints == "error: nothing was changed\n")
        #expect(fake.changes.isEmpty)
    }

    @Test func withoutAnybodyToAskItSaysHowElse() async {
        let fake = FakeCluster.three()
        #expect(await fake.run("switchover", url) == 2)
        #expect(fake.complaints.contains("--force"))
        #expect(fake.changes.isEmpty)
    }

    @Test(arguments: [
        (["switchover", "--leader", "pg2", "--force"], "'pg2' does not lead the cluster 'demo'; 'pg1' does"),
        (["switchover", "--candidate", "pg1", "--force"], "'pg1' leads already"),
        (
            ["switchover", "--candidate", "pg9", "--force"],
            "the cluster 'demo' has no member 'pg9'; there are pg2, pg3"
        ),
        (["failover", "--candidate", "pg1", "--force"], "'pg1' leads already"),
        (["restart", "pg9", "--force"], "the cluster 'demo' has no member 'pg9'; it has pg1, pg2, pg3"),
        (["restart", "--pending", "--force"], "no member fits"),
        (["reinit", "pg1", "--force"], "'pg1' leads the cluster; only replicas can be cloned anew"),
        (["resume"], "the cluster is not paused"),
    ]) func refusals(arguments: [String], complaint: String) async {
        let fake = FakeCluster.three()
        let environment = await fake.run(arguments + [url])
        #expect(environment == 1)
        #expect(fake.complaints == "error: \(complaint)\n")
        #expect(fake.changes.isEmpty)
    }

    @Test func theMembersRefusalIsShown() async {
        let fake = FakeCluster.three()
        fake.answer("POST /switchover", status: 412, "candidate is not healthy")
        #expect(await fake.run("switchover", "--candidate", "pg2", "--force", url) == 1)
        #expect(fake.complaints == "error: candidate is not healthy (HTTP status 412)\n")
    }

    @Test func aSilentLeaderMeansAskingTheCandidate() async {
        let fake = FakeCluster.three()
        fake.silence("POST http://10.0.0.1:8008/failover")
        fake.answer("POST http://10.0.0.3:8008/failover", #"Successfully failed over to "pg3""#)
        #expect(await fake.run("failover", "--candidate", "pg3", "--force", url) == 0)
        #expect(fake.changes.last == #"POST http://10.0.0.3:8008/failover {"candidate":"pg3"}"#)
    }

    @Test func failoverNeedsACandidate() async {
        let fake = FakeCluster.three()
        #expect(await fake.run("failover", "--force", url) == 2)
        #expect(
            fake.complaints == "error: failover needs a candidate: --candidate NAME, one of pg2, pg3\n")
    }

    @Test func pauseAndWaiting() async {
        let fake = FakeCluster.three()
        fake.answer("PATCH /config", #"{"ttl":30,"loop_wait":1,"pause":true}"#)
        #expect(await fake.run("pause", url) == 0)
        #expect(fake.changes == [#"PATCH http://10.0.0.1:8008/config {"pause":true}"#])
        #expect(fake.output == "Success: cluster management is paused\n")
        let slow = FakeCluster.three()
        slow.answer("PATCH /config", #"{"loop_wait":1,"pause":true}"#)
        for number in 1...3 { slow.answer("GET http://10.0.0.\(number):8008/patroni", "{}", #"{"pause":true}"#) }
        #expect(await slow.run("pause", "--wait", url) == 0)
    }

    @Test func resumeRemovesThePause() async {
        let fake = FakeCluster.three()
        var cluster = FakeCluster.cluster()
        cluster["pause"] = true
        fake.answer("GET /cluster", JSONValue.object(cluster).serialized())
        fake.answer("PATCH /config", "{}")
        #expect(await fake.run("resume", url) == 0)
        #expect(fake.changes == [#"PATCH http://10.0.0.1:8008/config {"pause":null}"#])
    }

    @Test func restartTellsOfEachMemberAndFailsIfOneDoes() async {
        let fake = FakeCluster.three()
        fake.answer("POST http://10.0.0.2:8008/restart", "restarted successfully")
        fake.answer("POST http://10.0.0.3:8008/restart", status: 503, "clone already in progress")
        #expect(await fake.run("restart", "demo", "--role", "replica", "--force", url) == 1)
        #expect(
            fake.output == """
                Success: pg2: restarted
                Failed: pg3: restart failed: clone already in progress

                """)
        #expect(fake.complaints == "error: failed for: pg3\n")
    }

    @Test func aScheduledRestartByForceReplacesTheOneThereIs() async {
        let fake = FakeCluster.three()
        fake.answer("DELETE /restart", "scheduled restart deleted")
        fake.answer("POST /restart", status: 202, "Restart scheduled")
        #expect(
            await fake.run("restart", "pg2", "--scheduled", "2026-02-01T10:00Z", "--timeout", "30", "--force", url) == 0
        )
        #expect(
            fake.changes == [
                "DELETE http://10.0.0.2:8008/restart",
                #"POST http://10.0.0.2:8008/restart {"schedule":"2026-02-01T10:00:00+00:00","timeout":30}"#,
            ])
    }

    @Test func reloadAndReinit() async {
        let fake = FakeCluster.three()
        fake.answer("POST /reload", status: 202, "reload scheduled")
        #expect(await fake.run("reload", "pg1", "--force", url) == 0)
        #expect(fake.output == "Success: pg1: reload requested\n")
        fake.answer("POST /reinitialize", status: 503, "restart already in progress")
        #expect(await fake.run("reinit", "demo", "pg2", "--force", url) == 1)
        #expect(
            fake.output.contains("Failed: pg2: reinitialize failed: restart already in progress (--force cancels that)")
        )
    }

    @Test func editConfigPatchesWhatDiffers() async {
        let fake = FakeCluster.three()
        fake.answer(
            "GET /config",
            #"{"ttl":30,"maximum_lag_on_failover":5,"postgresql":{"parameters":{"max_connections":100}}}"#)
        fake.answer("PATCH /config", "{}")
        #expect(
            await fake.run(
                "edit-config", "-s", "ttl=10", "-s", "maximum_lag_on_failover=null", "-p", "max_connections=200",
                "-p", "pg_stat_statements.max=500", "--force", url) == 0)
        #expect(
            fake.changes == [
                #"PATCH http://10.0.0.1:8008/config {"maximum_lag_on_failover":null,"ttl":10,"#
                    + #""postgresql":{"parameters":{"max_connections":200,"pg_stat_statements.max":500}}}"#
            ])
        #expect(fake.output.contains("-ttl: 30\n-maximum_lag_on_failover: 5\n+ttl: 10\n"))
    }

    @Test func editConfigReplacesAndMindsOthers() async {
        let fake = FakeCluster(files: ["new.yml": #"{"ttl":20}"#])
        fake.answer("GET /cluster", JSONValue.object(FakeCluster.cluster()).serialized())
        fake.answer("GET /config", #"{"ttl":30}"#)
        fake.answer("PUT /config", "{}")
        #expect(await fake.run("edit-config", "--replace", "new.yml", "--force", "-q", url) == 0)
        #expect(fake.changes == [#"PUT http://10.0.0.1:8008/config {"ttl":20}"#])
        fake.answer("PATCH /config", status: 409, "")
        #expect(await fake.run("edit-config", "-s", "ttl=9", "--force", url) == 1)
        #expect(fake.complaints.contains("somebody else changed the configuration meanwhile"))
        #expect(await fake.run("edit-config", "-s", "ttl=30", "--force", url) == 0)
        #expect(fake.output.contains("Not changed"))
    }
}
