import ClusterModel
import ConfigurationTree
import HighAvailability
import Logging
import PluginInterfaces

@testable import OperatorCLI
@testable import PeerClient
@testable import RESTServer

extension FuzzTarget {
    /// A peer's stream, cut into pieces at every place.
    static let peer = FuzzTarget("peer", reads: "a peer's status documents and stream, its URL, the cluster document") {
        bytes in
        func lines(_ pieces: [ArraySlice<UInt8>]) throws -> [[UInt8]] {
            var splitter = LineSplitter(maximum: 1 << 20)
            return try pieces.flatMap { try splitter.add($0) }
        }
        let whole = try lines([bytes[...]])
        let half = bytes.count / 2
        try require(try lines([bytes[..<half], bytes[half...]]) == whole, "cut elsewhere, the lines differ")
        try require(!whole.contains { $0.isEmpty || $0.contains(10) }, "a line that is none")
        for line in whole {
            if let url = try? PeerURL(text(line)) {
                try require(!url.base.utf8.contains(UInt8(ascii: "@")), "credentials in \(url.base)")
                try require(url.whole.hasPrefix(url.base), "\(url.whole) is not below \(url.base)")
            }
            _ = URLAuthority.hostAndPort(of: text(line))
            guard let value = try? JSONValue.parse(line) else { continue }
            if let report = ClusterReport(value) { _ = (report.leader, report.systemIdentifier) }
            if let decision = MemberDecision(member: "pg1", value) { _ = decision.lines(nameWidth: 3, width: 80) }
            guard let object = value.object else { continue }
            let status = PeerStatus.read(name: "pg2", document: object, askedAt: Instant(nanoseconds: 1))
            try require(status.name == "pg2", "a peer that is another")
            if let wait = object["next_ms"]?.integer { _ = Duration.milliseconds(wait) / 2 * 5 }
        }
    }

    /// A request as text: its line, its headers, an empty line, its body.
    static let rest = FuzzTarget("rest", reads: "HTTP requests: paths, queries, headers, bodies", maximumLength: 4096) {
        bytes in
        var (line, rest) = Parts.headed(text(bytes))
        let words = line.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        var headers: [String: String] = [:]
        while true {
            (line, rest) = Parts.headed(rest)
            guard let colon = line.firstIndex(of: ":") else { break }
            headers[line[..<colon].lowercased()] = String(line[line.index(after: colon)...].drop { $0 == " " })
        }
        let target = words.count > 1 ? words[1] : "/"
        let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let length = headers["content-length"]
        let body = Array(rest.utf8)
        let request = RESTRequest(
            method: words.first ?? "", path: parts.first.map(String.init) ?? "/",
            query: QueryItems(parts.count > 1 ? parts[1] : ""), authorization: headers["authorization"],
            contentLength: length.flatMap { Int($0) }, hasContentLength: length != nil,
            clientAddress: headers["client"], isTLS: headers["tls"] != nil, hasClientCertificate: { false },
            readBody: { limit throws(BodyProblem) in
                if body.count > limit { throw .tooLarge }
                return body
            })
        for isPaused in [false, true] {
            let agent = FixedAgent(isPaused: isPaused)
            let open = answer(request, agent, AccessControl.open)
            try check(open, request)
            let guarded = answer(request, agent, AccessControl.passworded)
            try check(guarded, request)
            let isSafe = ["GET", "HEAD", "OPTIONS"].contains(request.method)
            let isRefused = [401, 501].contains(guarded.status)
            let isAllowed = headers["authorization"]?.hasSuffix("dXNlcjpwYXNzd29yZA==") == true
            if !isSafe, !isAllowed, request.method != "POST" || request.firstSegment != "mpp" {
                try require(isRefused, "\(guarded.status) without a password")
            }
            if !isSafe, request.clientAddress?.hasPrefix("10.") != true, request.firstSegment != "mpp" {
                let listed = answer(request, agent, AccessControl.listed)
                try require([403, 501].contains(listed.status), "\(listed.status) for an address that is not listed")
            }
        }
    }

    private static func answer(_ request: RESTRequest, _ agent: FixedAgent, _ access: AccessControl?) -> RESTAnswer {
        let handler = RequestHandler(
            control: agent, access: { access ?? .closed }, logger: silentLogger,
            now: { Instant(nanoseconds: 1_000_000_000_000) }, wallTime: { WallTime(seconds: 1_700_000_000) })
        return waiting { await handler.answer(request) } ?? .bare(0)
    }

    private static func check(_ answer: RESTAnswer, _ request: RESTRequest) throws {
        try require((200..<600).contains(answer.status), "answered with \(answer.status)")
        guard case .text(let text) = answer.body else { return }
        if answer.contentType == "application/json" {
            try require((try? JSONValue.parse(text)) != nil, "the answer is no JSON: \(text)")
        }
    }

    private static let silentLogger = Logger(label: "fuzz") { _ in SwiftLogNoOpLogHandler() }
}

extension AccessControl {
    private static func made(_ change: (inout RESTSettings) -> Void) -> AccessControl? {
        var settings = RESTSettings(listenHost: "127.0.0.1", listenPort: 0)
        change(&settings)
        return waiting { [settings] in await AccessControl.make(settings, resolve: { _ in [] }).control }
    }

    fileprivate static let open = made { _ in }
    fileprivate static let passworded = made {
        $0.username = "user"
        $0.password = Secret("password")
    }
    fileprivate static let listed = made { $0.allowlist = ["10.0.0.0/8"] }
}

/// An agent that always says the same.
private struct FixedAgent: AgentControl {
    var isPaused: Bool

    func status() -> AgentStatus {
        var status = AgentStatus(name: "pg1", scope: "demo")
        status.state = .running
        status.role = .replica
        status.isPaused = isPaused
        status.isFailsafeOn = true
        status.tags = Tags(["zone": "a", "priority": 3])
        status.view = ClusterView(
            revision: StoreRevision(number: 7), requestedAt: Instant(nanoseconds: 999_000_000_000))
        status.view?.configuration = ["ttl": 30]
        status.view?.status = ClusterStatus(optime: LSN(0x400_0060))
        var sample = PostgresSample(
            takenAt: Instant(nanoseconds: 999_500_000_000), isInRecovery: true, serverVersion: 150_018,
            timeline: Timeline(5))
        sample.replayLSN = LSN(0x400_0000)
        sample.receiver = .init(status: "streaming", receivedTimeline: Timeline(5), latestEndLSN: LSN(0x400_0060))
        status.sample = sample
        return status
    }

    func freshSample(within: Duration) async -> PostgresSample? { nil }
    func perform(_ request: OperatorRequest) async -> OperatorAnswer { OperatorAnswer(.done, request.name) }
    func grant(_ request: GrantRequest) async -> GrantAnswer { .granted(request.lasts, position: nil) }
    func reload() async -> String? { nil }
    func freshView(within: Duration) async -> ClusterView? { status().view }
    func statusChanges() -> AsyncStream<Void> { AsyncStream { $0.finish() } }
}
