import ClusterModel
import ClusterStore
import PluginInterfaces
import Testing

@Suite struct BackupTests {
    private let living = snapshot(
        ("initialize", "7277000000000000001"), ("config", #"{"ttl":30}"#), ("leader", "pg1"), ("members/pg1", "{}"),
        ("status", #"{"optime":42}"#), ("failover", #"{"candidate":"pg2"}"#), ("sync", #"{"leader":"pg1"}"#),
        ("history", "[]"), ("optime/leader", "42"))

    private func backup(of snapshot: StoreSnapshot) -> StoreBackup {
        StoreBackup(
            of: snapshot, scope: "demo", root: "/service/demo/", store: "zookeeper", takenAt: "2026-01-01T00:00:00Z")
    }

    private func plan(
        _ backup: StoreBackup, _ snapshot: StoreSnapshot, replacing: Bool = false
    ) throws -> StoreBackup.Plan {
        try backup.plan(for: snapshot, replacing: replacing, id: TransactionID(1))
    }

    @Test func `what lives in sessions and a pending request are left out`() {
        let backup = backup(of: living)
        #expect(
            backup.entries.keys.sorted() == ["config", "history", "initialize", "optime/leader", "status", "sync"])
        #expect(backup.leftOut == ["failover", "leader", "members/pg1"])
    }

    @Test func `the document is read back as it was, bytes that are no text included`() throws {
        var backup = backup(of: living)
        backup.entries["history"] = [0xFF, 0x00, 0x41]
        let again = try StoreBackup(text: backup.text)
        #expect(again == backup)
        #expect(backup.text.contains(#""hex": "ff0041""#))
    }

    @Test(arguments: [
        ("", "no JSON"), ("[]", "no backup"), (#"{"scope":"demo"}"#, "no backup"),
        (#"{"matriarch_backup":2}"#, "format 2"), (#"{"matriarch_backup":1}"#, "'scope' is missing"),
        (#"{"matriarch_backup":1,"scope":"d","root":"/","store":"z","taken_at":"t"}"#, "'entries' is missing"),
        (
            #"{"matriarch_backup":1,"scope":"d","root":"/","store":"z","taken_at":"t","entries":{"/a":"b"}}"#,
            "'/a' is no key"
        ),
        (
            #"{"matriarch_backup":1,"scope":"d","root":"/","store":"z","taken_at":"t","entries":{"a":{"hex":"0"}}}"#,
            "the value of 'a'"
        ),
    ])
    func `what is no backup is told`(text: String, words: String) {
        let problem = #expect(throws: StoreBackup.Problem.self) { try StoreBackup(text: text) }
        #expect(problem?.description.contains(words) == true, "\(problem?.description ?? "")")
    }

    @Test func `an empty store gets everything but sync, under an era that rises`() throws {
        var backup = backup(of: living)
        backup.entries["era"] = bytes("4")
        let plan = try plan(backup, snapshot([]))
        #expect(plan.created == ["config", "history", "initialize", "optime/leader", "status"])
        #expect(plan.kept.map(\.key) == ["sync"])
        #expect(plan.era == 5)
        #expect(plan.transaction.compares == [.absent("leader")])
        #expect(plan.transaction.writes.last == .create("era", bytes("5"), .permanent))
    }

    @Test func `under a living leader only what is missing comes back, and its number goes on`() throws {
        let plan = try plan(backup(of: living), snapshot(("leader", "pg2"), ("config", "{}")))
        #expect(plan.created == ["history", "initialize", "optime/leader", "status"])
        #expect(plan.kept.map(\.key) == ["config", "sync"])
        #expect(plan.era == nil)
        let problem = #expect(throws: StoreBackup.Problem.self) {
            try self.plan(backup(of: living), snapshot(("leader", "pg2")), replacing: true)
        }
        #expect(problem?.description.contains("pg2 leads") == true)
    }

    @Test func `what is replaced is compared with what was seen`() throws {
        let plan = try plan(
            backup(of: living), snapshot(("config", "{}"), ("history", "[]"), ("era", "7")), replacing: true)
        #expect(plan.replaced == ["config"])
        #expect(plan.kept.map(\.key).sorted() == ["history", "sync"])
        #expect(plan.transaction.compares.contains(.version("config", anyVersion)))
        #expect(plan.transaction.compares.contains(.version("era", anyVersion)))
        #expect(plan.era == 8)
    }

    @Test func `another cluster is never written over`() {
        for replacing in [false, true] {
            let problem = #expect(throws: StoreBackup.Problem.self) {
                try plan(backup(of: living), snapshot(("initialize", "7277000000000000002")), replacing: replacing)
            }
            #expect(problem?.description.contains("another cluster") == true)
        }
    }

    @Test func `a store that has everything is left alone`() throws {
        let plan = try plan(backup(of: living), living)
        #expect(plan.isEmpty)
        #expect(plan.transaction.writes.isEmpty)
    }

    @Test func `the era in the store counts in views and outcomes`() async throws {
        let before = ClusterCodec.view(of: snapshot(("leader", "pg1")))
        let after = ClusterCodec.view(of: snapshot(("leader", "pg1"), ("era", "3")))
        #expect(before.leader?.fence == Fence(era: 0, number: 5))
        #expect(after.leader?.fence == Fence(era: 3, number: 5))
        #expect(after.revision == StoreRevision(era: 3, number: 9))
        #expect(ClusterCodec.view(of: snapshot(("era", "three"))).problems == ["era: no number"])
        let store = ScriptedStore(
            reads: [.success(snapshot(("era", "3")))], outcome: .committed(StoreRevision(number: 12), [:]))
        let cluster = ClusterStore(store: store)
        _ = try await cluster.read(.linearizable, within: .seconds(1))
        #expect(cluster.era == 3)
        let outcome = await cluster.commit(
            ClusterChange(if: [], [.putConfiguration(JSONObject())]), as: "pg1", session: nil, within: .seconds(1))
        #expect(outcome == .committed(StoreRevision(era: 3, number: 12)))
    }
}
