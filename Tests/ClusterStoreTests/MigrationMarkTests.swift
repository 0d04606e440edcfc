import ClusterModel
import ClusterStore
import PluginInterfaces
import Testing

/// The key `migration`, and what a copy for another store consists of.
@Suite struct MigrationMarkTests {
    @Test(arguments: [MigrationMark.State.leaving, .moved, .arriving, .here])
    func whatIsWrittenIsRead(state: MigrationMark.State) {
        let mark = MigrationMark(id: "m1", state: state, member: "pg1", era: 3, store: "etcd3")
        let (read, problem) = MigrationMark.read(Array(mark.storedValue().serialized().utf8))
        #expect(read == mark)
        #expect(problem == nil)
    }

    /// What nobody understands keeps everybody from the lead, and is told.
    @Test(arguments: ["", "moved", "{}", #"{"id":"m1"}"#, #"{"id":"","state":"here"}"#, #"{"id":"m1","state":"new"}"#])
    func everythingElseIsUnreadable(text: String) {
        let (read, problem) = MigrationMark.read(Array(text.utf8))
        #expect(read.state == .unreadable)
        #expect(problem != nil)
    }

    @Test func aCopyIsOneTransaction() throws {
        let session = SessionID("s1")
        let mark = MigrationMark(id: "m1", state: .arriving, member: "pg1", era: 1)
        let transaction = try ClusterCodec.transaction(
            for: ClusterChange(
                if: [.leaderAbsent, .migrationVersion(nil), .initializeAbsent],
                [.putEra(1), .putMigration(mark), .removeSync, .acquireLeader]),
            id: TransactionID(1), name: "pg1", session: session,
            limits: StoreLimits(
                bytesPerValue: 1 << 20, bytesPerTransaction: 1 << 20, operationsPerTransaction: 64,
                versionsIncludeCreation: true))
        #expect(transaction.compares == [.absent("leader"), .absent("migration"), .absent("initialize")])
        #expect(
            transaction.writes == [
                .put("era", Array("1".utf8), .permanent),
                .put("migration", Array(mark.storedValue().serialized().utf8), .permanent), .delete("sync"),
                .create("leader", Array("pg1".utf8), .session(session)),
            ])
    }

    @Test func takingACopyBackLeavesNothing() throws {
        let transaction = try ClusterCodec.transaction(
            for: ClusterChange(if: [], [.removeCopy]), id: TransactionID(1), name: "pg1", session: nil,
            limits: StoreLimits(
                bytesPerValue: 1 << 20, bytesPerTransaction: 1 << 20, operationsPerTransaction: 64,
                versionsIncludeCreation: true))
        #expect(
            Set(transaction.writes)
                == Set(
                    ["initialize", "config", "status", "history", "promotions", "sync", "era", "migration"].map {
                        StoreWrite.delete($0)
                    }))
    }
}
