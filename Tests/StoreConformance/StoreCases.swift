import ClusterModel
import PluginInterfaces
import Testing

/// What every store must do, whatever it is made of. A store's own tests run these on its real server:
///
/// ```swift
/// import StoreConformance
/// import Testing
///
/// @Suite struct MyStoreConformance {
///     @Test(arguments: StoreCases.all) func conforms(_ storeCase: StoreCase) async throws {
///         // A root that no other case uses.
///         let root = "/service/case\(nextNumber())/"
///         try await storeCase.run(
///             StoreUnderTest(
///                 makeStore: { MyStore(server: "127.0.0.1:4711", root: root) }, lifetime: .seconds(2),
///                 expiryLateness: .seconds(1), signalLateness: .seconds(3), endsWithoutRenewal: true))
///     }
/// }
/// ```
///
/// `all` needs nothing but a server. `behindProxy` and `restarts` are lists of their own, for stores that have a server
/// to be cut off from and to be restarted: see `StoreUnderTest`. What does not apply to a store is left out by its test,
/// by list (``excluding(_:)``); no case passes without having shown anything.
public enum StoreCases {
    /// All cases that need nothing but clients of the same root.
    public static let all: [StoreCase] = transactions + limits + names + sessions + resumption + unrenewed + signals

    /// `all` without the cases of some lists.
    public static func excluding(_ lists: [StoreCase]...) -> [StoreCase] {
        let names = Set(lists.joined().map(\.name))
        return all.filter { !names.contains($0.name) }
    }

    /// The same cases with sessions that live longer: these are not about expiry, and a busy machine may hold them up.
    private static func unhurried(_ cases: [StoreCase]) -> [StoreCase] {
        cases.map { storeCase in
            StoreCase(name: storeCase.name) { test in
                var test = test
                test.lifetime *= 4
                try await storeCase.run(test)
            }
        }
    }

    /// Atomicity, compares, races.
    public static let transactions: [StoreCase] = unhurried([
        StoreCase(name: "a create race has one winner", run: createRace),
        StoreCase(name: "a delete race has one winner", run: deleteRace),
        StoreCase(name: "no update is lost", run: countersAddUp),
        StoreCase(name: "transfers between two entries keep the sum", run: transfers),
        StoreCase(name: "compare by version", run: compareVersion),
        StoreCase(name: "compare absent, value, owner", run: compareOthers),
        StoreCase(name: "compares without writes", run: comparesAlone),
        StoreCase(name: "all writes or none", run: atomicity),
        StoreCase(name: "delete and create again is another version", run: recreationIsSeen),
        StoreCase(name: "a read sees what was committed before it", run: readAfterCommit),
    ])

    /// Values and transactions as large as the store says, and larger.
    public static let limits: [StoreCase] = unhurried([
        StoreCase(name: "too large is refused locally", run: tooLarge),
        StoreCase(name: "a value at the limit is kept", run: valueAtTheLimit),
        StoreCase(name: "a transaction at the limit is committed", run: transactionAtTheLimit),
        StoreCase(name: "hundreds of members are read as one", run: manyMembers),
    ])

    /// Keys and values of all sorts.
    public static let names: [StoreCase] =
        [
            StoreCase(name: "odd names and values", run: oddNames),
            StoreCase(name: "a name that begins like another is another", run: commonPrefixes),
        ] + namesBeyondU_FFFF

    /// For stores that take every character.
    public static let namesBeyondU_FFFF: [StoreCase] = [
        StoreCase(name: "names beyond U+FFFF", run: wideNames)
    ]

    /// Leases: what ends them, what keeps them, what a renewal proves.
    public static let sessions: [StoreCase] = [
        StoreCase(name: "expiry removes entries and is signalled", run: expiry),
        StoreCase(name: "one session's end leaves the others", run: sessionsAreApart),
        StoreCase(name: "a renewed session outlives its lifetime", run: renewedSessionLives),
        StoreCase(name: "a renewal proves no more than was granted", run: renewalProof),
        StoreCase(name: "instants are of the clock that leases are reckoned on", run: clockOfLeases),
        StoreCase(name: "a renewal without the leader entry is gone", run: renewalWithoutEntry),
        StoreCase(name: "renewals beside own writes", run: renewalsBesideWrites),
        StoreCase(name: "release, then another acquires", run: release),
        StoreCase(name: "close removes at once, abandon keeps", run: closeOrAbandon),
        StoreCase(name: "closing the store ends no session", run: storeCloseAbandons),
        StoreCase(name: "resolve shows what became of a transaction", run: resolve),
    ]

