import CLeaseGuard
import ClusterModel
import Glibc
import Testing

@testable import LeaseGuard

/// What happens when a deadline passes, with a real guard and a real PostgreSQL. One at a time: they are about time.
@Suite("Deadlines of a guarded PostgreSQL", .serialized, .timeLimit(.minutes(3)))
struct DeadlineTests {
    @Test("At Q PostgreSQL is gone, with the statement that was running")
    func deadlinePasses() async throws {
        try await GuardedServer.with { server in
            let client = try await server.connect()
            let reports = Reports(client)
            let deadline = try await server.startPrimary(client, quit: .seconds(4))
            let session = try await server.busySession()
            try #require(BootClock.now < deadline.quit)
            let stopping = try await reports.wait { if case .stopping = $0 { true } else { false } }
            #expect(stopping >= deadline.quit)
            let end = try await gone(server)
            #expect(end - deadline.quit < slack)
            try await reports.wait { $0 == .silent }
            #expect(await session.value == nil)
            let status = try await client.status()
            #expect(status.isSilent && status.mode == .none && status.term == nil)
            #expect(status.endedTerm == server.term)
        }
    }

    @Test("A renewed deadline keeps it running, a stopped renewal ends it")
    func renewals() async throws {
        try await GuardedServer.with { server in
            let client = try await server.connect()
            let first = try await server.startPrimary(client, quit: .seconds(2))
            var last = first
            while BootClock.now < first.quit + .seconds(1) {
                let next = server.deadline(.seconds(2))
                #expect(client.arm(next))
                last = next
                try await Task.sleep(for: .milliseconds(200))
            }
            #expect(!processes(in: server.data).isEmpty)
            let end = try await gone(server)
            #expect(end >= last.quit)
            #expect(end - last.quit < slack)
        }
    }

    @Test("A postmaster that is stopped at Q is gone by K, with its backends", arguments: ["", "--scan-by-parent"])
    func postmasterStopped(options: String) async throws {
        try await GuardedServer.with(guardOptions: options) { server in
            let client = try await server.connect()
            let reports = Reports(client)
            let deadline = try await server.startPrimary(client, quit: .seconds(4))
            let session = try await server.busySession()
            let postmaster = try #require(client.latestStatus.postmaster)
            kill(postmaster, SIGSTOP)
            try #require(BootClock.now < deadline.quit)
            let end = try await gone(server)
            #expect(end - deadline.kill < slack)
            try await reports.wait { if case .killed = $0 { true } else { false } }
            try await reports.wait { $0 == .silent }
            #expect(await session.value == nil)
        }
    }

    @Test("A backend that is stopped at Q is gone by K")
    func backendStopped() async throws {
        try await GuardedServer.with { server in
            let client = try await server.connect()
            let deadline = try await server.startPrimary(client, quit: .seconds(4))
            _ = try await server.busySession()
            let backend = try await server.psql("select pid from pg_stat_activity where query like 'select pg_sleep%'")
            let pid = try #require(Int32(backend.prefix { $0.isNumber }))
            kill(pid, SIGSTOP)
            try #require(BootClock.now < deadline.quit)
            let end = try await gone(server)
            #expect(end - deadline.kill < slack)
        }
    }

    @Test("A guard that is stopped through Q ends itself, and PostgreSQL with it")
    func guardStopped() async throws {
        try await GuardedServer.with { server in
            let client = try await server.connect()
            let deadline = try await server.startPrimary(client, quit: .seconds(4))
            let session = try await server.busySession()
            kill(client.latestStatus.pid, SIGSTOP)
            try #require(BootClock.now < deadline.quit)
            let end = try await gone(server)
            #expect(end >= deadline.quit)
            #expect(end - deadline.quit < slack)
            #expect(await session.value == nil)
            try await eventually { !client.isAlive }
            // The next guard takes the place over.
            let next = try await server.connect()
            #expect(next.latestStatus.isSilent)
            try await next.leave()
        }
    }

    @Test("A guard that is killed takes PostgreSQL with it")
    func guardKilled() async throws {
        try await GuardedServer.with { server in
            let client = try await server.connect()
            let reports = Reports(client)
            try await server.startPrimary(client, quit: .seconds(20))
            let session = try await server.busySession()
            let killed = BootClock.now
            kill(client.latestStatus.pid, SIGKILL)
            let end = try await gone(server)
            #expect(end - killed < slack)
            #expect(await session.value == nil)
            try await reports.wait { if case .disconnected = $0 { true } else { false } }
        }
    }

