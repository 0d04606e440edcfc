import ClusterModel
import Testing

@testable import HighAvailability

/// Where a migration and the failsafe would meet.
struct MigrationRulesTests {
    private static let now = Instant(nanoseconds: 1_000_000_000_000)
    private static let moment = Moment(now: now, wall: WallTime(seconds: 0))
    private static let fence = Fence(era: 0, number: 100)

    private static var term: Term {
        Term(
            fence: fence,
            deadlines: LeaseDeadlines(notExpiredBefore: now + .seconds(10), granted: .seconds(10)),
            since: now - .seconds(60))
    }

    /// The leader's world, with nothing in the way.
    private static func leading(_ world: inout World) {
        world.server = .up(isAdopted: false, since: now - .seconds(60))
        world.sample = PostgresSample(
            takenAt: now, isInRecovery: false, serverVersion: 150_000, timeline: Timeline(1))
        world.mayAcknowledge = true
        world.lease = .held(term)
        world.armedTerm = fence
        world.session = .open(
            SessionFacts(
                id: SessionID("s1"), granted: .seconds(10), renewalInterval: .milliseconds(2500), isResumed: false))
        var view = ClusterView(revision: StoreRevision(number: 200), requestedAt: now)
        view.configuration = [:]
        view.initialize = .identifier("7", EntryVersion(created: 1, number: 1))
        view.failsafe = ["pg1": "http://pg1/", "pg2": "http://pg2/"]
        view.leader = ClusterView.Leader(
            name: "pg1", session: SessionID("s1"), version: EntryVersion(created: 100, number: 100), fence: fence)
        world.view = view
    }

    private static func machine(_ change: (inout World) -> Void) -> HAMachine {
        var machine = HAMachine(
            identity: MemberIdentity(name: "pg1", scope: "demo", connURL: "", apiURL: "http://pg1/"),
            settings: MachineSettings(ttl: .seconds(10)), at: moment)
        leading(&machine.world)
        change(&machine.world)
        return machine
    }

    private static func moving(_ world: inout World) {
        world.migration = StoreMigration(
            id: "m", since: now, deadline: now + .seconds(60), request: nil, announcing: EffectID(1))
    }

    private static func failsafe(_ world: inout World) { world.view?.configuration = ["failsafe_mode": true] }

    private static let unrest: [(why: String, part: String, change: @Sendable (inout World) -> Void)] = [
        ("failsafe", "failsafe_mode is on: turn it off while the cluster moves", { failsafe(&$0) }),
        (
            "the configuration as it was known last", "failsafe_mode is on",
            {
                $0.view?.configuration = nil
                $0.cachedConfiguration = ["failsafe_mode": true]
            }
        ),
        (
            "a grant", "still in force",
            { $0.grant = GrantRecord(holder: "pg2", until: now + .seconds(1), lasts: .seconds(10)) }
        ),
        ("a round", "still in force", { $0.failsafe.lastRound = 7 }),
        (
            "a store that came back", "set back or emptied",
            { world in
                guard let view = world.view else { return }
                world.storeReturn = StoreReturn(seenAt: now, before: view, found: view)
            }
        ),
    ]

    @Test(arguments: unrest.indices)
    func `no migration beside a failsafe, a grant or a store that has just come back`(row: Int) throws {
        let row = Self.unrest[row]
        let calm = Self.machine { _ in }.world
        #expect(MigrationRules.unrest(calm, try #require(calm.view)) == nil)
        let world = Self.machine(row.change).world
        let why = MigrationRules.unrest(world, try #require(world.view))
        #expect(why?.contains(row.part) == true, "\(row.why): \(why ?? "nothing")")
        // It is what a request is answered with.
        var asked = Self.machine(row.change)
        asked.world.prepared = "m"
        if asked.world.view?.configuration != nil {
            #expect(MigrationRules.objection(asked.world, to: "m") == why)
        }
        var free = Self.machine { _ in }
        free.world.prepared = "m"
        #expect(MigrationRules.objection(free.world, to: "m") == nil)
    }

    @Test func `a grant that has ended is in nobody's way`() throws {
        let world = Self.machine {
            $0.grant = GrantRecord(holder: "pg2", until: Self.now, lasts: .seconds(10))
        }.world
        #expect(MigrationRules.unrest(world, try #require(world.view)) == nil)
    }

    @Test(arguments: [false, true])
    func `no round of grants begins while the cluster moves`(isMoving: Bool) {
        var machine = Self.machine {
            Self.failsafe(&$0)
            $0.storeTrouble = "no server answers"
            if isMoving { Self.moving(&$0) }
        }
        machine.keepFailsafe()
        #expect((machine.world.failsafe.round == nil) == isMoving)
    }

    @Test(arguments: [false, true])
    func `no grants carry a term over the loss of the lease while the cluster moves`(isMoving: Bool) {
        var machine = Self.machine {
            Self.failsafe(&$0)
            $0.failsafe.isActive = true
            $0.failsafe.deadlines = Self.term.deadlines
            if isMoving { Self.moving(&$0) }
        }
        #expect(machine.survives(lossOf: Self.term, "gone") != isMoving)
    }

    @Test(arguments: [false, true])
    func `no lost entry is taken again while the cluster moves`(isMoving: Bool) {
        let world = Self.machine {
            Self.failsafe(&$0)
            $0.failsafe.isActive = true
            $0.failsafe.deadlines = Self.term.deadlines
            $0.failsafe.leaseLost = "gone"
            $0.failsafe.leaseLostAt = Self.now - .seconds(1)
            $0.view?.leader = nil
            if isMoving { Self.moving(&$0) }
        }.world
        #expect((FailsafeRules.retake(world) == nil) == isMoving)
    }

    @Test func `an entry taken again in failsafe is no succession, an entry in another store is`() {
        func kind(_ change: (inout World) -> Void) -> String {
            let machine = Self.machine {
                $0.movedTo = "m"
                change(&$0)
            }
            var later = Self.term
            later.fence = Fence(era: 1, number: 3)
            return switch machine.armed(later) {
            case .succeed: "succeed"
            case .arm: "arm"
            default: "other"
            }
        }
        #expect(kind { $0.posture = .primary } == "succeed")
        #expect(kind { $0.posture = .failsafe } == "arm")
        #expect(kind { $0.movedTo = nil } == "arm")
    }
}
