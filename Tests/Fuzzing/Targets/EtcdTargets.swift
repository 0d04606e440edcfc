import ClusterModel
import ConfigurationTree
import PluginInterfaces

@testable import AgentConfiguration
@testable import EtcdStore

extension FuzzTarget {
    /// etcd's section, answers of its gateway and of name servers.
    static let etcd = FuzzTarget("etcd", reads: "etcd's section, addresses, the gateway's answers, watches, DNS") {
        bytes in
        let text = text(bytes)
        if let endpoint = Endpoint(text, secureByDefault: true) {
            try require(Endpoint(endpoint.url, secureByDefault: false) == endpoint, "\(endpoint) is not read again")
        }
        if let decoded = Base64.decode(text) {
            try require(Base64.decode(Base64.encode(decoded)) == decoded, "base64 is not read again")
        }
        try require(Base64.decode(Base64.encode(bytes)) == bytes, "bytes do not survive base64")
        if let lease = LeaseID(text: text) { try require(LeaseID(text: lease.text) == lease, "a lease changes") }
        _ = EtcdRelease(text)
        _ = DNSResolver.parse(text)

        // A name server's answer, with a header that fits and whatever it is.
        let name = "_etcd._tcp.example.org"
        if let question = DNSMessage.query(name, id: 7) {
            let fitting =
                [0, 7, 0x80, 0, 0, 1, 0, bytes.first ?? 0, 0, 0, 0, 0] + question[12..<question.count - 11] + bytes
            if case .records(let records)? = DNSMessage.answer(fitting, to: name, id: 7) {
                try require(records.allSatisfy { !$0.target.isEmpty && $0.port > 0 }, "a record that leads nowhere")
            }
            _ = DNSMessage.answer(bytes, to: name, id: 7)
        }

        // A stream in pieces, and its messages.
        var whole = LineAssembler(limit: 4096)
        var pieces = LineAssembler(limit: 4096)
        let cut = bytes.count / 3
        let lines = whole.add(bytes)
        let first = pieces.add(Array(bytes[..<cut]))
        let second = pieces.add(Array(bytes[cut...]))
        try require(lines == first.flatMap { first in second.map { first + $0 } }, "cut elsewhere, the lines differ")
        var mirror = WatchMirror([], revision: 0, era: 0)
        for line in lines ?? [] {
            guard let value = try? JSONValue.parse(line), let message = WatchMessage(value) else { continue }
            mirror.apply(message.events)
            try require(message.events.allSatisfy { $0.revision <= mirror.revision }, "the mirror is behind")
        }

        // Answers to calls.
        let endpoint = Endpoint(isSecure: false, host: "a", port: 1)
        for status in [200, 404] {
            guard let object = try? GatewayClient.judge(status, bytes, endpoint) else { continue }
            _ = EndpointDiscovery.clientEndpoints(object, requiringTLS: true)
            guard let answer = GatewayAnswer(object) else { continue }
            _ = GatewayAnswer.keyValues(.object(object))
            let transaction = StoreTransaction(
                id: TransactionID(1),
                compares: [.value("sync", [1]), .version("config", EntryVersion(created: 1, number: 2))],
                writes: [.put("leader", [1], .permanent), .delete("failover")])
            let request = try? TransactionRequest(
                transaction, keys: EtcdKeys(root: "/service/demo/"), fence: .init(key: "sessions/1", version: nil))
            _ = request?.outcome(answer)
        }

        guard let node = try? YAMLParser.parse(text: text, source: "c.yml") else { return }
        let (settings, complaints) = EtcdSettings.read(node, path: "etcd3")
        for complaint in complaints { try check(complaint) }
        guard let settings else { return }
        try require(!settings.endpoints.isEmpty || settings.domain != nil, "no server")
        try require((settings.username == nil) == (settings.password == nil), "half a login")
    }
}
