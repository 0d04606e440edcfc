import ClusterModel
import Testing

@testable import HighAvailability

struct FailsafeRulesTests {
    private static let now = Instant(nanoseconds: 1_000_000_000_000)
    private static let asker = GrantRequest(name: "pg1", lasts: .seconds(10), fence: Fence(era: 0, number: 100))

    private func standby(_ change: (inout World) -> Void = { _ in }) -> World {
        var world = World(
            identity: MemberIdentity(name: "pg2", scope: "demo", connURL: "", apiURL: "http://pg2/"),
            settings: MachineSettings(ttl: .seconds(10)), at: Moment(now: Self.now, wall: WallTime(seconds: 0)))
        world.server = .up(isAdopted: false, since: Self.now)
        world.sample = PostgresSample(
            takenAt: Self.now, isInRecovery: true, serverVersion: 150_000, timeline: Timeline(1))
        var view = ClusterView(revision: StoreRevision(number: 200), requestedAt: Self.now)
        view.configuration = ["failsafe_mode": true]
        view.initialize = .identifier("7", EntryVersion(created: 1, number: 1))
        view.failsafe = ["pg1": "http://pg1/", "pg2": "http://pg2/"]
        world.view = view
        change(&world)
        return world
    }

    private func leader(_ name: String, _ number: UInt64) -> ClusterView.Leader {
        ClusterView.Leader(
            name: name, session: nil, version: EntryVersion(created: number, number: 0),
            fence: Fence(era: 0, number: number))
    }

    @Test func `who asks is granted by a standby, and by nobody who may write or take the lead`() {
        #expect(FailsafeRules.objection(standby(), Self.asker) == nil)
        let refusals: [(String, (inout World) -> Void)] = [
            ("a primary", { $0.sample?.isInRecovery = false }), ("it may be one", { $0.mayAcknowledge = true }),
            ("nothing is known yet", { $0.server = .unknown }), ("acquiring", { $0.lease = .acquiring(EffectID(1)) }),
            ("unresolved", { $0.lease = .unresolved }),
            ("proving", { $0.lease = .proving(Fence(era: 0, number: 1), since: Self.now) }),
            ("releasing", { $0.lease = .releasing(Fence(era: 0, number: 1)) }),
            ("a newer term", { [self] in $0.view?.leader = leader("pg3", 101) }),
        ]
        for (why, change) in refusals {
            #expect(FailsafeRules.objection(standby(change), Self.asker) != nil, "\(why)")
        }
        #expect(FailsafeRules.objection(standby(), GrantRequest(name: "pg2")) != nil)
        // An older leader's entry, as an outdated view may show it, is no reason.
        let outdated = standby { [self] in $0.view?.leader = leader("pg3", 99) }
        #expect(FailsafeRules.objection(outdated, Self.asker) == nil)
    }

    @Test func `a grant that lives keeps from every race; one that has ended does not`() {
        let granted = standby {
            $0.grant = GrantRecord(holder: "pg1", until: Self.now + .seconds(1), lasts: .seconds(10))
        }
        #expect(FailsafeRules.granted(granted)?.rule == "failsafe.granted")
        let ended = standby { $0.grant = GrantRecord(holder: "pg1", until: Self.now, lasts: .seconds(10)) }
        #expect(FailsafeRules.granted(ended) == nil)
        let lost = standby { $0.grantsLostSince = Self.now - .seconds(9) }
        #expect(FailsafeRules.granted(lost)?.rule == "failsafe.sitOut")
        #expect(FailsafeRules.granted(standby { $0.grantsLostSince = Self.now - .seconds(10) }) == nil)
        let off = standby {
            $0.grantsLostSince = Self.now - .seconds(9)
            $0.view?.configuration = ["failsafe_mode": false]
        }
        #expect(FailsafeRules.granted(off) == nil)
    }

    @Test func `a member that the list does not name never leads`() throws {
        let world = standby { $0.view?.failsafe = ["pg1": "http://pg1/"] }
        let view = try #require(world.view)
        #expect(FailsafeRules.unlisted(world, view)?.rule == "failsafe.notListed")
        let listed = standby()
        #expect(FailsafeRules.unlisted(listed, try #require(listed.view)) == nil)
        // No list, no failsafe.
        let without = standby { $0.view?.failsafe = nil }
        #expect(FailsafeRules.unlisted(without, try #require(without.view)) == nil)
        // Turned off: for a lease more.
        let off = standby {
            $0.view?.failsafe = ["pg1": "http://pg1/"]
            $0.view?.configuration = [:]
            $0.unlistedSince = Self.now - .seconds(9)
        }
        #expect(FailsafeRules.unlisted(off, try #require(off.view)) != nil)
    }

    @Test func `whom to ask: the list, and whoever a list that may have arrived adds`() {
        var world = standby()
        #expect(world.failsafePeers?.map(\.name) == ["pg1"])
        world.failsafe.writing = ["pg2": "http://pg2/", "pg3": "http://pg3/"]
        #expect(world.failsafePeers?.map(\.name) == ["pg1", "pg3"])
        world.view?.failsafe = nil
        #expect(world.failsafePeers == nil)
    }
}
