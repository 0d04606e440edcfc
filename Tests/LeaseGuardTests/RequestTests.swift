import ClusterModel
import Glibc
import Testing

@testable import LeaseGuard

/// What an agent asks of the guard, with a real guard and a real PostgreSQL.
@Suite("Requests to the guard", .serialized, .timeLimit(.minutes(3)))
struct RequestTests {
    @Test("A promotion needs the armed term; the guard gives the signal")
    func promotion() async throws {
        try await GuardedServer.with(standby: true) { server in
            let client = try await server.connect()
            _ = try await client.start(server.startRequest(.replica))
            try await server.answers()
            await refused { () throws(GuardError) in
                try await client.promote(dataDirectory: server.data, term: server.term)
            }
            #expect(access(server.data + "/promote", F_OK) != 0)
            #expect(client.arm(server.deadline(.seconds(15))))
            await refused { () throws(GuardError) in
                try await client.promote(dataDirectory: server.data, term: Fence(era: 1, number: 8))
            }
            await refused { () throws(GuardError) in
                try await client.promote(dataDirectory: server.base, term: server.term)
            }
            try await client.promote(dataDirectory: server.data, term: server.term)
            #expect(client.latestStatus.mode == .promoting && client.latestStatus.isEnforced)
            try await eventually {
                ((try? await server.psql("select pg_is_in_recovery()")) ?? "").hasPrefix("f")
            }
            let status = try await client.setMode(.primary, term: server.term)
            #expect(status.mode == .primary)
            await refused { () throws(GuardError) in try await client.setMode(.replica) }
            await refused { () throws(GuardError) in try await client.leave() }
            client.endTerm()
            _ = try await gone(server)
        }
    }

    @Test("A replica that is in production without a term is stopped")
    func strayPrimary() async throws {
        try await GuardedServer.with { server in
            let client = try await server.connect()
            let reports = Reports(client)
            _ = try await client.start(server.startRequest(.replica))
            try await reports.wait { $0 == .stopping("it is in production without a term") }
            try await reports.wait { $0 == .silent }
        }
    }

    @Test("A crashed primary that comes back as a replica is left alone, and promoted by hand it is stopped")
    func crashedPrimaryAsReplica() async throws {
        try await GuardedServer.with { server in
            let client = try await server.connect()
            let reports = Reports(client)
            _ = try await client.start(server.startRequest(.paused))
            try await server.answers()
            try await client.signal(.kill)
            try await reports.wait { $0 == .silent }
            try await Shell.runAsAccount("touch \(server.data)/standby.signal")
            _ = try await client.start(server.startRequest(.replica))
            try await server.answers()
            // Through several looks at pg_control.
            let rounds = client.rounds
            try await eventually { client.rounds > rounds + 2 }
            #expect(client.latestStatus.mode == .replica && client.latestStatus.postmaster != nil)
            #expect(!reports.all.contains { if case .stopping = $0 { true } else { false } })
            _ = try await server.psql("select pg_promote(false)")
            try await reports.wait { $0 == .stopping("it is in production without a term") }
            _ = try await gone(server)
        }
    }

    @Test("A server that others started is adopted, and stopped at Q")
    func adoption() async throws {
        try await GuardedServer.with { server in
            try await Shell.runAsAccount(
                "\(GuardedServer.binaries)/pg_ctl -w -D \(server.data) -o '-k \(server.base)' -l \(server.base)/postgres.log start"
            )
            let line = try await Shell.run("head -1 \(server.data)/postmaster.pid")
            let pid = try #require(Int32(line.prefix { $0.isNumber }))
            let started = try #require(GuardClient.startTime(of: pid))
            let client = try await server.connect()
            let reports = Reports(client)
            await refused { () throws(GuardError) in
                try await client.adopt(pid: pid, startTime: started + 1, dataDirectory: server.data)
            }
            await refused { () throws(GuardError) in
                try await client.adopt(pid: pid, startTime: started, dataDirectory: server.base)
            }
            await refused { () throws(GuardError) in _ = try await client.start(server.startRequest(.replica)) }
            try await client.adopt(pid: pid, startTime: started, dataDirectory: server.data)
            #expect(client.latestStatus.isAdopted && client.latestStatus.postmaster == pid)
            let deadline = server.deadline(.seconds(4))
            #expect(client.arm(deadline))
            try await client.setMode(.primary, term: server.term)
            let session = try await server.busySession()
            kill(pid, SIGSTOP)
            try #require(BootClock.now < deadline.quit)
            let end = try await gone(server)
            #expect(end - deadline.kill < slack)
            try await reports.wait { $0 == .exited(pid: pid, status: -1) }
            try await reports.wait { $0 == .silent }
            #expect(await session.value == nil)
        }
    }

