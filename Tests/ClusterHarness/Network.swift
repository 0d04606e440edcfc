import CClusterHarness
import Glibc
import Synchronization

/// Hosts in network namespaces of their own, joined by a bridge in one more ("outside", where the clients and the
/// operator are). Nothing here has a name in the system: the namespaces end with this process and those it started in
/// them, however it ends.
///
/// Connections are cut by dropping packets where they arrive, so that a sender sees nothing but silence.
package final class Network: Sendable {
    /// A cut of one direction, for as long as it lasted. The instants are those between which it was certainly there
    /// or possibly there: from before the rules were set to after they were lifted.
    package struct Cut: Sendable {
        package var from: String
        package var to: String
        package var began: Double
        package var ended: Double?
    }

    private struct State {
        var hosts: [Host] = []
        /// By receiver: whose packets it drops.
        var dropped: [String: Set<String>] = [:]
        var cuts: [Cut] = []
    }

    package let outside: Host
    /// Where the thread was that made it.
    private let before: Host
    private let state = Mutex(State())
    private static let prefix = "10.77.0."

    /// Makes the bridge; the calling thread is outside from now on, until it leaves.
    package init() throws {
        let own = ch_network_namespace()
        guard own >= 0 else { throw SystemFailure("cannot tell the thread's network") }
        before = Host(name: "before", address: Host.loopback.address, namespace: own)
        let descriptor = ch_new_network_namespace()
        guard descriptor >= 0 else {
            throw SystemFailure("cannot make a network namespace: \(String(cString: strerror(errno)))")
        }
        outside = Host(name: "outside", address: Self.prefix + "1", namespace: descriptor)
        try Self.ip([
            "link set lo up", "link add bridge type bridge", "addr add \(outside.address)/24 dev bridge",
            "link set bridge up",
        ])
        state.withLock { $0.hosts.append(outside) }
    }

    /// Puts the calling thread back to where it was: what it starts from then on is not of this network.
    func leave() throws { try before.enter() }

    /// Why namespaces cannot be made here; nil when they can.
    package static func obstacle() async -> String? {
        do {
            return try await onThread {
                let network = try Network()
                let host = try network.addHost("probe")
                try network.cut([host], from: [network.outside])
                return nil
            }
        } catch {
            return "\(error)"
        }
    }

    /// Adds a host; called outside.
    package func addHost(_ name: String) throws -> Host {
        let number = state.withLock { $0.hosts.count } + 10
        let address = Self.prefix + "\(number)"
        let descriptor = try outside.inside {
            let descriptor = ch_new_network_namespace()
            guard descriptor >= 0 else {
                throw SystemFailure("cannot make a network namespace: \(String(cString: strerror(errno)))")
            }
            return descriptor
        }
        let host = Host(name: name, address: address, namespace: descriptor)
        guard let path = host.path else { return host }
        try Self.ip([
            "link add port\(number) type veth peer name inner netns \(path)", "link set port\(number) master bridge up",
        ])
        try host.inside {
            try Self.ip([
                "link set lo up", "link set inner name eth0", "addr add \(address)/24 dev eth0", "link set eth0 up",
            ])
        }
        state.withLock { $0.hosts.append(host) }
        return host
    }

    package var hosts: [Host] { state.withLock { $0.hosts } }
    package var cuts: [Cut] { state.withLock { $0.cuts } }

    // MARK: Cuts

    /// These hosts no longer hear those.
    package func cut(_ receivers: [Host], from senders: [Host]) throws {
        for receiver in receivers {
            let new = senders.filter { $0 !== receiver }
            let all = state.withLock { state in
                for sender in new where !state.dropped[receiver.name, default: []].contains(sender.name) {
                    state.cuts.append(Cut(from: sender.name, to: receiver.name, began: clockNow()))
                }
                state.dropped[receiver.name, default: []].formUnion(new.map(\.name))
                return addresses(state, state.dropped[receiver.name] ?? [])
            }
            try apply(all, at: receiver)
        }
    }

    /// Neither of the two groups hears the other.
    package func part(_ some: [Host], from others: [Host]) throws {
        try cut(some, from: others)
        try cut(others, from: some)
    }

    /// This host hears nobody, and nobody hears it.
    package func isolate(_ host: Host) throws {
        try part([host], from: hosts.filter { $0 !== host })
    }

    /// Everybody hears everybody.
    package func heal() throws {
        let affected = state.withLock { state in
            let names = state.dropped.filter { !$0.value.isEmpty }.keys
            return state.hosts.filter { names.contains($0.name) }
        }
        for host in affected {
            try apply([], at: host)
            state.withLock { state in
                state.dropped[host.name] = []
                let now = clockNow()
                for index in state.cuts.indices
                where state.cuts[index].to == host.name && state.cuts[index].ended == nil {
                    state.cuts[index].ended = now
                }
            }
        }
    }

    /// Whether packets between two hosts were cut, in either direction, at some time of a period.
    package func wasCut(_ one: String, _ other: String, from begin: Double, to end: Double) -> Bool {
        cuts.contains { cut in
            (cut.from == one && cut.to == other || cut.from == other && cut.to == one)
                && cut.began <= end && (cut.ended ?? .infinity) >= begin
        }
    }

    private func addresses(_ state: borrowing State, _ names: Set<String>) -> [String] {
        state.hosts.filter { names.contains($0.name) }.map(\.address)
    }

    /// All rules of a receiver at once.
    private func apply(_ addresses: [String], at receiver: Host) throws {
        let rules = addresses.map { "-A INPUT -s \($0)/32 -j DROP\n" }.joined()
        let text = "*filter\n:INPUT ACCEPT [0:0]\n" + rules + "COMMIT\n"
        try receiver.inside { try Self.run(["iptables-restore", "-w"], input: text) }
    }

    private static func ip(_ commands: [String]) throws {
        for command in commands { try run(["ip"] + command.split(separator: " ").map(String.init), input: nil) }
    }

    private static func run(_ words: [String], input: String?) throws {
        let result = try CommandResult.run(
            ["/usr/bin/env"] + words, directory: SystemEnvironment.workPlace, within: 20, input: input)
        guard result.status == 0 else {
            throw SystemFailure("\(words.joined(separator: " ")): status \(result.status): \(result.output)")
        }
    }
}
