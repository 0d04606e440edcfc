import ClusterModel
import HighAvailability
import Simulation
import Testing

struct RequestStories {
    private func answer(_ cluster: SimulatedCluster, _ name: String, _ request: OperatorRequest) -> OperatorAnswer? {
        let id = cluster.ask(name, request)
        cluster.run(until: { $0.answer(id) != nil }, within: .seconds(60))
        return cluster.answer(id)
    }

    @Test func `a restart of the primary keeps its lead; conditions that do not hold refuse it`() throws {
        let (cluster, leader, others) = try calmCluster()
        let before = cluster[leader].postgres.run?.started
        #expect(
            answer(cluster, leader, .restart(RestartRequest(role: .replica)))?.text.contains(
                "conditions are not satisfied") == true)
        #expect(answer(cluster, leader, .restart(RestartRequest(onlyPending: true)))?.isSuccess == false)
        #expect(answer(cluster, leader, .restart(RestartRequest(postgresVersion: "15.1")))?.isSuccess == false)
        #expect(cluster[leader].postgres.run?.started == before)
        #expect(answer(cluster, leader, .restart(RestartRequest(role: .primary)))?.text == "restarted successfully")
        #expect(cluster.primary == leader)
        #expect(cluster[leader].postgres.run?.started != before)
        #expect(answer(cluster, others[0], .restart(RestartRequest()))?.isSuccess == true)
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(10)) != nil)
        #expect(cluster.store.terms.count == 1)
        #expect(cluster.violations.isEmpty)
    }

    @Test func `a scheduled restart happens at its time, is shown, can be cancelled, and does not outlive its server`()
        throws
    {
        let (cluster, _, others) = try calmCluster()
        let name = others[0]
        let before = cluster[name].postgres.run?.started
        let at = cluster.wall + .seconds(30)
        #expect(answer(cluster, name, .restart(RestartRequest(scheduledAt: at)))?.code == .accepted)
        #expect(answer(cluster, name, .restart(RestartRequest(scheduledAt: at)))?.code == .conflict)
        cluster.run(for: .seconds(1))
        #expect(cluster.store.members[name]?.value.scheduledRestart?["schedule"]?.string == at.iso8601())
        cluster.run(for: .seconds(40))
        #expect(cluster[name].postgres.run?.started != before, "\(cluster.story())")
        #expect(cluster.store.members[name]?.value.scheduledRestart == nil)
        #expect(answer(cluster, name, .cancelRestart)?.code == .notFound)

        #expect(
            answer(cluster, name, .restart(RestartRequest(scheduledAt: cluster.wall + .seconds(60))))?.code == .accepted
        )
        cluster.crashPostgres(cluster[name])
        cluster.run(for: .seconds(90))
        #expect(cluster.said(name, "restart.dropped"))
        #expect(cluster.store.members[name]?.value.scheduledRestart == nil, "\(cluster.story())")
        #expect(
            answer(cluster, name, .restart(RestartRequest(scheduledAt: cluster.wall + .seconds(60))))?.code == .accepted
        )
        #expect(answer(cluster, name, .cancelRestart)?.code == .done)
    }

    @Test func `a scheduled restart whose conditions do not hold is dropped when its time has passed`() throws {
        let (cluster, leader, _) = try calmCluster()
        let request = RestartRequest(scheduledAt: cluster.wall + .seconds(5), role: .replica)
        #expect(answer(cluster, leader, .restart(request))?.code == .accepted)
        cluster.run(for: .seconds(60))
        #expect(cluster.said(leader, "restart.dropped"))
        #expect(cluster.store.members[leader]?.value.scheduledRestart == nil)
        #expect(cluster.decisions(leader, "restart.dropped").first?["conditions"]?.string?.contains("role") == true)
    }

    @Test func `PATCH of the configuration merges, conflicts are told, nothing is lost`() throws {
        let (cluster, leader, others) = try calmCluster()
        let patched = try #require(answer(cluster, others[0], .patchConfiguration(["loop_wait": 5])))
        #expect(patched.code == .done)
        #expect(patched.document?["loop_wait"] == 5)
        #expect(patched.document?["ttl"] == 30)
        #expect(cluster.store.configuration?.value["loop_wait"] == 5)
        // The same again changes nothing and writes nothing.
        let revision = cluster.store.configuration?.version
        #expect(answer(cluster, others[0], .patchConfiguration(["loop_wait": 5]))?.code == .done)
        #expect(cluster.store.configuration?.version == revision)
        // Two at the same moment: one of them is told to try again.
        let first = cluster.ask(others[0], .patchConfiguration(["a": 1]))
        let second = cluster.ask(leader, .patchConfiguration(["b": 2]))
        cluster.run(for: .seconds(2))
        #expect(Set([cluster.answer(first)?.code, cluster.answer(second)?.code]) == [.done, .conflict])
        #expect(answer(cluster, leader, .replaceConfiguration(["ttl": 20]))?.code == .done)
        #expect(cluster.store.configuration?.value == ["ttl": 20])
    }

    @Test(arguments: LeaseStories.Loss.allCases)
    func `a request whose write has no clear outcome is answered`(loss: LeaseStories.Loss) throws {
        let (cluster, leader, others) = try calmCluster()
        var done = false
        cluster.fault = { _, effect in
            guard !done, case .commit(_, let change) = effect, case .putFailover? = change.writes.first else {
                return nil
            }
            done = true
            switch loss {
            case .answerLost: return .answerLost
            case .lost: return .lost
            case .notSent: return .notSent
            }
        }
        let said = answer(cluster, others[0], .switchover(leader: leader, candidate: others[0], scheduledAt: nil))
        #expect(said?.code == .unavailable)
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(30)) != nil)
        #expect(cluster.violations.isEmpty)
    }

    @Test func `reinitialize copies a standby anew, and never a leader`() throws {
        let (cluster, leader, others) = try calmCluster()
        #expect(answer(cluster, leader, .reinitialize(force: false, fromLeader: false))?.code == .unavailable)
        #expect(answer(cluster, others[0], .reinitialize(force: false, fromLeader: false))?.code == .done)
        #expect(
            cluster.run(until: { $0.said(others[0], "rejoin.clone") }, within: .seconds(10)) != nil,
            "\(cluster.story())")
        #expect(cluster.run(until: { $0.isHealthy(3) }, within: .seconds(20)) != nil, "\(cluster.story())")
        #expect(cluster.violations.isEmpty)
    }

    @Test func `every answer comes, also when nobody can do what was asked`() throws {
        let (cluster, leader, others) = try calmCluster(ttl: .seconds(3))
        cluster[leader].postgres.stopTakes = .seconds(1)
        let id = cluster.ask(others[0], .switchover(leader: leader, candidate: others[0], scheduledAt: nil))
        cluster.run(for: .milliseconds(300))
        cluster.killHost(cluster[leader])
        cluster.cutStore(cluster[others[0]])
        cluster.run(for: .seconds(60))
        #expect(cluster.answer(id) != nil)
        #expect(cluster.violations.isEmpty)
    }
}
