import ClusterModel
import PluginInterfaces
import Testing

/// What a restart of the server may do, and may not.
extension StoreCases {
    /// For stores with a server that can be restarted (`StoreUnderTest.restartServer`). The lifetime should be a multiple
    /// of what a restart takes.
    public static let restarts: [StoreCase] = [
        StoreCase(name: "a restart of the server loses neither entries nor sessions", run: restartKeeps),
        StoreCase(name: "no update is lost or done twice across a restart", run: restartUnderLoad),
    ]

    static func restartKeeps(_ test: StoreUnderTest) async throws {
        let restart = try test.require(test.restartServer, "restartServer")
        let one = try await StoreClient.open("pg1", on: test)
        let two = try await StoreClient.open("pg2", on: test)
        let log = SignalLog(two.store)
        #expect(await one.acquireLeader().isCommitted)
        #expect(await one.commit(.create("config", bytes("{}"), .permanent)).isCommitted)
        let (_, promised) = try await one.proveLease(holding: true)
        let before = try await two.read()
        let count = log.count
        try await restart()
        var after: StoreSnapshot?
        _ = await eventually(within: .seconds(20)) {
            after = try? await two.read()
            return after != nil
        }
        let snapshot = try #require(after, "the store did not come back")
        #expect(snapshot.revision >= before.revision)
        #expect(snapshot["config"] == before["config"])
        // Until the promised instant it cannot have gone; and a restart takes less than the session lives.
        #expect(snapshot["leader"] == before["leader"] || SystemClock.now() >= promised)
        var renewed = false
        _ = await eventually(within: .seconds(10)) {
            renewed = await one.session.renew(holding: true, within: .seconds(2)).isProven
            return renewed
        }
        #expect(renewed, "the session did not outlive the restart")
        // A watch may go on where it stood without a word; what changes from now on it tells.
        #expect(await one.commit(.put("config", bytes("{\"ttl\":30}"), .permanent)).isCommitted)
        #expect(await log.first(after: count, within: .seconds(20)) { $0.isNews } != nil)
        #expect(await two.acquireLeader().isRefused)
        await one.close()
        await two.close()
    }

    static func restartUnderLoad(_ test: StoreUnderTest) async throws {
        let restart = try test.require(test.restartServer, "restartServer")
        let one = try await StoreClient.open("pg1", on: test)
        let two = try await StoreClient.open("pg2", on: test)
        #expect(await one.commit(.create("config", bytes("0"), .permanent)).isCommitted)
        let counting = [one, two].map { client in
            Task { () -> (committed: Int, unknown: Int) in
                var committed = 0
                var unknown = 0
                while !Task.isCancelled {
                    let limit = Duration.seconds(2)
                    guard
                        let entry = try? await client.store.read(.keys(["config"]), .linearizable, within: limit)[
                            "config"],
                        let number = Int(String(decoding: entry.value, as: UTF8.self))
                    else {
                        try? await Task.sleep(for: .milliseconds(5))
                        continue
                    }
                    switch await client.store.commit(
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
        }
        try await Task.sleep(for: .milliseconds(300))
        try await restart()
        let isBack = await eventually(within: .seconds(20)) { (try? await two.read()) != nil }
        try await Task.sleep(for: .milliseconds(300))
        var committed = 0
        var unknown = 0
        for task in counting {
            task.cancel()
            let counts = await task.value
            committed += counts.committed
            unknown += counts.unknown
        }
        #expect(isBack)
        let total = try #require(Int(try await two.read().text("config") ?? ""))
        #expect(committed > 0)
        #expect(committed...(committed + unknown) ~= total, "\(committed) committed, \(unknown) unknown")
        await one.close()
        await two.close()
    }
}
