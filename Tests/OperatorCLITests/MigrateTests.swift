import ClusterModel
import Testing

@testable import OperatorCLI

@Suite struct MigrateTests {
    /// Three members that can all move; the leader does.
    private func willing() -> FakeCluster {
        let fake = FakeCluster.three()
        fake.answer("PUT /store/migration", "ready")
        fake.answer("DELETE /store/migration", "forgotten")
        fake.answer("GET /store/migration", #"{"name":"pg1","prepared":null,"moved":null,"running":null,"step":null}"#)
        fake.answer("POST http://10.0.0.1:8008/store/migration", "the cluster has moved to the new store (1.5)")
        return fake
    }

    @Test func aDryRunAsksEverybodyAndChangesNothing() async {
        let fake = willing()
        #expect(await fake.run("store", "migrate", "--to", "new.yml", "--dry-run", "--allow-plain-http", url) == 0)
        #expect(fake.changes.count == 3)
        #expect(fake.changes.allSatisfy { $0.contains("PUT ") && $0.contains(#""dry_run":true"#) })
        #expect(fake.output.contains("a dry run: nothing was changed"))
        #expect(!fake.output.contains("hidden"))
    }

    @Test func itAsksFirst() async {
        let fake = willing()
        fake.reply("n")
        #expect(await fake.run("store", "migrate", "--to", "new.yml", "--allow-plain-http", url) == 1)
        #expect(fake.output.contains("Move 3 members to etcd3? [y/N]: "))
        #expect(!fake.changes.contains { $0.contains("POST") })
    }

    @Test func secretsDoNotGoOverPlainHTTPToOtherHosts() async {
        let fake = willing()
        #expect(await fake.run("store", "migrate", "--to", "new.yml", "--force", url) == 1)
        #expect(fake.complaints.contains("--allow-plain-http"))
        #expect(fake.changes.isEmpty)
    }

    @Test func oneMemberThatCannotKeepsAllFromMoving() async {
        let fake = willing()
        fake.answer(
            "PUT http://10.0.0.3:8008/store/migration", status: 503, "the new store cannot be reached from here")
        #expect(await fake.run("store", "migrate", "--to", "new.yml", "--force", "--allow-plain-http", url) == 1)
        #expect(fake.complaints.contains("pg3: the new store cannot be reached from here"))
        #expect(!fake.changes.contains { $0.contains("POST") })
    }

    @Test func oneMemberThatDoesNotAnswerKeepsAllFromMoving() async {
        let fake = willing()
        fake.silence("GET http://10.0.0.2:8008/patroni")
        #expect(await fake.run("store", "migrate", "--to", "new.yml", "--force", "--allow-plain-http", url) == 1)
        #expect(fake.complaints.contains("pg2 does not answer"))
        #expect(fake.changes.isEmpty)
    }

    @Test func anotherAgentKeepsAllFromMoving() async {
        let fake = willing()
        fake.answer(
            "GET http://10.0.0.2:8008/patroni",
            #"{"state":"running","patroni":{"version":"4.1.5","scope":"demo","name":"pg2"}}"#)
        #expect(await fake.run("store", "migrate", "--to", "new.yml", "--force", "--allow-plain-http", url) == 1)
        #expect(fake.complaints.contains("pg2 is another agent than Matriarch"))
    }

    @Test func aFailsafeKeepsAllFromMovingUntilItIsTurnedOff() async {
        let fake = willing()
        fake.answer("GET /config", #"{"ttl":30,"failsafe_mode":true}"#)
        #expect(await fake.run("store", "migrate", "--to", "new.yml", "--dry-run", "--allow-plain-http", url) == 1)
        #expect(fake.complaints.contains("failsafe_mode is on: turn it off while the cluster moves"))
        #expect(fake.changes.isEmpty)
    }

    @Test func whatWasTakenBackIsForgottenAndTold() async {
        let fake = willing()
        fake.answer(
            "POST http://10.0.0.1:8008/store/migration", status: 412, "migration taken back: the cluster is paused")
        #expect(await fake.run("store", "migrate", "--to", "new.yml", "--force", "--allow-plain-http", url) == 1)
        #expect(fake.complaints.contains("migration taken back: the cluster is paused"))
        #expect(fake.changes.filter { $0.hasPrefix("DELETE") }.count == 3)
    }

    @Test(arguments: [
        ("http://127.0.0.1:8008", true), ("http://localhost:8008", true), ("http://[::1]:8008", true),
        ("http://10.0.0.1:8008", false), ("http://[fe80::1]:8008", false), ("http://127a.example:8008", false),
    ])
    func whichHostsAreThisOne(base: String, isLoopback: Bool) {
        #expect(StoreMigrateCommand.isLoopback(base) == isLoopback)
    }
}
