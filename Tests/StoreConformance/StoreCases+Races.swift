import ClusterModel
import PluginInterfaces
import Testing

/// More of transactions, limits and names.
extension StoreCases {
    static func deleteRace(_ test: StoreUnderTest) async throws {
        var clients: [StoreClient] = []
        for number in 0..<5 { clients.append(try await .open("pg\(number)", on: test)) }
        for round in 0..<5 {
            let first = try await clients[0].commit(.create("failover", bytes("a\(round)"), .permanent))
                .version("failover")
            // The value is changed, so that a fresh entry's version is not mistaken for this one's.
            let version = try await clients[0].commit(
                if: [.version("failover", first)], .put("failover", bytes("b\(round)"), .permanent)
            ).version("failover")
            let outcomes = await withTaskGroup(of: CommitOutcome.self) { group in
                for client in clients {
                    group.addTask { await client.commit(if: [.version("failover", version)], .delete("failover")) }
                }
                return await group.reduce(into: []) { $0.append($1) }
            }
            #expect(outcomes.count(where: \.isCommitted) == 1)
            #expect(outcomes.count(where: \.isRefused) == clients.count - 1)
            #expect(try await clients[0].read()["failover"] == nil)
        }
        for client in clients { await client.close() }
    }

    static func transfers(_ test: StoreUnderTest) async throws {
        var clients: [StoreClient] = []
        for number in 0..<3 { clients.append(try await .open("pg\(number)", on: test)) }
        let watcher = try await StoreClient.open("watcher", on: test)
        #expect(
            await clients[0].commit(
                .create("config", bytes("100"), .permanent), .create("status", bytes("100"), .permanent)
            ).isCommitted)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for client in clients {
                group.addTask {
                    var done = 0
                    while done < 8 {
                        let snapshot = try await client.read(.keys(["config", "status"]))
                        guard snapshot.isCut else { continue }
                        let from = try #require(snapshot["config"])
                        let to = try #require(snapshot["status"])
                        let outcome = await client.commit(
                            if: [.version("config", from.version), .version("status", to.version)],
                            .put("config", bytes(String(try number(from) - 1)), .permanent),
                            .put("status", bytes(String(try number(to) + 1)), .permanent))
                        if outcome.isCommitted { done += 1 }
                    }
                }
            }
            group.addTask {
                for _ in 0..<30 {
                    let snapshot = try await watcher.read()
                    guard snapshot.isCut else { continue }
                    let sum = try number(#require(snapshot["config"])) + number(#require(snapshot["status"]))
                    #expect(sum == 200)
                }
            }
            try await group.waitForAll()
        }
        #expect(try await watcher.read().text("status") == String(100 + 8 * clients.count))
        for client in clients { await client.close() }
        await watcher.close()
    }

    private static func number(_ entry: StoreEntry) throws -> Int {
        try #require(Int(String(decoding: entry.value, as: UTF8.self)))
    }

    static func comparesAlone(_ test: StoreUnderTest) async throws {
        let client = try await StoreClient.open("pg1", on: test)
        let version = try await client.commit(.create("config", bytes("{}"), .permanent)).version("config")
        let other = EntryVersion(created: version.created, number: version.number &+ 7)
        #expect(await client.commit(if: [.version("config", version), .absent("leader")]).isCommitted)
        #expect(await client.commit(if: [.value("config", bytes("{}"))]).isCommitted)
        for wrong: [StoreCompare] in [
            [.version("config", other)], [.absent("config")], [.version("config", version), .value("config", [])],
        ] {
            #expect(await client.commit(if: wrong).isRefused, "\(wrong)")
        }
        let snapshot = try await client.read()
        #expect(snapshot.entries.map(\.key) == ["config"])
        #expect(snapshot["config"]?.version == version)
        await client.close()
    }

    static func valueAtTheLimit(_ test: StoreUnderTest) async throws {
        let one = try await StoreClient.open("pg1", on: test)
        let two = try await StoreClient.open("pg2", on: test)
        let limit = one.store.limits.bytesPerValue
        let big = (0..<limit).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
        #expect(await one.commit(.create("history", big, .permanent)).isCommitted)
        let read = try await two.read()["history"]?.value
        #expect(read?.count == limit)
        #expect(read == big)
        #expect(await two.commit(.put("history", bytes("[]"), .permanent)).isCommitted)
        #expect(try await one.read().text("history") == "[]")
        await one.close()
        await two.close()
    }

    static func transactionAtTheLimit(_ test: StoreUnderTest) async throws {
        let client = try await StoreClient.open("pg1", on: test)
        let count = client.store.limits.operationsPerTransaction
        let writes = (0..<count).map { StoreWrite.create("members/m\($0)", bytes("{\"n\":\($0)}"), .permanent) }
        let outcome = await client.store.commit(
            StoreTransaction(id: TransactionID(nextNumber()), compares: [], writes: writes), within: StoreClient.limit)
        #expect(outcome.isCommitted, "\(outcome)")
        #expect(try await client.read().entries.count == count)
        await client.close()
    }

    static func manyMembers(_ test: StoreUnderTest) async throws {
        let one = try await StoreClient.open("pg1", on: test)
        let two = try await StoreClient.open("pg2", on: test)
        let count = 300
        try await withThrowingTaskGroup(of: Void.self) { group in
            for part in 0..<4 {
                group.addTask {
                    for number in stride(from: part, to: count, by: 4) {
                        let outcome = await one.commit(.create("members/m\(number)", bytes("{}"), .permanent))
                        guard outcome.isCommitted else { throw CaseFailure("member \(number): \(outcome)") }
                    }
                }
            }
            try await group.waitForAll()
        }
        let snapshot = try await two.read()
        #expect(snapshot.isCut)
        #expect(Set(snapshot.entries.map(\.key)) == Set((0..<count).map { "members/m\($0)" }))
        await one.close()
        await two.close()
    }

    static func commonPrefixes(_ test: StoreUnderTest) async throws {
        let client = try await StoreClient.open("pg1", on: test)
        let keys = ["members/a", "members/ab", "members/a.b", "members/a-", "members/A", "config", "configuration"]
        for key in keys {
            #expect(await client.commit(if: [.absent(key)], .create(key, bytes(key), .permanent)).isCommitted, "\(key)")
        }
        for key in keys { #expect(try await client.read(.keys([key])).entries.map(\.key) == [key]) }
        #expect(await client.commit(.delete("members/a"), .delete("config")).isCommitted)
        let left = try await client.read()
        #expect(Set(left.entries.map(\.key)) == Set(keys).subtracting(["members/a", "config"]))
        for entry in left.entries { #expect(entry.value == bytes(entry.key)) }
        await client.close()
    }

    static func wideNames(_ test: StoreUnderTest) async throws {
        let client = try await StoreClient.open("pg1", on: test)
        #expect(await client.commit(.create("members/🐘", bytes("🐘"), .session(client.session.id))).isCommitted)
        #expect(try await client.read().text("members/🐘") == "🐘")
        await client.close()
    }
}
