import ClusterModel
import HighAvailability
import PluginInterfaces
import Synchronization

@testable import RESTServer

/// An agent that is whatever the test says.
final class FakeAgent: AgentControl {
    struct State {
        var status: AgentStatus
        var requests: [OperatorRequest] = []
        var answer = OperatorAnswer(.done, "done")
        var performDelay: Duration = .zero
        var grants: [GrantRequest] = []
        var grantAnswer = GrantAnswer.off
        var reloadRefusal: String?
        var reloads = 0
        var freshSample: PostgresSample?
        var freshView: ClusterView?
        var viewDelay: Duration = .zero
        var listeners: [AsyncStream<Void>.Continuation] = []
    }

    let state: Mutex<State>

    init(_ status: AgentStatus) {
        self.state = Mutex(State(status: status, freshView: status.view))
    }

    func status() -> AgentStatus { state.withLock { $0.status } }

    func freshSample(within: Duration) async -> PostgresSample? { state.withLock { $0.freshSample } }

    func perform(_ request: OperatorRequest) async -> OperatorAnswer {
        let delay = state.withLock { state in
            state.requests.append(request)
            return state.performDelay
        }
        if delay > .zero { try? await Task.sleep(for: delay) }
        return state.withLock { $0.answer }
    }

    func grant(_ request: GrantRequest) async -> GrantAnswer {
        state.withLock { state in
            state.grants.append(request)
            return state.grantAnswer
        }
    }

    func reload() async -> String? {
        state.withLock { state in
            state.reloads += 1
            return state.reloadRefusal
        }
    }

    func freshView(within: Duration) async -> ClusterView? {
        let delay = state.withLock { $0.viewDelay }
        if delay > .zero { try? await Task.sleep(for: delay) }
        return state.withLock { $0.freshView }
    }

    func statusChanges() -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        state.withLock { $0.listeners.append(continuation) }
        return stream
    }

    func change(_ body: (inout AgentStatus) -> Void) {
        let listeners = state.withLock { state in
            body(&state.status)
            return state.listeners
        }
        for listener in listeners { listener.yield() }
    }

    var requests: [OperatorRequest] { state.withLock { $0.requests } }
}

/// A cluster of three: pg1 leads, pg2 and pg3 follow.
enum Sample {
    static let now = Instant(nanoseconds: 1_000_000_000_000)

    static func view(requestedAt: Instant = now - .seconds(1)) -> ClusterView {
        var view = ClusterView(revision: StoreRevision(number: 7), requestedAt: requestedAt)
        view.leader = .init(
            name: "pg1", session: nil, version: EntryVersion(created: 1, number: 0), fence: Fence(era: 0, number: 9))
        view.members = ["pg3", "pg1", "pg2"].map { name in
            var member = Member(name: name, state: .running)
            member.role = name == "pg1" ? .primary : .replica
            member.connURL = "postgres://10.0.0.\(name.last ?? "0"):5432/postgres"
            member.apiURL = "http://10.0.0.\(name.last ?? "0"):8008/patroni"
            member.timeline = Timeline(5)
            if name != "pg1" {
                member.replicationState = .streaming
                member.xlogLocation = LSN(0x400_0060)
                member.receiveLSN = LSN(0x400_0060)
                member.replayLSN = LSN(0x400_0000)
            }
            return member
        }
        view.status = ClusterStatus(optime: LSN(0x400_0060))
        view.configuration = ["ttl": 30]
        return view
    }

    static func primary() -> AgentStatus {
        var status = AgentStatus(name: "pg1", scope: "demo")
        status.state = .running
        status.role = .primary
        status.view = view()
        status.leaderUntil = now + .seconds(20)
        status.term = Fence(era: 0, number: 9)
        status.nextRunBy = now + .seconds(5)
        status.storeLastSeen = WallTime(seconds: 1_692_356_928)
        status.systemIdentifier = "7268616322854375442"
        status.fenceState = .guarded
        var sample = PostgresSample(
            takenAt: now - .seconds(1), isInRecovery: false, serverVersion: 150_018, timeline: Timeline(5))
        sample.postmasterStartTime = "2024-08-28 19:39:26.352526+00:00"
        sample.writeLSN = LSN(0x400_0060)
        sample.senders = [.init(applicationName: "pg2", user: "replicator", clientAddress: "10.0.0.2")]
        status.sample = sample
        return status
    }

    static func replica() -> AgentStatus {
        var status = primary()
        status.name = "pg2"
        status.role = .replica
        status.leaderUntil = nil
        status.term = nil
        var sample = PostgresSample(
            takenAt: now - .seconds(1), isInRecovery: true, serverVersion: 150_018, timeline: Timeline(5))
        sample.postmasterStartTime = "2024-08-28 19:39:26.352526+00:00"
        sample.receiveLSN = LSN(0x400_0060)
        sample.replayLSN = LSN(0x400_0000)
        sample.receiver = .init(status: "streaming", receivedTimeline: Timeline(5), latestEndLSN: LSN(0x400_0060))
        status.sample = sample
        return status
    }

    /// As seen by a server that runs now.
    static func live(_ status: AgentStatus) -> AgentStatus {
        var status = status
        let now = SystemClock.now()
        status.view?.requestedAt = now
        status.sample?.takenAt = now
        if status.leaderUntil != nil { status.leaderUntil = now + .seconds(3600) }
        status.nextRunBy = now + .seconds(3600)
        status.ttl = .seconds(3600)
        return status
    }
}
