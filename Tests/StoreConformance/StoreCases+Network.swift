import ClusterModel
import PluginInterfaces
import Testing

/// What the network between client and server does. `StoreUnderTest.proxy` stands in it; a client of `makeStore` beside it
/// sees what truly happened.
extension StoreCases {
    /// For stores with a server that a `FaultProxy` can stand in front of.
    public static let behindProxy: [StoreCase] = [
        StoreCase(name: "cut off and back: calls end at once, nothing is missed", run: cutAndBack),
        StoreCase(name: "cut off for good: the promise holds, then another leads", run: cutForGood),
        StoreCase(name: "a paused client: what it had queued has no effect", run: pausedClient),
        StoreCase(name: "half-open: a lost answer is an unknown outcome", run: lostAnswers),
        StoreCase(name: "half-open: a lost request has no effect later", run: lostRequests),
        StoreCase(name: "slow answers prove less", run: slowNetwork),
        StoreCase(name: "resets: no update is lost or done twice", run: resets),
        StoreCase(name: "garbage is an error, and passes", run: garbage),
        StoreCase(name: "a session cannot be opened through a dead network in time", run: openThroughNothing),
    ]

    static func cutAndBack(_ test: StoreUnderTest) async throws {
        try await withProxy(test) { proxy in
            let one = try await StoreClient.open("pg1", on: test, behindProxy: true)
            let two = try await StoreClient.open("pg2", on: test)
            let log = SignalLog(one.store)
            #expect(await one.acquireLeader().isCommitted)
            _ = try await one.proveLease(holding: true)
            _ = try await one.read()
            var count = log.count
            await proxy.set(.cut)
            // Some stores notice by a call only.
            let isNoticed = await eventually(within: test.signalLateness) {
                if await log.first(after: count, within: .zero, { $0.isDisconnection }) != nil { return true }
                return (try? await one.store.read(.all, .linearizable, within: .milliseconds(500))) == nil
            }
            #expect(isNoticed)
            let start = SystemClock.now()
            let outcome = await one.commit(.put("failover", bytes("{}"), .permanent))
            #expect(!outcome.isCommitted && !outcome.isRefused, "\(outcome)")
            await #expect(throws: StoreError.self) { try await one.read() }
            let renewal = await one.session.renew(holding: true, within: StoreClient.limit)
            #expect(!renewal.isProven && !renewal.isGone, "\(renewal)")
            #expect(SystemClock.now() - start < .seconds(3))
            count = log.count
            #expect(await two.commit(.put("config", bytes("meanwhile"), .permanent)).isCommitted)
            await proxy.set(.none)
            #expect(await log.first(after: count, within: test.signalLateness + .seconds(5)) { $0.isNews } != nil)
            let isBack = await eventually(within: .seconds(10)) {
                (try? await one.read())?.text("config") == "meanwhile"
            }
            #expect(isBack)
            // The watch is back as well.
            count = log.count
            #expect(await two.commit(.put("config", bytes("later"), .permanent)).isCommitted)
            #expect(await log.first(after: count, within: test.signalLateness) { $0.isNews } != nil)
            _ = try await one.proveLease(holding: true)
            // What was not sent, or may have been, did not happen afterwards out of a queue.
            if case .notSent = outcome { #expect(try await two.read()["failover"] == nil) }
            await one.close()
            await two.close()
        }
    }

    static func cutForGood(_ test: StoreUnderTest) async throws {
        try await withProxy(test) { proxy in
            let one = try await StoreClient.open("pg1", on: test, behindProxy: true)
            let two = try await StoreClient.open("pg2", on: test)
            let log = SignalLog(one.store)
            #expect(await one.acquireLeader().isCommitted)
            let (_, promised) = try await one.proveLease(holding: true)
            await proxy.set(.cut)
            try await passTheLease(to: two, promised, test) {
                let renewal = await one.session.renew(holding: true, within: .milliseconds(200))
                #expect(!renewal.isProven, "renewed through a cut network")
            }
            await proxy.set(.none)
            let isGone = await eventually(within: .seconds(20)) {
                await one.session.renew(holding: true, within: .seconds(2)).isGone
            }
            #expect(isGone, "nobody told the old holder")
            let outcome = await one.commit(
                if: [.owner("leader", one.session.id)], .put("config", bytes("x"), .permanent))
            #expect(!outcome.isCommitted)
            #expect(await log.first(after: 0, within: test.signalLateness) { $0 == .sessionLost } != nil)
            // A new session on the same store.
            await one.session.close(abandon: true)
            let again = try await one.store.openSession(
                SessionRequest(lifetime: test.lifetime, name: "pg1"), within: StoreClient.limit)
            #expect(again.id != one.session.id)
            #expect(await again.renew(holding: true, within: StoreClient.limit).isProven == false)
            #expect(try await two.read()["leader"]?.owner == two.session.id)
            await again.close(abandon: false)
            await one.store.close()
            await two.close()
        }
    }

    static func pausedClient(_ test: StoreUnderTest) async throws {
        try await withProxy(test) { proxy in
            let one = try await StoreClient.open("pg1", on: test, behindProxy: true)
            let two = try await StoreClient.open("pg2", on: test)
            #expect(await one.acquireLeader().isCommitted)
            #expect(await one.commit(.create("config", bytes("before"), .permanent)).isCommitted)
            let (_, promised) = try await one.proveLease(holding: true)
            await proxy.set(.stalled)
            // These lie in the network until the client is let go.
            let ours: [StoreCompare] = [.owner("leader", one.session.id)]
            for (compares, write) in [
                (ours, StoreWrite.put("config", bytes("late"), .permanent)),
                (ours, .create("sync", bytes("late"), .permanent)),
                ([.absent("members/pg1")], .create("members/pg1", bytes("late"), .session(one.session.id))),
            ] {
                let start = SystemClock.now()
                let outcome = await one.store.commit(
                    StoreTransaction(id: TransactionID(nextNumber()), compares: compares, writes: [write]),
                    within: .milliseconds(200))
                #expect(!outcome.isCommitted && !outcome.isRefused, "\(outcome)")
                #expect(SystemClock.now() - start < .seconds(2))
            }
            try await passTheLease(to: two, promised, test) {
                let renewal = await one.session.renew(holding: true, within: .milliseconds(200))
                #expect(!renewal.isProven, "renewed through a stalled network")
            }
            await proxy.set(.none)
            let isGone = await eventually(within: .seconds(20)) {
                await one.session.renew(holding: true, within: .seconds(2)).isGone
            }
            #expect(isGone)
            let snapshot = try await two.read()
            #expect(snapshot.text("config") == "before")
            #expect(snapshot["sync"] == nil)
            #expect(snapshot["members/pg1"] == nil)
            #expect(snapshot["leader"]?.owner == two.session.id)
            await one.vanish()
            await two.close()
        }
    }

    static func lostAnswers(_ test: StoreUnderTest) async throws {
        try await halfOpen(test, .answersLost)
    }

    static func lostRequests(_ test: StoreUnderTest) async throws {
        try await halfOpen(test, .requestsLost)
    }

    private static func halfOpen(_ test: StoreUnderTest, _ fault: FaultProxy.Fault) async throws {
        try await withProxy(test) { proxy in
            let one = try await StoreClient.open("pg1", on: test, behindProxy: true)
            let two = try await StoreClient.open("pg2", on: test)
            #expect(await one.acquireLeader().isCommitted)
            _ = try await one.proveLease(holding: true)
            await proxy.set(fault)
            let transaction = StoreTransaction(
                id: TransactionID(nextNumber()), compares: [.absent("config")],
                writes: [.create("config", bytes("once"), .permanent)])
            let start = SystemClock.now()
            let outcome = await one.store.commit(transaction, within: .milliseconds(400))
            #expect(!outcome.isCommitted && !outcome.isRefused, "\(outcome)")
            #expect(await !one.session.renew(holding: true, within: .milliseconds(200)).isProven)
            await #expect(throws: StoreError.self) {
                try await one.store.read(.all, .linearizable, within: .milliseconds(200))
            }
            #expect(SystemClock.now() - start < .seconds(3))
            await proxy.set(.none)
            var resolved: StoreSnapshot?
            let isResolved = await eventually(within: .seconds(10)) {
                resolved = try? await one.session.resolve(transaction.id, .all, within: .seconds(2))
                return resolved != nil
            }
            #expect(isResolved)
            let entry = resolved?["config"]
            if fault == .requestsLost || outcome.isNotSent { #expect(entry == nil) }
            // What the resolution showed is final: neither a late arrival nor a second sending changes it.
            try await Task.sleep(for: .seconds(1))
            #expect(try await two.read()["config"] == entry)
            _ = try await one.proveLease(holding: true)
            await one.close()
            await two.close()
        }
    }

    static func slowNetwork(_ test: StoreUnderTest) async throws {
        try await withProxy(test) { proxy in
            let delay = Duration.milliseconds(100)
            let one = try await StoreClient.open("pg1", on: test, behindProxy: true)
            await proxy.set(.slow(delay))
            #expect(await one.acquireLeader().isCommitted)
            #expect(await one.commit(.put("config", bytes("{}"), .permanent)).isCommitted)
            #expect(try await one.read().text("config") == "{}")
            var proofs = 0
            for _ in 0..<20 where proofs < 3 {
                switch await one.session.renew(holding: true, within: StoreClient.limit) {
                case .proven(let sent, let expiry):
                    // Reckoned from when it was sent: the round trip is behind it.
                    #expect(SystemClock.now() - sent >= delay * 2)
                    #expect(expiry <= sent + one.session.granted)
                    proofs += 1
                case .unknown: try await Task.sleep(for: .milliseconds(20))
                case .gone(let why): throw CaseFailure("the session is gone: \(why)")
                }
            }
            #expect(proofs == 3)
            await proxy.set(.none)
            await one.close()
        }
    }

    static func resets(_ test: StoreUnderTest) async throws {
        try await withProxy(test) { proxy in
            let one = try await StoreClient.open("pg1", on: test, behindProxy: true)
            let two = try await StoreClient.open("pg2", on: test)
            #expect(await one.acquireLeader().isCommitted)
            #expect(await one.commit(.create("config", bytes("0"), .permanent)).isCommitted)
            let counting = Task { () -> (committed: Int, unknown: Int) in
                var committed = 0
                var unknown = 0
                while !Task.isCancelled {
                    let limit = Duration.seconds(2)
                    guard
                        let entry = try? await one.store.read(.keys(["config"]), .linearizable, within: limit)[
                            "config"],
                        let number = Int(String(decoding: entry.value, as: UTF8.self))
                    else {
                        try? await Task.sleep(for: .milliseconds(5))
                        continue
                    }
                    switch await one.store.commit(
                        StoreTransaction(
                            id: TransactionID(nextNumber()), compares: [.version("config", entry.version)],
                            writes: [.put("config", bytes(String(number + 1)), .permanent)]), within: limit)
                    {
                    case .committed: committed += 1
                    case .unknown: unknown += 1
                    case .refused, .notSent: break
                    }
                }
                return (committed, unknown)
            }
            for _ in 0..<6 {
                try await Task.sleep(for: .milliseconds(150))
                await proxy.set(.reset)
                await proxy.set(.none)
            }
            let isBack = await eventually(within: .seconds(10)) { (try? await one.read()) != nil }
            #expect(isBack)
            counting.cancel()
            let (committed, unknown) = await counting.value
            let total = try #require(Int(try await two.read().text("config") ?? ""))
            #expect(committed > 0)
            #expect(committed...(committed + unknown) ~= total, "\(committed) committed, \(unknown) unknown")
            _ = try await one.proveLease(holding: true)
            await one.close()
            await two.close()
        }
    }

    static func garbage(_ test: StoreUnderTest) async throws {
        try await withProxy(test) { proxy in
            let one = try await StoreClient.open("pg1", on: test, behindProxy: true)
            let two = try await StoreClient.open("pg2", on: test)
            #expect(await one.commit(.create("config", bytes("0"), .permanent)).isCommitted)
            for _ in 0..<5 {
                await proxy.set(.garbage)
                let limit = Duration.milliseconds(300)
                await #expect(throws: StoreError.self) {
                    try await one.store.read(.all, .linearizable, within: limit)
                }
                let outcome = await one.store.commit(
                    StoreTransaction(
                        id: TransactionID(nextNumber()), compares: [],
                        writes: [.create("sync", bytes("x"), .permanent)]), within: limit)
                #expect(!outcome.isCommitted, "\(outcome)")
                #expect(await !one.session.renew(holding: false, within: limit).isProven)
                await proxy.set(.none)
                let isBack = await eventually(within: .seconds(20)) {
                    (try? await one.store.read(.all, .linearizable, within: .seconds(2)))?.text("config") == "0"
                }
                #expect(isBack, "garbage was never forgotten")
            }
            await one.vanish()
            await two.close()
        }
    }

