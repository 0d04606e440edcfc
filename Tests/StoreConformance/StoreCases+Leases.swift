import ClusterModel
import PluginInterfaces
import Testing

/// More of sessions and signals.
extension StoreCases {
    static func sessionsAreApart(_ test: StoreUnderTest) async throws {
        let one = try await StoreClient.open("pg1", on: test)
        let two = try await StoreClient.open("pg2", on: test)
        for client in [one, two] {
            let key = "members/\(client.name)"
            #expect(await client.commit(.create(key, bytes("{}"), .session(client.session.id))).isCommitted)
        }
        #expect(one.session.id != two.session.id)
        #expect(await two.acquireLeader().isCommitted)
        await one.close()
        let snapshot = try await two.read()
        #expect(snapshot["members/pg1"] == nil)
        #expect(snapshot["members/pg2"]?.owner == two.session.id)
        #expect(snapshot["leader"]?.owner == two.session.id)
        _ = try await two.proveLease(holding: true)
        await two.close()
    }

    static func renewedSessionLives(_ test: StoreUnderTest) async throws {
        let one = try await StoreClient.open("pg1", on: test)
        #expect(await one.acquireLeader().isCommitted)
        let entry = try #require(try await one.read()["leader"])
        let end = SystemClock.now() + one.session.granted * 2.5
        var promised = Instant.distantPast
        while SystemClock.now() < end {
            let (_, expiry) = try await one.proveLease(holding: true)
            // Within a term the promise only grows, as far as anybody may rely on it.
            #expect(expiry > promised || expiry > SystemClock.now())
            promised = max(promised, expiry)
            try await Task.sleep(for: one.session.renewalInterval)
        }
        #expect(promised > end)
        #expect(try await one.read()["leader"] == entry)
        await one.close()
    }

    static func clockOfLeases(_ test: StoreUnderTest) async throws {
        let client = try await StoreClient.open("pg1", on: test)
        #expect(await client.acquireLeader().isCommitted)
        for _ in 0..<5 {
            var before = SystemClock.now()
            let snapshot = try await client.read()
            #expect(snapshot.requestedAt >= before && snapshot.requestedAt <= SystemClock.now())
            before = SystemClock.now()
            switch await client.session.renew(holding: true, within: StoreClient.limit) {
            case .proven(let sent, let expiry):
                // No wall clock: that of a host where somebody sets it would be anywhere but in between.
                #expect(sent >= before && sent <= SystemClock.now())
                #expect(expiry <= SystemClock.now() + client.session.granted)
            case .unknown: break
            case .gone(let why): throw CaseFailure("the session is gone: \(why)")
            }
        }
        await client.close()
    }

    static func renewalsBesideWrites(_ test: StoreUnderTest) async throws {
        let client = try await StoreClient.open("pg1", on: test)
        let session = client.session.id
        #expect(await client.commit(.create("members/pg1", bytes("{}"), .session(session))).isCommitted)
        #expect(await client.acquireLeader().isCommitted)
        async let written: Void = {
            for number in 0..<40 {
                let value = bytes("{\"n\":\(number)}")
                #expect(await client.commit(.put("members/pg1", value, .session(session))).isCommitted)
            }
        }()
        for _ in 0..<40 {
            if case .gone(let why) = await client.session.renew(holding: true, within: StoreClient.limit) {
                throw CaseFailure("own writes were taken for somebody else's: \(why)")
            }
        }
        await written
        _ = try await client.proveLease(holding: true)
        await client.close()
    }

    static func burstIsFollowed(_ test: StoreUnderTest) async throws {
        let writer = try await StoreClient.open("pg1", on: test)
        let follower = try await StoreClient.open("pg2", on: test)
        let rounds = 100
        // Reads as an agent does: once, and again after each signal.
        let following = Task { () -> Int in
            var seen = Int(try await follower.read().text("config") ?? "") ?? 0
            for await signal in follower.store.signals() where signal.isNews {
                seen = Int(try await follower.read().text("config") ?? "") ?? 0
                if seen == rounds { break }
            }
            return seen
        }
        for number in 1...rounds {
            #expect(await writer.commit(.put("config", bytes(String(number)), .permanent)).isCommitted)
        }
        let patience = Task {
            try await Task.sleep(for: test.signalLateness + .seconds(5))
            following.cancel()
        }
        #expect(try await following.value == rounds)
        patience.cancel()
        await writer.close()
        await follower.close()
    }
}
