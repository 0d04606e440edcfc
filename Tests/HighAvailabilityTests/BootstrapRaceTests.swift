import ClusterModel
import HighAvailability
import Testing

/// Losing the race for `initialize`, event by event.
@Suite struct BootstrapRaceTests {
    /// The refusal outdates the view that the try rested on. A second try before the next view would outdate that one in
    /// turn, and so on for as long as refusals come faster than views: seen as 240 commits a second and no end.
    @Test func aLostRaceIsFollowedByALookNotByAnotherTry() throws {
        var settings = MachineSettings()
        settings.bootstrapConfiguration = [:]
        let identity = MemberIdentity(
            name: "pg1", scope: "demo", connURL: "postgres://127.0.0.1:5432/postgres",
            apiURL: "http://127.0.0.1:8008/patroni")
        var now = Instant(nanoseconds: 1_000_000_000)
        func moment() -> Moment { Moment(now: now, wall: WallTime(seconds: 0)) }
        var machine = HAMachine(identity: identity, settings: settings, at: moment())
        func handle(_ event: Event) -> [Effect] {
            now = now + .milliseconds(1)
            return machine.handle(event, at: moment()).effects
        }
        let session = try #require(opening(handle(.started(InstanceStart(server: .down(.empty, exit: nil))))))
        _ = handle(.guardReady(isAdopting: false))
        let facts = SessionFacts(
            id: SessionID("s1"), granted: .seconds(30), renewalInterval: .seconds(7), isResumed: false)
        var effects = handle(.sessionOpened(session, facts))
        var reading = try #require(read(effects))
        effects = handle(.view(reading, ClusterView(revision: StoreRevision(number: 1), requestedAt: now)))
        let trying = try #require(initializing(effects))
        effects = handle(.committed(trying, .refused("initialize exists")))
        #expect(initializing(effects) == nil)
        reading = try #require(read(effects))
        // Whatever else happens before the view comes, there is no second try.
        for _ in 0..<5 { #expect(initializing(handle(.wake)) == nil) }
        var view = ClusterView(revision: StoreRevision(number: 2), requestedAt: now)
        view.initialize = .inProgress(EntryVersion(created: 2, number: 0))
        effects = handle(.view(reading, view))
        #expect(initializing(effects) == nil)
        #expect(machine.status.decisions.last?.rule == "bootstrap.wait")
    }

    private func read(_ effects: [Effect]) -> EffectID? {
        for case .read(let id, _) in effects { return id }
        return nil
    }

    private func initializing(_ effects: [Effect]) -> EffectID? {
        for case .commit(let id, let change) in effects where change.writes.contains(.beginInitialize) { return id }
        return nil
    }

    private func opening(_ effects: [Effect]) -> EffectID? {
        for case .openSession(let id, _, _) in effects { return id }
        return nil
    }
}
