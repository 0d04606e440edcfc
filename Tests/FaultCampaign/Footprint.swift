import ClusterHarness
import Glibc

/// What a cluster occupies: to see that a fault leaves nothing open and nobody behind.
struct Footprint {
    /// Open descriptors of agents and guards, by pid.
    private var descriptors: [pid_t: Int] = [:]
    /// Processes that descend from no agent, guard or postmaster that is in charge.
    private var strays: [pid_t] = []

    /// Descriptors that a process may have more than before: connections come and go.
    private static let tolerance = 24

    init(_ cluster: TestCluster) {
        var known: Set<pid_t> = []
        for member in cluster.members {
            for pid in [member.agentPid, member.guardPid, member.postmasterPid].compactMap({ $0 }) {
                known.insert(pid)
                known.formUnion(descendants(of: pid))
            }
            for pid in [member.agentPid, member.guardPid].compactMap({ $0 }) {
                descriptors[pid] = Self.count("/proc/\(pid)/fd")
            }
        }
        strays = cluster.processes().filter { !known.contains($0) }
    }

    /// What is wrong with it, compared with an earlier one of the same cluster.
    func complaints(since before: Footprint, _ cluster: TestCluster) -> [String] {
        var result: [String] = []
        for (pid, count) in descriptors {
            guard let earlier = before.descriptors[pid], count > earlier + Self.tolerance else { continue }
            result.append("\(describeProcess(pid)) has \(count) descriptors open, \(earlier) before the fault")
        }
        // What just ends is no leak: whoever is there still after a while is.
        var left = strays
        _ = try? waitUntil("strays end", within: 5, every: 0.2) {
            left = Footprint(cluster).strays.filter(strays.contains)
            return left.isEmpty
        }
        result += left.filter { !before.strays.contains($0) }.map { "left behind: \(describeProcess($0))" }
        return result
    }

    private static func count(_ path: String) -> Int {
        guard let directory = opendir(path) else { return 0 }
        defer { closedir(directory) }
        var count = 0
        while readdir(directory) != nil { count += 1 }
        return count
    }
}
