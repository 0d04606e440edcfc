import ClusterModel
public import PluginInterfaces
import Testing

extension StoreCases {
    static func expiry(_ test: StoreUnderTest) async throws {
        let one = try await StoreClient.open("pg1", on: test)
        let two = try await StoreClient.open("pg2", on: test)
        #expect(await one.acquireLeader().isCommitted)
        #expect(await one.commit(.create("members/pg1", bytes("{}"), .session(one.session.id))).isCommitted)
        #expect(await one.commit(.put("config", bytes("{}"), .permanent)).isCommitted)
        let (sent, promised) = try await one.proveLease(holding: true)
        #expect(promised > sent)
        await one.vanish()
        let log = SignalLog(two.store)
        _ = try await two.read()
        let count = log.count
        var gone: Instant?
        let limit = promised - SystemClock.now() + test.expiryLateness + one.session.granted
        _ = try await eventually(within: limit) {
            // The watcher's own session must outlive the other's.
            _ = await two.session.renew(holding: false, within: StoreClient.limit)
            let snapshot = try await two.read()
            if snapshot["leader"] != nil { return false }
            #expect(snapshot["members/pg1"] == nil)
            #expect(snapshot.text("config") == "{}")
            gone = SystemClock.now()
            return true
        }
        let end = try #require(gone, "the entries of an expired session stayed")
        #expect(end >= promised, "gone \(promised - end) before the promised instant")
        #expect(end - promised <= test.expiryLateness, "gone \(end - promised) after the promised instant")
        #expect(await log.first(after: count, within: test.signalLateness) { $0.isNews } != nil)
        #expect(await two.acquireLeader().isCommitted)
        await two.close()
    }

    static func renewalProof(_ test: StoreUnderTest) async throws {
        let client = try await StoreClient.open("pg1", on: test)
        #expect(client.session.granted > .zero)
        #expect(client.session.renewalInterval > .zero)
        #expect(client.session.renewalInterval * 3 <= client.session.granted)
        #expect(await client.acquireLeader().isCommitted)
        let revision = try await client.read()["leader"]?.version
        var last = Instant.distantPast
        for _ in 0..<5 {
            let before = SystemClock.now()
            let (sent, promised) = try await client.proveLease(holding: true)
            #expect(sent >= last)
            #expect(sent <= SystemClock.now())
            #expect(promised - sent <= client.session.granted)
            #expect(promised > before)
            last = sent
        }
        // A renewal is no change of the entry.
        #expect(try await client.read()["leader"]?.version == revision)
        await client.close()
    }

    static func renewalWithoutEntry(_ test: StoreUnderTest) async throws {
        let one = try await StoreClient.open("pg1", on: test)
        let two = try await StoreClient.open("pg2", on: test)
        #expect(await one.acquireLeader().isCommitted)
        _ = try await one.proveLease(holding: true)
        // An operator's hand.
        #expect(await two.commit(.delete("leader")).isCommitted)
        #expect(await one.session.renew(holding: true, within: StoreClient.limit).isGone)
        #expect(await two.acquireLeader().isCommitted)
        #expect(await one.session.renew(holding: true, within: StoreClient.limit).isGone)
        // What does not claim to hold it goes on.
        _ = try await one.proveLease(holding: false)
        await one.close()
        await two.close()
    }

    static func renewalAfterEnd(_ test: StoreUnderTest) async throws {
        guard test.endsWithoutRenewal else {
            throw CaseFailure("this store keeps its sessions by itself: leave out StoreCases.unrenewed")
        }
        let one = try await StoreClient.open("pg1", on: test)
        let log = SignalLog(one.store)
        #expect(await one.acquireLeader().isCommitted)
        let (_, promised) = try await one.proveLease(holding: true)
        let limit = promised - SystemClock.now() + test.expiryLateness + .seconds(5)
        #expect(await log.first(after: 0, within: limit) { $0 == .sessionLost } != nil)
        #expect(await one.session.renew(holding: true, within: StoreClient.limit).isGone)
        #expect(await one.session.renew(holding: false, within: StoreClient.limit).isGone)
        // Nothing can be hung on it any more.
        #expect(await !one.acquireLeader().isCommitted)
        #expect(try await one.read()["leader"] == nil)
        #expect(await !one.session.releaseLeader(within: StoreClient.limit).isCommitted)
        await one.close()
    }

