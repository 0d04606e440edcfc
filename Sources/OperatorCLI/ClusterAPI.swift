public import ClusterModel

/// The members' REST API, as the commands use it. `PeerClient` stands behind it; tests have one of their own.
public protocol ClusterAPI: Sendable {
    /// Makes one request. `base` is a member's address without path: `http://10.0.0.1:8008`.
    func call(_ method: String, base: String, path: String, body: JSONValue?, within: Duration) async -> APIOutcome
    /// Frees connections.
    func close() async
}

/// What a member said, or why it said nothing.
public enum APIOutcome: Hashable, Sendable {
    case answer(APIAnswer)
    /// In words, without the address: `connection refused`.
    case unreachable(String)

    var answer: APIAnswer? {
        if case .answer(let answer) = self { return answer }
        return nil
    }
}

/// A member's answer.
public struct APIAnswer: Hashable, Sendable {
    public var status: Int
    public var body: String

    public init(status: Int, body: String) {
        self.status = status
        self.body = body
    }

    /// The body as JSON; nil when it is none.
    public var json: JSONValue? { try? JSONValue.parse(body) }

    /// What to show to a person: the text, or what the status means when there is none.
    var message: String {
        let text = body.split(separator: "\n", omittingEmptySubsequences: true).joined(separator: " ")
        if text.isEmpty || text.hasPrefix("<") { return "HTTP status \(status)" }
        return text
    }
}
