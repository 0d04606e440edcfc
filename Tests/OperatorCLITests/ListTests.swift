import ClusterModel
import Testing

@testable import OperatorCLI

@Suite struct ListTests {
    @Test func showsMembersAsPatronictlDoesWithTheirFence() async {
        let fake = FakeCluster.three()
        #expect(await fake.run("list", url) == 0)
        #expect(
            fake.output
                == """
                + Cluster: demo (7277) ------------+-----------+----+-------------+-----+------------+-----+---------+
                | Member | Host     | Role         | State     | TL | Receive LSN | Lag | Replay LSN | Lag | Fence   |
                +--------+----------+--------------+-----------+----+-------------+-----+------------+-----+---------+
                | pg1    | 10.0.0.1 | Leader       | running   |  5 |             |     |            |     | guarded |
                | pg2    | 10.0.0.2 | Replica      | streaming |  5 |   0/4000060 |   0 |  0/4000060 |   2 | guarded |
                | pg3    | 10.0.0.3 | Sync Standby | streaming |  5 |   0/4000060 |   0 |  0/4000060 |   3 | adopted |
                +--------+----------+--------------+-----------+----+-------------+-----+------------+-----+---------+

                """)
    }

    @Test(arguments: [100, 80, 60]) func fitsTheTerminal(width: Int) async {
        let fake = FakeCluster.three(width: width)
        #expect(await fake.run("list", url) == 0)
        for line in fake.output.split(separator: "\n") { #expect(line.count <= width, "\(line)") }
        #expect(fake.output.contains("guarded"))
    }

    @Test func jsonHasTheColumnsNamesAndLeavesEmptyCellsOut() async throws {
        let fake = FakeCluster.three()
        #expect(await fake.run("list", "-f", "json", url) == 0)
        let rows = try #require(try JSONValue.parse(fake.output).array)
        #expect(
            rows.first == [
                "Cluster": "demo", "Member": "pg1", "Host": "10.0.0.1", "Role": "Leader", "State": "running", "TL": 5,
                "Fence": "guarded",
            ])
        #expect(rows.last?["Replay Lag"] == 3)
        #expect(rows.last?["Receive LSN"] == "0/4000060")
    }

    @Test func yamlAndTSV() async {
        let fake = FakeCluster.three()
        #expect(await fake.run("list", "--format", "yml", url) == 0)
        #expect(fake.output.hasPrefix("- Cluster: demo\n  Member: pg1\n  Host: '10.0.0.1'\n  Role: Leader\n"))
        let other = FakeCluster.three()
        #expect(await other.run("list", "--format", "tsv", url) == 0)
        #expect(
            other.output.hasPrefix(
                "Cluster\tMember\tHost\tRole\tState\tTL\tReceive LSN\tReceive Lag\tReplay LSN\tReplay Lag\tFence\n"
                    + "demo\tpg1\t10.0.0.1\tLeader\trunning\t5\t\t\t\t\tguarded\n"))
    }

    @Test func tellsPausePortsAndWhoIsSilent() async {
        let fake = FakeCluster.three()
        var cluster = FakeCluster.cluster()
        cluster["pause"] = true
        cluster["scheduled_switchover"] = ["at": "2026-02-01T10:00:00+00:00", "from": "pg1"]
        var members = cluster["members"]?.array ?? []
        members[1] = members[1].object.map { .object($0.merging(["port": 5433, "pending_restart": true])) } ?? .null
        cluster["members"] = .array(members)
        fake.answer("GET /cluster", JSONValue.object(cluster).serialized())
        fake.silence("GET http://10.0.0.2:8008/patroni")
        #expect(await fake.run("list", url) == 0)
        #expect(fake.output.contains("10.0.0.1:5432"))
        #expect(fake.output.contains("10.0.0.2:5433"))
        #expect(fake.output.contains("Pending restart"))
        #expect(fake.output.contains(" Maintenance mode: on\n Switchover scheduled at: 2026-02-01T10:00:00+00:00\n"))
        #expect(fake.output.contains("from: pg1"))
    }

    @Test func olderMembersHaveOnePairOfPositions() async throws {
        let fake = FakeCluster.three()
        fake.answer(
            "GET /cluster",
            #"{"scope":"demo","members":[{"name":"a","role":"replica","state":"streaming","lag":3145728,"lsn":"0/5"},"#
                + #"{"name":"b","role":"replica","state":"running","lag":"unknown","lsn":"unknown"}]}"#)
        #expect(await fake.run("list", "-f", "json", url) == 0)
        let rows = try #require(try JSONValue.parse(fake.output).array)
        #expect(rows[0]["Receive Lag"] == 3)
        #expect(rows[0]["Receive LSN"] == "0/5")
        #expect(rows[1]["Replay LSN"] == "unknown")
        #expect(rows[1]["Replay Lag"] == nil)
        #expect(rows[1]["Receive LSN"] == nil)
    }

    @Test func anyMemberServesAndTheFirstToAnswerCounts() async {
        let fake = FakeCluster.three()
        fake.silence("GET http://10.0.0.9:8008/cluster")
        #expect(await fake.run("list", "--url", "http://10.0.0.9:8008,10.0.0.1:8008") == 0)
        #expect(fake.output.contains("pg1"))
    }

    @Test func saysWhoDidNotAnswer() async {
        let fake = FakeCluster()
        fake.silence("GET /cluster")
        #expect(await fake.run("list", "--url", "10.0.0.9:8008") == 1)
        #expect(
            fake.complaints
                == "error: no member's REST API answered (http://10.0.0.9:8008: connection refused); "
                + "name another member's with --url http://host:port\n")
    }

    @Test func refusesAnotherCluster() async {
        let fake = FakeCluster.three()
        #expect(await fake.run("list", "other", url) == 1)
        #expect(fake.complaints == "error: the cluster reached is 'demo', not 'other'\n")
    }

    @Test func watchingGoesOnAndSurvivesSilence() async {
        let fake = FakeCluster.three()
        #expect(await fake.run("list", "-w", "1", url) == 130)
        #expect(fake.output.split(separator: "\n").count { $0.contains("Cluster: demo") } == 4)
        let silent = FakeCluster()
        silent.silence("GET /cluster")
        #expect(await silent.run("list", "-W", url) == 130)
        #expect(silent.output.contains("no member's REST API answered"))
    }
}