    static func resume(_ test: StoreUnderTest) async throws {
        let one = try await StoreClient.open("pg1", on: test)
        #expect(!one.session.isResumed)
        let saved = try #require(one.session.resumption, "leave out StoreCases.resumption")
        #expect(await one.acquireLeader().isCommitted)
        let before = try #require(try await one.read()["leader"])
        await one.vanish()
        let again = try await StoreClient.open("pg1", on: test, resume: saved)
        #expect(again.session.isResumed)
        #expect(again.session.id == one.session.id)
        #expect(try await again.read()["leader"] == before)
        let (sent, promised) = try await again.proveLease(holding: true)
        #expect(promised - sent <= again.session.granted)
        let ours: [StoreCompare] = [.owner("leader", again.session.id)]
        #expect(await again.commit(if: ours, .put("status", bytes("{}"), .permanent)).isCommitted)
        // And once more, with what the second instance saved.
        let savedAgain = try #require(again.session.resumption)
        await again.vanish()
        let third = try await StoreClient.open("pg1", on: test, resume: savedAgain)
        #expect(third.session.isResumed)
        _ = try await third.proveLease(holding: true)
        await third.close()
    }

    static func storeCloseAbandons(_ test: StoreUnderTest) async throws {
        let one = try await StoreClient.open("pg1", on: test)
        let two = try await StoreClient.open("pg2", on: test)
        #expect(await one.acquireLeader().isCommitted)
        let saved = one.session.resumption
        await one.store.close()
        #expect(try await two.read()["leader"]?.owner == one.session.id)
        if let saved {
            let again = try await StoreClient.open("pg1", on: test, resume: saved)
            #expect(again.session.isResumed)
            await again.close()
        }
        await two.close()
    }

    static func resumeTooLate(_ test: StoreUnderTest) async throws {
        let one = try await StoreClient.open("pg1", on: test)
        let saved = try #require(one.session.resumption, "leave out StoreCases.resumption")
        #expect(await one.acquireLeader().isCommitted)
        await one.close()
        let again = try await StoreClient.open("pg1", on: test, resume: saved)
        #expect(!again.session.isResumed)
        #expect(again.session.id != one.session.id)
        #expect(await again.acquireLeader().isCommitted)
        await again.close()
        // Garbage is no session.
        let other = try await StoreClient.open("pg1", on: test, resume: [0xFF, 0x00, 0x20])
        #expect(!other.session.isResumed)
        await other.close()
    }

    static func release(_ test: StoreUnderTest) async throws {
        let one = try await StoreClient.open("pg1", on: test)
        let two = try await StoreClient.open("pg2", on: test)
        #expect(await one.acquireLeader().isCommitted)
        #expect(await one.session.releaseLeader(within: StoreClient.limit).isCommitted)
        #expect(try await two.read()["leader"] == nil)
        #expect(await two.acquireLeader().isCommitted)
        // Again: not ours any more, so nothing happens.
        #expect(await !one.session.releaseLeader(within: StoreClient.limit).isCommitted)
        #expect(try await two.read().text("leader") == "pg2")
        _ = try await two.proveLease(holding: true)
        await one.close()
        await two.close()
    }

    static func closeOrAbandon(_ test: StoreUnderTest) async throws {
        let one = try await StoreClient.open("pg1", on: test)
        let two = try await StoreClient.open("pg2", on: test)
        let watcher = try await StoreClient.open("pg3", on: test)
        for client in [one, two] {
            let key = "members/\(client.name)"
            #expect(await client.commit(.create(key, bytes("{}"), .session(client.session.id))).isCommitted)
        }
        await one.close()
        #expect(try await watcher.read()["members/pg1"] == nil)
        let (_, promised) = try await two.proveLease(holding: false)
        await two.vanish()
        let entry = try await watcher.read()["members/pg2"]
        #expect(entry != nil || SystemClock.now() >= promised)
        await watcher.close()
    }

    static func resolve(_ test: StoreUnderTest) async throws {
        let one = try await StoreClient.open("pg1", on: test)
        let id = TransactionID(nextNumber())
        let transaction = StoreTransaction(
            id: id, compares: [.absent("leader")],
            writes: [.create("leader", bytes("pg1"), .session(one.session.id))])
        // As good as unknown for the caller: it does not look at the outcome.
        let outcome = await one.store.commit(transaction, within: StoreClient.limit)
        let before = SystemClock.now()
        let snapshot = try await one.session.resolve(id, .all, within: StoreClient.limit)
        #expect(snapshot.requestedAt >= before)
        #expect((snapshot["leader"]?.owner == one.session.id) == outcome.isCommitted)
        // A call without time never takes effect, or says that it does not know.
        let late = StoreTransaction(
            id: TransactionID(nextNumber()), compares: [], writes: [.put("config", bytes("x"), .permanent)])
        switch await one.store.commit(late, within: .zero) {
        case .notSent: #expect(try await one.session.resolve(late.id, .all, within: StoreClient.limit)["config"] == nil)
        case .unknown: _ = try await one.session.resolve(late.id, .all, within: StoreClient.limit)
        case .committed, .refused: throw CaseFailure("answered without time")
        }
        await one.close()
    }
}

extension RenewOutcome {
    /// Whether the renewal proved something.
    public var isProven: Bool {
        if case .proven = self { return true }
        return false
    }

    /// Whether the store says that there is nothing to renew any more.
    public var isGone: Bool {
        if case .gone = self { return true }
        return false
    }
}