    @Test("An adopted primary without a term is stopped after its grace")
    func adoptedWithoutTerm() async throws {
        try await GuardedServer.with { server in
            try await Shell.runAsAccount(
                "\(GuardedServer.binaries)/pg_ctl -w -D \(server.data) -o '-k \(server.base)' -l \(server.base)/postgres.log start"
            )
            let line = try await Shell.run("head -1 \(server.data)/postmaster.pid")
            let pid = try #require(Int32(line.prefix { $0.isNumber }))
            let client = try await server.connect()
            let reports = Reports(client)
            let adopted = BootClock.now
            try await client.adopt(pid: pid, startTime: nil, dataDirectory: server.data, grace: .seconds(1))
            let stopping = try await reports.wait { $0 == .stopping("no term came in time") }
            #expect(stopping - adopted >= .seconds(1))
            try await reports.wait { $0 == .silent }
        }
    }

    @Test("After the postmaster was killed, its backends are ended and it starts again at once in the same term")
    func restartInPlace() async throws {
        try await GuardedServer.with { server in
            let client = try await server.connect()
            let reports = Reports(client)
            try await server.startPrimary(client, quit: .seconds(20))
            let session = try await server.busySession()
            let postmaster = try #require(client.latestStatus.postmaster)
            let killed = BootClock.now
            kill(postmaster, SIGKILL)
            try await reports.wait { $0 == .exited(pid: postmaster, status: SIGKILL) }
            let silent = try await reports.wait { $0 == .silent }
            #expect(silent - killed < slack)
            let again = try await client.start(server.startRequest(.primary, term: server.term))
            #expect(again != postmaster)
            try await server.answers()
            #expect(await session.value == nil)
            #expect(client.latestStatus.term == server.term)
            try await client.stopImmediately()
            _ = try await gone(server)
        }
    }

    @Test("A bootstrap ends with its agent's connection")
    func bootstrap() async throws {
        try await GuardedServer.with { server in
            let client = try await server.connect()
            _ = try await client.start(server.startRequest(.bootstrap))
            try await server.answers()
            client.close()
            _ = try await gone(server)
            let next = try await server.connect(launch: false)
            try await eventually { (try? await next.status())?.isSilent == true }
            try await next.leave()
        }
    }

    @Test("A replica goes on without its agent")
    func replicaWithoutAgent() async throws {
        try await GuardedServer.with(standby: true) { server in
            let client = try await server.connect()
            let pid = try await client.start(server.startRequest(.replica))
            try await server.answers()
            client.close()
            let next = try await server.connect(launch: false)
            #expect(next.latestStatus.postmaster == pid && next.latestStatus.mode == .replica)
            #expect(next.latestStatus.dataDirectory == server.data)
            await refused { () throws(GuardError) in _ = try await next.start(server.startRequest(.replica)) }
            try await next.signal(.fastShutdown)
            _ = try await gone(server)
        }
    }

    @Test("SIGUSR1 is not passed on where it would promote")
    func promotionByHand() async throws {
        try await GuardedServer.with(standby: true) { server in
            let client = try await server.connect()
            _ = try await client.start(server.startRequest(.replica))
            try await server.answers()
            try await client.signal(.reload)
            try await client.signal(.user1)
            try await Shell.runAsAccount("touch \(server.data)/promote")
            await refused { () throws(GuardError) in try await client.signal(.user1) }
            try await client.signal(.immediateShutdown)
            _ = try await gone(server)
        }
    }

    @Test("A program that cannot be started is refused with the reason")
    func badProgram() async throws {
        try await GuardedServer.with { server in
            let client = try await server.connect()
            var request = server.startRequest(.replica)
            request.executable = server.base + "/nothing"
            let reason = await refused { () throws(GuardError) in _ = try await client.start(request) }
            #expect(reason?.contains("No such file") == true)
            request = server.startRequest(.primary, term: server.term)
            await refused { () throws(GuardError) in _ = try await client.start(request) }
            request = server.startRequest(.replica)
            request.environment["LONG"] = String(repeating: "x", count: 140_000)
            await #expect(throws: GuardError.self) { _ = try await client.start(request) }
            let status = try await client.status()
            #expect(status.isSilent)
        }
    }

    @Test("A watchdog is fed while the lease lasts and closed properly")
    func watchdog() async throws {
        let device = "/tmp/leaseguard-watchdog-\(getpid())"
        defer { unlink(device) }
        try await Shell.runAsAccount("touch \(device)")
        try await GuardedServer.with(guardOptions: "--watchdog \(device) --watchdog-timeout 1") { server in
            let client = try await server.connect()
            let reports = Reports(client)
            try await server.startPrimary(client, quit: .seconds(4))
            try await reports.wait { $0 == .silent }
            try await eventually { ((try? await Shell.run("tail -c 1 \(device)")) ?? "") == "V" }
            let fed = try await Shell.run("tr -d V < \(device) | wc -c")
            #expect((Int(fed.prefix { $0.isNumber }) ?? 0) > 4)
        }
    }
}
