import ClusterModel
import ConfigurationTree

@testable import AgentConfiguration
@testable import ConsulStore

extension FuzzTarget {
    /// Consul's section, what its API answers, saved sessions, a member's entry as its catalogue is told of it.
    static let consul = FuzzTarget("consul", reads: "Consul's section and answers, sessions, members for its catalogue")
    {
        bytes in
        let text = text(bytes)
        for entry in ConsulReply.entries(bytes) ?? [] {
            try require(entry.createIndex < 1 << 63 && entry.modifyIndex < 1 << 63, "indices of \(entry.key)")
            if let key = KeyPlace(root: "/service/demo/").key(entry.key) {
                try require(
                    KeyPlace(root: "/service/demo/").path(key) == entry.key, "\(entry.key) is not \(key)'s path")
            }
        }
        if case .failed(let problems)? = ConsulReply.transaction(bytes, isConflict: true) {
            let plan = TransactionPlan([])
            for problem in problems { _ = (plan.isGuess(problem.operation), plan.compare(of: problem)) }
        }
        _ = ConsulReply.transaction(bytes, isConflict: false)
        _ = ConsulReply.keys(bytes)
        _ = ConsulReply.session(bytes)
        if let id = ConsulReply.sessionID(bytes) { try require(id.utf8.count == 36, "a session's number: \(id)") }
        if let id = ConsulSession.parseResumption(bytes) {
            try require(ConsulReply.isSessionID(id), "a saved session: \(id)")
        }
        if let length = ConsulReply.leastLifetime(text) { try require(length >= .zero, "a length of \(length)") }
        if let length = GoDuration.parse(text) { try require(length >= .zero, "a length of \(length)") }
        if let member = try? JSONValue.parse(bytes) {
            _ = ServiceRecord.wish(
                member: member, scope: text, name: "pg1", settings: ConsulServiceSettings(), lifetime: .seconds(10))
        }
        let words = ConsulAnswer(status: 500, body: bytes).text
        try require(words.utf8.count <= 1200 && !words.contains(where: \.isNewline), "a refusal: \(words)")
        guard let node = try? YAMLParser.parse(text: text, source: "c.yml") else { return }
        let (settings, complaints) = ConsulSettings.read(node, path: "consul")
        for complaint in complaints { try check(complaint) }
        for endpoint in settings?.endpoints ?? [] {
            let hasBreak = endpoint.host.utf8.contains {
                $0 <= 32 || $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "@")
            }
            try require(!endpoint.host.isEmpty && !hasBreak, "a host: '\(endpoint.host)'")
            try require((1...65_535).contains(endpoint.port), "a port: \(endpoint.port)")
        }
    }
}
