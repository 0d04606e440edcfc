import ClusterModel

/// One answer, before it becomes HTTP.
struct RESTAnswer: Sendable {
    enum Body: Sendable {
        case none
        case text(String)
        /// Lines of JSON for as long as the caller listens.
        case peerStream
    }

    var status: Int
    var contentType: String?
    var body: Body
    var headers: [(name: String, value: String)] = []
    /// Whether the connection ends with the answer: what is left of the request is not read.
    var endsConnection = false

    /// A status line and nothing else.
    static func bare(_ status: Int) -> RESTAnswer { RESTAnswer(status: status, contentType: nil, body: .none) }

    static func json(_ value: JSONValue, status: Int = 200) -> RESTAnswer {
        RESTAnswer(status: status, contentType: "application/json", body: .text(value.serialized()))
    }

    static func text(_ text: String, status: Int = 200, type: String = "text/html") -> RESTAnswer {
        RESTAnswer(status: status, contentType: type, body: .text(text))
    }

    /// The page for an error that has no text of its own.
    static func errorPage(_ status: Int, _ reason: String? = nil) -> RESTAnswer {
        let reason = reason ?? Self.reasons[status] ?? "Error"
        let page = """
            <!DOCTYPE html>
            <html><head><title>\(status)</title></head>
            <body><h1>\(status)</h1><p>\(reason)</p></body></html>

            """
        return .text(page, status: status, type: "text/html;charset=utf-8")
    }

    private static let reasons = [
        400: "Bad request", 404: "Not found", 408: "The request's body was slow in coming", 409: "Conflict",
        411: "The request has no Content-Length", 413: "The request's body is too large", 501: "Unsupported method",
        502: "The store does not answer, or has no such key", 503: "Unavailable",
    ]
}

/// One request, after it was HTTP.
struct RESTRequest: Sendable {
    var method: String
    /// Without the query.
    var path: String
    var query: QueryItems
    var authorization: String?
    var contentLength: Int?
    var hasContentLength: Bool
    var clientAddress: String?
    var isTLS: Bool
    /// Whether a verified certificate was presented.
    var hasClientCertificate: @Sendable () async -> Bool
    /// Reads the body up to a size, within the server's patience.
    var readBody: @Sendable (_ limit: Int) async throws(BodyProblem) -> [UInt8]

    /// `patroni` of `/patroni/anything`.
    var firstSegment: String {
        String(path.drop { $0 == "/" }.prefix { $0 != "/" })
    }
}

/// What can be wrong with a body before anybody looks into it.
enum BodyProblem: Error, Hashable {
    case tooLarge
    case slow
    case broken
}