    static func openThroughNothing(_ test: StoreUnderTest) async throws {
        let make = try test.require(test.makeStoreBehindProxy, "makeStoreBehindProxy")
        try await withProxy(test) { proxy in
            for fault: FaultProxy.Fault in [.cut, .stalled] {
                await proxy.set(fault)
                let store = try await make()
                let start = SystemClock.now()
                await #expect(throws: StoreError.self) {
                    _ = try await store.openSession(
                        SessionRequest(lifetime: test.lifetime, name: "pg1"), within: .milliseconds(500))
                }
                #expect(SystemClock.now() - start < .seconds(4))
                await proxy.set(.none)
                // And later it can.
                let isOpen = await eventually(within: .seconds(20)) {
                    guard
                        let session = try? await store.openSession(
                            SessionRequest(lifetime: test.lifetime, name: "pg1"), within: .seconds(5))
                    else { return false }
                    await session.close(abandon: false)
                    return true
                }
                #expect(isOpen, "\(fault)")
                await store.close()
            }
        }
    }

    // MARK: What these have in common

    /// Runs a case and leaves the proxy as it was, whatever happens.
    private static func withProxy(_ test: StoreUnderTest, _ body: (FaultProxy) async throws -> Void) async throws {
        let proxy = try test.require(test.proxy, "proxy")
        await proxy.set(.none)
        do {
            try await body(proxy)
        } catch {
            await proxy.set(.none)
            throw error
        }
        await proxy.set(.none)
    }

    /// Waits until another client gets the leader entry: not before the promised instant, and not for ever after.
    private static func passTheLease(
        to rival: StoreClient, _ promised: Instant, _ test: StoreUnderTest, meanwhile: () async -> Void
    ) async throws {
        var acquired: Instant?
        let limit = promised - SystemClock.now() + rival.session.granted + test.expiryLateness
        _ = await eventually(within: limit) {
            _ = await rival.session.renew(holding: false, within: StoreClient.limit)
            if await rival.acquireLeader().isCommitted { acquired = SystemClock.now() }
            if acquired == nil { await meanwhile() }
            return acquired != nil
        }
        let end = try #require(acquired, "the entry never came free")
        #expect(end >= promised, "free \(promised - end) before the promised instant")
    }
}

extension CommitOutcome {
    var isNotSent: Bool {
        if case .notSent = self { return true }
        return false
    }
}

extension StoreSignal {
    var isDisconnection: Bool {
        if case .disconnected = self { return true }
        return false
    }
}
