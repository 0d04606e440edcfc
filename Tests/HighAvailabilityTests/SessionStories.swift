import ClusterModel
import HighAvailability
import Simulation
import Testing

/// The machine alone, event by event: what it does with the session.
struct SessionStories {
    private struct Driven {
        var machine: HAMachine
        var now = Instant(nanoseconds: 1_000_000_000)

        init(ttl: Duration = .seconds(30)) {
            var settings = SimulatedCluster(1, ttl: ttl)["pg1"].settings
            settings.ttl = ttl
            machine = HAMachine(
                identity: MemberIdentity(
                    name: "pg1", scope: "demo", connURL: "postgres://pg1/postgres", apiURL: "http://pg1", nonce: 1),
                settings: settings, at: Moment(now: now, wall: WallTime(seconds: 0)))
        }

        mutating func tell(_ event: Event, after delay: Duration = .milliseconds(1)) -> [Effect] {
            now = now + delay
            return machine.handle(event, at: Moment(now: now, wall: WallTime(seconds: 0))).effects
        }

        mutating func start() -> [Effect] { tell(.started(InstanceStart(server: .down(.empty, exit: nil)))) }
    }

    private func opened(_ effects: [Effect]) -> EffectID? {
        for case .openSession(let id, _, _) in effects { return id }
        return nil
    }

    private func facts(_ id: String, granted: Duration = .seconds(30), behind: Int = 0) -> SessionFacts {
        SessionFacts(
            id: SessionID(id), granted: granted, renewalInterval: granted / 6, isResumed: false,
            needsIdleRenewal: true, intervalsBehind: behind)
    }

    private func renewal(_ effects: [Effect]) -> EffectID? {
        for case .renew(let id, _, _) in effects { return id }
        return nil
    }

    @Test func `only the opening under way counts`() throws {
        var driven = Driven()
        let first = try #require(opened(driven.start()))
        #expect(opened(driven.tell(.sessionFailed(EffectID(9999), "another"), after: .seconds(2))) == nil)
        _ = driven.tell(.sessionOpened(EffectID(9999), facts("other")))
        #expect(driven.machine.world.sessionFacts == nil)
        #expect(opened(driven.tell(.sessionFailed(first, "no server"))) == nil)
        let second = try #require(opened(driven.tell(.wake, after: .seconds(1))))
        _ = driven.tell(.sessionOpened(first, facts("late")))
        #expect(driven.machine.world.sessionFacts == nil)
        _ = driven.tell(.sessionOpened(second, facts("ours")))
        #expect(driven.machine.world.sessionFacts?.id == SessionID("ours"))
        _ = driven.tell(.sessionOpened(second, facts("twice")))
        #expect(driven.machine.world.sessionFacts?.id == SessionID("ours"))
    }

    @Test func `a loss told while a session is opened opens no second one, and is looked into`() throws {
        var driven = Driven()
        let id = try #require(opened(driven.start()))
        #expect(opened(driven.tell(.sessionLost("an earlier one"))) == nil)
        var session = facts("ours")
        session.needsIdleRenewal = false
        let renew = try #require(renewal(driven.tell(.sessionOpened(id, session))))
        _ = driven.tell(.renewed(renew, .proven(sent: driven.now, notExpiredBefore: driven.now + .seconds(30))))
        #expect(driven.machine.world.sessionFacts?.id == SessionID("ours"))
        #expect(renewal(driven.tell(.wake, after: .seconds(10))) == nil)
    }

    @Test func `a session that another instance took over is left to it, and a new one opened a second later`() throws {
        var driven = Driven()
        let id = try #require(opened(driven.start()))
        let renew = try #require(renewal(driven.tell(.sessionOpened(id, facts("ours")))))
        let effects = driven.tell(.renewed(renew, .gone("written by another instance")))
        #expect(effects.contains(.closeSession(abandon: true)))
        #expect(opened(effects) == nil)
        #expect(opened(driven.tell(.wake, after: .milliseconds(900))) == nil)
        let next = driven.tell(.wake, after: .milliseconds(100))
        guard case .openSession(_, _, resume: false)? = next.first(where: { $0.isOpening }) else {
            Issue.record("no new session: \(next)")
            return
        }
    }

    @Test func `renewals through a follower come often enough for those that they are reckoned from`() throws {
        for (behind, expected) in [(0, 500), (2, 413)] {
            var driven = Driven(ttl: .seconds(3))
            let id = try #require(opened(driven.start()))
            let renew = try #require(
                renewal(driven.tell(.sessionOpened(id, facts("ours", granted: .seconds(3), behind: behind)))))
            let sent = driven.now
            _ = driven.tell(.renewed(renew, .proven(sent: sent, notExpiredBefore: sent + .seconds(2))))
            #expect((driven.machine.world.nextRenewAt - sent).milliseconds == Int64(expected))
        }
    }

    @Test func `a new lifetime forgets what the old session had under way`() throws {
        let (cluster, _, others) = try calmCluster(ttl: .seconds(30))
        let node = cluster[others[0]]
        // A renewal of a suspecting standby is out and never answered.
        cluster.fault = { node, effect in
            if node.name == others[0], case .renew = effect { return .late(.seconds(600)) }
            return nil
        }
        cluster.deliver(node, .storeConnected)
        var settings = node.settings
        settings.ttl = .seconds(10)
        cluster.ttl = .seconds(10)
        node.settings = settings
        cluster.deliver(node, .settings(settings))
        cluster.run(for: .seconds(5))
        let world = try #require(node.machine?.world)
        #expect(world.sessionFacts?.granted == .seconds(10))
        #expect(world.renewInFlight == nil)
        #expect(world.renewalFence == nil)
    }

    @Test func `asked to stop before it is known what runs: it waits for that, but not for ever`() throws {
        var early = Driven()
        #expect(early.tell(.stopAsked).isEmpty)
        #expect(!early.machine.world.isLeaving)
        let effects = early.start()
        #expect(effects.contains { if case .exit(0, _) = $0 { true } else { false } }, "\(effects)")

        var never = Driven()
        #expect(never.tell(.stopAsked).isEmpty)
        #expect(never.tell(.wake, after: .milliseconds(9900)).isEmpty)
        let end = never.tell(.wake, after: .milliseconds(200))
        #expect(end.contains { if case .exit(1, _) = $0 { true } else { false } }, "\(end)")
        #expect(!end.contains { if case .closeSession = $0 { true } else { false } })
    }
}

extension Effect {
    fileprivate var isOpening: Bool {
        if case .openSession = self { return true }
        return false
    }
}
