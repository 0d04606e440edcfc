import ClusterModel
import ClusterStore
import PluginInterfaces
import Synchronization
import Testing

@Suite struct ClusterStoreTests {
    private let change = ClusterChange(if: [.leaderAbsent], [.acquireLeader])

    @Test func readsUntilItIsACut() async throws {
        let torn = snapshot([("leader", bytes("old"))], isCut: false)
        let store = ScriptedStore(reads: [.success(torn), .success(torn), .success(snapshot(("leader", "pg1")))])
        let view = try await ClusterStore(store: store).read(.linearizable, within: .seconds(5))
        #expect(view.leader?.name == "pg1")
    }

    @Test func givesUpOnWhatIsNeverACut() async {
        let torn = snapshot([("leader", bytes("old"))], isCut: false)
        let store = ScriptedStore(reads: Array(repeating: .success(torn), count: 100))
        let error = await #expect(throws: StoreError.self) {
            try await ClusterStore(store: store).read(.linearizable, within: .seconds(5))
        }
        #expect(error?.code == .timedOut)
        let failing = ScriptedStore(reads: [.failure(StoreError(.notAuthorized, "no"))])
        let second = await #expect(throws: StoreError.self) {
            try await ClusterStore(store: failing).read(.linearizable, within: .seconds(5))
        }
        #expect(second?.code == .notAuthorized)
        await #expect(throws: StoreError.self) {
            try await ClusterStore(store: ScriptedStore()).read(.linearizable, within: .zero)
        }
    }

    @Test func outcomesKeepTheirMeaning() async {
        let revision = StoreRevision(number: 12)
        let table: [(CommitOutcome, ChangeOutcome)] = [
            (.committed(revision, [:]), .committed(StoreRevision(era: 4, number: 12))),
            (.refused(.absent("leader")), .refused("leader exists")),
            (.refused(.version("sync", anyVersion)), .refused("sync has changed since it was read")),
            (.refused(.owner("leader", session)), .refused("leader is not held by our session")),
            (.refused(.value("leader", [])), .refused("leader has another value")),
            (.refused(nil), .refused("the store refused the transaction")),
            (.notSent(StoreError(.unreachable, "down")), .notSent("down (unreachable)")),
            (.unknown(StoreError(.timedOut, "late")), .unknown("late (timed out)")),
        ]
        for (outcome, expected) in table {
            let store = ScriptedStore(outcome: outcome)
            let cluster = ClusterStore(store: store, era: 4)
            let got = await cluster.commit(
                change, as: "pg1", session: ScriptedSession(store: store), within: .seconds(1))
            #expect(got == expected)
            #expect(store.committed.withLock { $0.count } == 1)
        }
    }

    @Test func nothingIsSentThatCannotWork() async {
        let store = ScriptedStore(outcome: .committed(StoreRevision(number: 1), [:]))
        let cluster = ClusterStore(store: store)
        guard case .notSent = await cluster.commit(change, as: "pg1", session: nil, within: .seconds(1)) else {
            Issue.record("an acquisition without a session was sent")
            return
        }
        let big = ClusterChange(if: [], [.putInitialize(String(repeating: "1", count: 2_000_000))])
        guard case .notSent(let why) = await cluster.commit(big, as: "pg1", session: nil, within: .seconds(1)) else {
            Issue.record("too much was sent")
            return
        }
        #expect(why.contains("too large"))
        #expect(store.committed.withLock { $0.isEmpty })
    }

    @Test func transactionsAreNumberedApart() async {
        let store = ScriptedStore()
        let cluster = ClusterStore(store: store)
        let session = ScriptedSession(store: store)
        for _ in 0..<3 { _ = await cluster.commit(change, as: "pg1", session: session, within: .seconds(1)) }
        #expect(Set(store.committed.withLock { $0.map(\.id) }).count == 3)
    }

    @Test func resolvesThroughTheSession() async throws {
        let store = ScriptedStore(
            reads: [.success(snapshot(("leader", "pg1"))), .success(snapshot(("leader", "pg1")))],
            outcome: .unknown(StoreError(.timedOut, "late")))
        let cluster = ClusterStore(store: store)
        let session = ScriptedSession(store: store)
        guard case .unknown = await cluster.commit(change, as: "pg1", session: session, within: .seconds(1)) else {
            Issue.record("not unknown")
            return
        }
        #expect(try await cluster.resolve(session: session, within: .seconds(1)).leader?.session == session.id)
        #expect(try await cluster.resolve(session: nil, within: .seconds(1)).leader?.name == "pg1")
        guard case .unknown = await cluster.releaseLeader(session, within: .seconds(1)) else {
            Issue.record("not unknown")
            return
        }
    }
}
