import ClusterHarness
import ClusterModel
import Glibc

/// One fault being done to a cluster: what the faults of the catalogue are written in.
final class FaultRun {
    let cluster: TestCluster
    let writers: Writers
    /// The primary at the beginning.
    let leader: TestCluster.Member
    private(set) var began: Double?
    private(set) var ended: Double?
    /// Whom the fault hits, for the picture.
    private(set) var victims: [String] = []
    private(set) var notes: [String] = []

    init(_ cluster: TestCluster) throws {
        self.cluster = cluster
        writers = try Writers(cluster)
        leader = try cluster.leader()
        // A second of health, to compare with.
        try writers.waitForWrite(after: clockNow() + 1, within: 20)
    }

    var ttl: Double { Double(cluster.ttl) }
    var replicas: [TestCluster.Member] { cluster.members.filter { $0 !== leader } }

    func replica(_ index: Int) throws -> TestCluster.Member {
        guard replicas.indices.contains(index) else { throw SystemFailure("there is no replica \(index + 1)") }
        return replicas[index]
    }

    func note(_ text: String) { notes.append(text) }

    /// The fault begins now, on these.
    func begin(_ victims: [String]) {
        self.victims = victims
        began = clockNow()
    }

    func begin(_ members: TestCluster.Member...) { begin(members.map(\.name)) }

    /// The fault is over: from now on the cluster is on its own.
    func end() { ended = ended ?? clockNow() }

    /// Lets the fault last until so many leases after its beginning. Its length is what is examined here; nothing is
    /// waited for.
    func last(_ leases: Double) { pauseFor(max(0, (began ?? clockNow()) + leases * ttl - clockNow())) }

    /// Stops processes for so many leases, a statement running on the primary meanwhile.
    func freeze(_ pids: [pid_t], of names: [String], leases: Double) throws {
        try writers.beginLongStatement(on: leader, seconds: cluster.ttl + 1)
        pauseFor(0.2)
        defer { for pid in pids { kill(pid, SIGCONT) } }
        begin(names)
        for pid in pids { kill(pid, SIGSTOP) }
        last(leases)
        for pid in pids { kill(pid, SIGCONT) }
        end()
    }

    /// Kills a member's processes at once.
    func killProcesses(_ pids: [pid_t], of names: [String]) {
        begin(names)
        for pid in pids { kill(pid, SIGKILL) }
    }

    func network() throws -> Network {
        guard let network = cluster.network else { throw SystemFailure("the members have no networks of their own") }
        return network
    }

    /// The store's hosts.
    var storeHosts: [Host] { cluster.storeServers.map(\.host) }

    /// Cuts something for so many leases and heals it.
    func cut(_ victims: [String], leases: Double, _ body: () throws -> Void) throws {
        begin(victims)
        defer { try? cluster.healNetwork() }
        try body()
        last(leases)
        try cluster.healNetwork()
        end()
    }

    /// A supervisor's part: starts an agent again after so many seconds.
    func restartAgent(_ member: TestCluster.Member, after seconds: Double) throws {
        try waitUntil("the agent of \(member.name) is gone", within: 10) { member.agentPid == nil }
        pauseFor(seconds)
        try cluster.start(member)
    }

    /// The server of the ensemble in this mode.
    func server(_ mode: String) throws -> any StoreServer {
        try waitUntil("the ensemble has a \(mode)", within: 30) { cluster.storeServers.first { $0.mode == mode } }
    }

    /// Waits for service: a write acknowledged after an instant, to a client outside.
    func waitForService(after instant: Double, otherThan old: TestCluster.Member? = nil, within seconds: Double) throws
    {
        try writers.waitForWrite(after: instant, otherThan: old?.name, from: .outside, within: seconds)
    }
}