    /// For stores whose sessions can be taken up by another instance.
    public static let resumption: [StoreCase] = [
        StoreCase(name: "resume keeps the lease", run: resume),
        StoreCase(name: "resume after the end is a new session", run: resumeTooLate),
    ]

    /// For stores whose sessions end unless they are renewed (`StoreUnderTest.endsWithoutRenewal`).
    public static let unrenewed: [StoreCase] = [
        StoreCase(name: "a renewal after the end is gone", run: renewalAfterEnd)
    ]

    /// Watches, and what a reader sees who follows them.
    public static let signals: [StoreCase] = unhurried([
        StoreCase(name: "signals after a change", run: signalsAfterChange),
        StoreCase(name: "who follows the signals sees the last of a burst", run: burstIsFollowed),
        StoreCase(name: "snapshots are cuts and never go back", run: snapshotsMonotone),
        StoreCase(name: "calls end at once after close", run: callsAfterClose),
    ])

    // MARK: Transactions

    static func createRace(_ test: StoreUnderTest) async throws {
        var clients: [StoreClient] = []
        for number in 0..<6 { clients.append(try await .open("pg\(number)", on: test)) }
        for _ in 0..<5 {
            let outcomes = await withTaskGroup(of: (Int, CommitOutcome).self) { group in
                for (index, client) in clients.enumerated() {
                    group.addTask { (index, await client.acquireLeader()) }
                }
                return await group.reduce(into: []) { $0.append($1) }
            }
            let winners = outcomes.filter { $0.1.isCommitted }.map(\.0)
            #expect(winners.count == 1)
            #expect(outcomes.count { $0.1.isRefused } == clients.count - 1)
            let winner = clients[try #require(winners.first)]
            for client in clients {
                let entry = try #require(try await client.read()["leader"])
                #expect(entry.value == bytes(winner.name))
                #expect(entry.owner == winner.session.id)
            }
            let entry = try #require(try await winner.read()["leader"])
            let ended = await winner.commit(if: [.version("leader", entry.version)], .delete("leader"))
            #expect(ended.isCommitted)
        }
        for client in clients { await client.close() }
    }

    static func countersAddUp(_ test: StoreUnderTest) async throws {
        let rounds = 10
        var clients: [StoreClient] = []
        for number in 0..<4 { clients.append(try await .open("pg\(number)", on: test)) }
        #expect(await clients[0].commit(.create("config", bytes("0"), .permanent)).isCommitted)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for client in clients {
                group.addTask {
                    var done = 0
                    while done < rounds {
                        let entry = try #require(try await client.read(.keys(["config"]))["config"])
                        let number = try #require(Int(String(decoding: entry.value, as: UTF8.self)))
                        let outcome = await client.commit(
                            if: [.version("config", entry.version)],
                            .put("config", bytes(String(number + 1)), .permanent))
                        if outcome.isCommitted {
                            done += 1
                        } else if !outcome.isRefused {
                            throw CaseFailure("neither committed nor refused: \(outcome)")
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(try await clients[0].read().text("config") == String(rounds * clients.count))
        for client in clients { await client.close() }
    }

    static func compareVersion(_ test: StoreUnderTest) async throws {
        let client = try await StoreClient.open("pg1", on: test)
        let first = try await client.commit(.create("config", bytes("a"), .permanent)).version("config")
        #expect(try await client.read()["config"]?.version == first)
        let outcome = await client.commit(if: [.version("config", first)], .put("config", bytes("b"), .permanent))
        let second = try outcome.version("config")
        #expect(second != first)
        let stale = await client.commit(if: [.version("config", first)], .put("config", bytes("c"), .permanent))
        #expect(stale.isRefused)
        #expect(try await client.read().text("config") == "b")
        let missing = await client.commit(if: [.version("sync", first)], .put("sync", bytes("{}"), .permanent))
        #expect(missing.isRefused)
        #expect(try await client.read()["sync"] == nil)
        await client.close()
    }

    static func compareOthers(_ test: StoreUnderTest) async throws {
        let one = try await StoreClient.open("pg1", on: test)
        let two = try await StoreClient.open("pg2", on: test)
        #expect(await one.acquireLeader().isCommitted)
        #expect(await two.acquireLeader().isRefused)
        let ours: [StoreCompare] = [.owner("leader", one.session.id), .value("leader", bytes("pg1"))]
        #expect(await one.commit(if: ours, .put("status", bytes("{}"), .permanent)).isCommitted)
        for wrong: StoreCompare in [
            .owner("leader", two.session.id), .value("leader", bytes("pg2")), .absent("leader"),
            .owner("status", one.session.id), .value("history", bytes("")),
        ] {
            let outcome = await one.commit(if: [wrong], .put("status", bytes("{\"optime\":1}"), .permanent))
            #expect(outcome.isRefused, "\(wrong)")
        }
        #expect(try await one.read().text("status") == "{}")
        // An absent entry may be deleted, and put.
        #expect(await one.commit(.delete("failover")).isCommitted)
        #expect(await one.commit(if: [.absent("failover")], .put("failover", bytes("{}"), .permanent)).isCommitted)
        await one.close()
        await two.close()
    }

    static func atomicity(_ test: StoreUnderTest) async throws {
        let client = try await StoreClient.open("pg1", on: test)
        let session = client.session.id
        let outcome = await client.commit(
            if: [.absent("initialize"), .absent("leader")],
            .create("initialize", bytes("7000000000000000001"), .permanent),
            .create("leader", bytes("pg1"), .session(session)), .put("config", bytes("{}"), .permanent))
        #expect(outcome.isCommitted)
        let refused = await client.commit(
            .put("config", bytes("{\"a\":1}"), .permanent), .delete("initialize"),
            .create("leader", bytes("pg2"), .session(session)), .put("sync", bytes("{}"), .permanent))
        #expect(refused.isRefused)
        let snapshot = try await client.read()
        #expect(snapshot.text("config") == "{}")
        #expect(snapshot.text("initialize") == "7000000000000000001")
        #expect(snapshot.text("leader") == "pg1")
        #expect(snapshot["sync"] == nil)
        #expect(snapshot["leader"]?.owner == session)
        #expect(snapshot["config"]?.owner == nil)
        await client.close()
    }

    static func recreationIsSeen(_ test: StoreUnderTest) async throws {
        let one = try await StoreClient.open("pg1", on: test)
        let two = try await StoreClient.open("pg2", on: test)
        #expect(await one.acquireLeader().isCommitted)
        let old = try #require(try await one.read()["leader"])
        #expect(await one.session.releaseLeader(within: StoreClient.limit).isCommitted)
        #expect(await two.acquireLeader().isCommitted)
        let new = try #require(try await two.read()["leader"])
        #expect(new.created > old.created)
        if two.store.limits.versionsIncludeCreation {
            #expect(new.version != old.version)
            // The same name and value again, by another term: a delayed deletion must not hit it.
            #expect(await two.commit(if: [.version("leader", old.version)], .delete("leader")).isRefused)
        }
        #expect(await two.commit(if: [.owner("leader", one.session.id)], .delete("leader")).isRefused)
        #expect(try await two.read()["leader"] == new)
        await one.close()
        await two.close()
    }

    static func tooLarge(_ test: StoreUnderTest) async throws {
        let client = try await StoreClient.open("pg1", on: test)
        let limit = client.store.limits.bytesPerValue
        let big = [UInt8](repeating: UInt8(ascii: "x"), count: limit + 1)
        guard case .notSent(let error) = await client.commit(.put("config", big, .permanent)) else {
            throw CaseFailure("a value over the limit was sent")
        }
        #expect(error.code == .tooLarge)
        #expect(try await client.read()["config"] == nil)
        let many = (0...client.store.limits.operationsPerTransaction).map {
            StoreWrite.put("members/m\($0)", bytes("{}"), .permanent)
        }
        let outcome = await client.store.commit(
            StoreTransaction(id: TransactionID(nextNumber()), compares: [], writes: many), within: StoreClient.limit)
        guard case .notSent(let error) = outcome else { throw CaseFailure("too many writes were sent") }
        #expect(error.code == .tooLarge)
        await client.close()
    }

    static func oddNames(_ test: StoreUnderTest) async throws {
        let client = try await StoreClient.open("pg1", on: test)
        let names = ["members/a b", "members/größe", "members/日本", "members/x%2Fy", "members/'--;"]
        let value = bytes("{\"state\":\"läuft\"}")
        for name in names {
            #expect(await client.commit(.create(name, value, .session(client.session.id))).isCommitted, "\(name)")
        }
        // No value at all is a value (a bootstrap that runs), and any bytes are one.
        #expect(await client.commit(.create("initialize", [], .permanent)).isCommitted)
        #expect(await client.commit(.create("history", [0, 0xFF, 0xC0, 0x27], .permanent)).isCommitted)
        let snapshot = try await client.read()
        for name in names { #expect(snapshot[name]?.value == value, "\(name)") }
        #expect(snapshot["initialize"]?.value == [])
        #expect(snapshot["history"]?.value == [0, 0xFF, 0xC0, 0x27])
        #expect(try await client.read(.keys([names[0], "leader"])).entries.map(\.key) == [names[0]])
        await client.close()
    }

    static func readAfterCommit(_ test: StoreUnderTest) async throws {
        let one = try await StoreClient.open("pg1", on: test)
        let two = try await StoreClient.open("pg2", on: test)
        for number in 0..<20 {
            let text = String(number)
            guard case .committed(let revision, _) = await one.commit(.put("config", bytes(text), .permanent)) else {
                throw CaseFailure("not committed")
            }
            let before = SystemClock.now()
            let snapshot = try await two.read()
            #expect(snapshot.text("config") == text)
            #expect(snapshot.revision >= revision)
            #expect(snapshot.requestedAt >= before)
            let later = try await two.store.read(.all, .atLeast(revision), within: StoreClient.limit)
            #expect(later.revision >= revision)
        }
        await one.close()
        await two.close()
    }

    // MARK: Signals and reads

    static func signalsAfterChange(_ test: StoreUnderTest) async throws {
        let one = try await StoreClient.open("pg1", on: test)
        let two = try await StoreClient.open("pg2", on: test)
        let log = SignalLog(two.store)
        for number in 0..<5 {
            _ = try await two.read()
            let count = log.count
            #expect(await one.commit(.put("config", bytes(String(number)), .permanent)).isCommitted)
            #expect(await log.first(after: count, within: test.signalLateness) { $0.isNews } != nil)
        }
        _ = try await two.read()
        let count = log.count
        #expect(await one.acquireLeader().isCommitted)
        #expect(await log.first(after: count, within: test.signalLateness) { $0.isNews } != nil)
        await one.close()
        await two.close()
    }

    static func snapshotsMonotone(_ test: StoreUnderTest) async throws {
        let writer = try await StoreClient.open("pg1", on: test)
        let reader = try await StoreClient.open("pg2", on: test)
        let rounds = 60
        async let written: Void = {
            for number in 1...rounds {
                let text = bytes(String(number))
                let outcome = await writer.commit(.put("config", text, .permanent), .put("status", text, .permanent))
                #expect(outcome.isCommitted)
            }
        }()
        var last = StoreRevision(number: 0)
        var seen = 0
        let isDone = try await eventually(within: .seconds(30)) {
            let snapshot = try await reader.read()
            #expect(snapshot.revision >= last)
            last = snapshot.revision
            guard snapshot.isCut else { return false }
            #expect(snapshot.text("config") == snapshot.text("status"))
            let number = Int(snapshot.text("config") ?? "0") ?? 0
            #expect(number >= seen)
            seen = number
            return number == rounds
        }
        await written
        #expect(isDone)
        await writer.close()
        await reader.close()
    }

    static func callsAfterClose(_ test: StoreUnderTest) async throws {
        let client = try await StoreClient.open("pg1", on: test)
        let log = SignalLog(client.store)
        await client.close()
        let before = SystemClock.now()
        await #expect(throws: StoreError.self) { try await client.read() }
        guard case .notSent = await client.commit(.put("config", [], .permanent)) else {
            throw CaseFailure("a closed store sent something")
        }
        switch await client.session.renew(holding: false, within: StoreClient.limit) {
        case .proven: throw CaseFailure("a closed session was renewed")
        case .gone, .unknown: break
        }
        #expect(SystemClock.now() - before < .seconds(2))
        _ = log
    }
}
