import ClusterModel
import Testing

@testable import HighAvailability

/// Following, where a story of whole clusters would say no more than the rule.
struct FollowRulesTests {
    private func world(upstream: UpstreamTarget??) -> World {
        let now = Instant(nanoseconds: 1_000_000_000)
        var world = World(
            identity: MemberIdentity(name: "pg1", scope: "demo", connURL: "postgres://pg1", apiURL: "http://pg1"),
            settings: MachineSettings(ttl: .seconds(4)), at: Moment(now: now, wall: WallTime(seconds: 1)))
        var view = ClusterView(revision: StoreRevision(number: 7), requestedAt: now)
        view.leader = .init(
            name: "pg2", session: nil, version: EntryVersion(created: 5, number: 0), fence: Fence(era: 0, number: 5))
        var leader = Member(name: "pg2", state: .running)
        leader.connURL = "postgres://pg2"
        view.members = [leader, Member(name: "pg1", state: .starting)]
        world.view = view
        world.server = .up(isAdopted: false, since: now)
        world.upstream = upstream
        return world
    }

    @Test func `a standby that was started of nobody and answers nobody is pointed at the leader that came`() {
        // Short of what it had replayed before, it never answers unless it gets the rest from somebody.
        let verdict = FollowRules.follow(world(upstream: .some(nil)))
        #expect(verdict?.rule == "follow.upstream")
        guard case .startJob(.follow(let target))? = verdict?.intention else {
            Issue.record("no job: \(String(describing: verdict))")
            return
        }
        #expect(target?.name == "pg2")
    }

    @Test func `one that follows the leader already is waited for, and so is one of which nothing is known`() {
        let target = UpstreamTarget(name: "pg2", connURL: "postgres://pg2", fence: Fence(era: 0, number: 5))
        #expect(FollowRules.follow(world(upstream: .some(target)))?.rule == "postgres.noAnswer")
        #expect(FollowRules.follow(world(upstream: nil))?.rule == "postgres.noAnswer")
        // It may be a primary.
        var primary = world(upstream: .some(nil))
        primary.mayAcknowledge = true
        #expect(FollowRules.follow(primary)?.rule == "postgres.noAnswer")
    }
}