    @Test("A replaced agent's page is void, and the last deadlines stand")
    func replaced() async throws {
        try await GuardedServer.with { server in
            let old = try await server.connect()
            let deadline = try await server.startPrimary(old, quit: .seconds(3))
            let page = old.connection.page
            let new = try await server.connect(launch: false)
            #expect(new.latestStatus.term == server.term)
            #expect(new.latestStatus.quit == deadline.quit)
            #expect(new.latestStatus.mode == .primary)
            try await eventually { !old.isAlive }
            #expect(!old.arm(server.deadline(.seconds(10))))
            // As a thawed agent would that does not know yet: straight into its page.
            var offer = mg_offer()
            let far = server.deadline(.seconds(10))
            offer.term = server.term.raw
            offer.quit = far.quit.nanoseconds
            offer.kill = far.kill.nanoseconds
            offer.end = far.end.nanoseconds
            offer.granted = far.granted.nanosecondsClamped
            mg_page_offer(page.page, &offer)
            let end = try await gone(server)
            #expect(end >= deadline.quit)
            #expect(end - deadline.quit < slack)
        }
    }

    @Test("The guard itself refuses shrinking, far and ended deadlines")
    func refusals() async throws {
        try await GuardedServer.with { server in
            let client = try await server.connect()
            let reports = Reports(client)
            let deadline = server.deadline(.seconds(10))
            #expect(client.arm(deadline))
            try await reports.wait { $0 == .armed(server.term) }
            var earlier = deadline
            earlier.quit = earlier.quit - .seconds(1)
            #expect(!client.arm(earlier))
            // Past the client's own check, straight into the page.
            var offer = mg_offer()
            offer.term = server.term.raw
            offer.quit = earlier.quit.nanoseconds
            offer.kill = earlier.kill.nanoseconds
            offer.end = earlier.end.nanoseconds
            offer.granted = earlier.granted.nanosecondsClamped
            mg_page_offer(client.connection.page.page, &offer)
            try await reports.wait { $0 == .refused(MG_REFUSED_SHRINK, armed: server.term) }
            var far = server.deadline(.seconds(30))
            far.granted = .seconds(1)
            #expect(client.arm(far))
            try await reports.wait { $0 == .refused(MG_REFUSED_FAR, armed: server.term) }
            // What the guard holds is the measure again.
            try await eventually { client.arm(server.deadline(.seconds(11))) }
            client.endTerm()
            try await eventually { (try? await client.status())?.endedTerm == server.term }
            #expect(!client.arm(server.deadline(.seconds(12))))
            let status = try await client.status()
            #expect(status.term == nil)
            try await client.leave()
        }
    }

    @Test("Frozen deadlines do not move, and stand")
    func frozen() async throws {
        try await GuardedServer.with { server in
            let client = try await server.connect()
            let reports = Reports(client)
            let deadline = try await server.startPrimary(client, quit: .seconds(3))
            client.freeze()
            try await reports.wait { if case .status(let status) = $0 { status.isFrozen } else { false } }
            #expect(!client.arm(server.deadline(.seconds(5))))
            let end = try await gone(server)
            #expect(end >= deadline.quit)
            #expect(end - deadline.quit < slack)
        }
    }

    @Test("An ended term stops PostgreSQL at once, and a stop is not revoked")
    func endedTerm() async throws {
        try await GuardedServer.with { server in
            let client = try await server.connect()
            let reports = Reports(client)
            try await server.startPrimary(client, quit: .seconds(20))
            let ended = BootClock.now
            client.endTerm()
            #expect(!client.arm(server.deadline(.seconds(21))))
            try await reports.wait { $0 == .stopping("the term was ended") }
            let end = try await gone(server)
            #expect(end - ended < slack)
            try await reports.wait { $0 == .silent }
            await refused { () throws(GuardError) in
                _ = try await client.start(server.startRequest(.primary, term: server.term))
            }
        }
    }

    @Test("A quiet guard sleeps an eighth of the lease, and takes an offer at once")
    func rounds() async throws {
        try await GuardedServer.with { server in
            let client = try await server.connect()
            // T = 8.6 s: a round each 1075 ms.
            try await server.startPrimary(client, quit: .seconds(8))
            var last = try #require(client.lastRound)
            var pause: Duration = .zero
            // What was asked for may still be taking its own rounds; from then on it sleeps.
            for _ in 0..<4 {
                let before = last
                try await eventually { client.lastRound.map { $0 > before } ?? false }
                last = client.lastRound ?? last
                pause = last - before
                #expect(pause <= .milliseconds(1075) + slack)
            }
            #expect(pause >= .milliseconds(1075))
            let rounds = client.rounds
            let offered = BootClock.now
            client.arm(server.deadline(.seconds(8)))
            try await eventually { client.rounds > rounds }
            #expect(BootClock.now - offered < .milliseconds(900))
        }
    }

    @Test("A pause suspends the deadline; resumed without a renewal it is stopped within the grace")
    func pause() async throws {
        try await GuardedServer.with { server in
            let client = try await server.connect()
            let reports = Reports(client)
            let deadline = try await server.startPrimary(client, quit: .seconds(2))
            try await client.setMode(.paused)
            try await eventually { BootClock.now > deadline.end }
            let rounds = client.rounds
            try await eventually { client.rounds > rounds + 1 }
            #expect(try await client.status().postmaster != nil)
            let resumed = BootClock.now
            try await client.setMode(.resumed, grace: .seconds(1))
            let stopping = try await reports.wait { $0 == .stopping("no term came in time") }
            #expect(stopping - resumed >= .seconds(1))
            _ = try await gone(server)
        }
    }

    @Test("Resumed with a renewal it is enforced again, in a newer term too")
    func resumed() async throws {
        try await GuardedServer.with { server in
            let client = try await server.connect()
            try await server.startPrimary(client, quit: .seconds(2))
            try await client.setMode(.paused)
            try await client.setMode(.resumed, grace: .seconds(20))
            await refused { () throws(GuardError) in try await client.setMode(.primary, term: Fence(era: 1, number: 9))
            }
            try await client.setMode(.paused)
            let newer = server.deadline(.seconds(3), term: Fence(era: 1, number: 9))
            #expect(client.arm(newer))
            try await client.setMode(.resumed, grace: .seconds(20))
            let status = try await client.setMode(.primary, term: newer.term)
            #expect(status.isEnforced && status.endedTerm == server.term)
            let end = try await gone(server)
            #expect(end >= newer.quit && end - newer.quit < slack)
        }
    }

    @Test("In failsafe a newer term takes the old one's place, and its deadline is enforced")
    func failsafeTermChange() async throws {
        try await GuardedServer.with { server in
            let client = try await server.connect()
            let reports = Reports(client)
            try await server.startPrimary(client, quit: .seconds(10))
            let status = try await client.setMode(.failsafe, term: server.term)
            #expect(status.isEnforced && status.mode == .failsafe)
            let newer = server.deadline(.seconds(3), term: Fence(era: 2, number: 1))
            #expect(client.arm(newer))
            try await reports.wait { $0 == .armed(newer.term) }
            try await client.setMode(.primary, term: newer.term)
            #expect(client.latestStatus.endedTerm == server.term)
            // What was armed for the old term says nothing any more.
            await refused { () throws(GuardError) in try await client.setMode(.failsafe, term: server.term) }
            let end = try await gone(server)
            #expect(end >= newer.quit && end - newer.quit < slack)
        }
    }

    @Test("A newer term is refused while PostgreSQL runs under the old one")
    func termChange() async throws {
        try await GuardedServer.with { server in
            let client = try await server.connect()
            let reports = Reports(client)
            try await server.startPrimary(client, quit: .seconds(20))
            #expect(client.arm(server.deadline(.seconds(21), term: Fence(era: 1, number: 8))))
            try await reports.wait { $0 == .refused(MG_REFUSED_CHANGE, armed: server.term) }
            // It holds as soon as PostgreSQL is silent.
            try await client.signal(.fastShutdown)
            try await reports.wait { $0 == .armed(Fence(era: 1, number: 8)) }
            #expect(client.latestStatus.term == Fence(era: 1, number: 8))
        }
    }
}
