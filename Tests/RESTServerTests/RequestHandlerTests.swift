import ClusterModel
import HighAvailability
import Logging
import Synchronization
import Testing

@testable import RESTServer

@Suite struct RequestHandlerTests {
    let agent: FakeAgent
    let handler: RequestHandler

    init() async {
        let agent = FakeAgent(Sample.primary())
        self.agent = agent
        let access = await AccessControl.make(RESTSettings(listenHost: "", listenPort: 0)) { _ in [] }.control
        var handler = RequestHandler(
            control: agent, access: { access }, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        handler.now = { Sample.now }
        handler.wallTime = { WallTime(seconds: 1_767_225_600) }
        handler.patience.view = .milliseconds(200)
        handler.patience.restart = .milliseconds(200)
        self.handler = handler
    }

    private func ask(_ method: String, _ target: String, body: String? = nil, length: Int?? = nil) async -> RESTAnswer {
        let parts = target.split(separator: "?", maxSplits: 1)
        let bytes = body.map { Array($0.utf8) }
        let contentLength: Int? = length ?? bytes?.count
        return await handler.answer(
            RESTRequest(
                method: method, path: String(parts[0]), query: QueryItems(parts.count > 1 ? parts[1] : ""),
                authorization: nil, contentLength: contentLength, hasContentLength: contentLength != nil,
                clientAddress: "127.0.0.1", isTLS: false, hasClientCertificate: { false },
                readBody: { _ throws(BodyProblem) in bytes ?? [] }))
    }

    @Test(
        arguments: [
            ("GET", "/", 200, "application/json"), ("GET", "/replica", 503, "application/json"),
            ("GET", "/unknown", 503, "application/json"), ("GET", "/patroni", 200, "application/json"),
            ("GET", "/patroni/anything", 200, "application/json"), ("GET", "/liveness", 200, nil),
            ("GET", "/readiness", 200, nil), ("GET", "/cluster", 200, "application/json"),
            ("GET", "/history", 200, "application/json"), ("GET", "/config", 200, "application/json"),
            ("GET", "/failsafe", 502, "text/html;charset=utf-8"), ("GET", "/metrics", 200, "text/plain"),
            ("GET", "/decisions", 200, "application/json"), ("GET", "/peer/stream", 200, "application/x-ndjson"),
            ("HEAD", "/", 200, nil), ("OPTIONS", "/", 200, nil), ("OPTIONS", "/primary", 200, nil),
            ("HEAD", "/replica", 503, nil), ("HEAD", "/liveness", 503, nil), ("HEAD", "/patroni", 503, nil),
            ("OPTIONS", "/cluster", 503, nil), ("POST", "/patroni", 501, "text/html;charset=utf-8"),
            ("PUT", "/restart", 501, "text/html;charset=utf-8"), ("DELETE", "/", 501, "text/html;charset=utf-8"),
            ("TRACE", "/", 501, "text/html;charset=utf-8"),
        ] as [(String, String, Int, String?)])
    func theRouteIsMethodAndFirstSegment(_ method: String, _ path: String, _ status: Int, _ type: String?) async {
        let answer = await ask(method, path)
        #expect(answer.status == status)
        #expect(answer.contentType == type)
        if type == nil { #expect(answer.bodyText == nil) }
    }

    @Test(arguments: [
        ("PATCH", "/config"), ("PUT", "/config"), ("POST", "/switchover"), ("POST", "/failover"), ("POST", "/mpp"),
        ("POST", "/citus"),
    ])
    func aBodyThatHasToBeThere(_ method: String, _ path: String) async {
        #expect(await ask(method, path).status == 411)
        #expect(await ask(method, path, body: "").status == 400)
        #expect(await ask(method, path, body: "{}").status == 400)
        #expect(await ask(method, path, body: "[]").status == 400)
        #expect(await ask(method, path, body: "nonsense").status == 400)
        #expect(await ask(method, path, body: "{\"a\":").status == 400)
        #expect(await ask(method, path, length: .some(2_000_000)).status == 413)
        #expect(agent.requests.isEmpty)
    }

    @Test func aBodyThatMayBeMissing() async {
        #expect(await ask("POST", "/restart").status == 200)
        #expect(await ask("POST", "/restart", body: "").status == 200)
        #expect(await ask("POST", "/restart", body: "{}").status == 200)
        #expect(await ask("POST", "/reinitialize").status == 200)
        #expect(await ask("POST", "/restart", body: "[1]").status == 400)
        #expect(
            agent.requests == [
                .restart(RestartRequest()), .restart(RestartRequest()), .restart(RestartRequest()),
                .reinitialize(force: false, fromLeader: false),
            ])
    }

    @Test func requestsAreHandedOnAndAnswersHandedBack() async {
        agent.state.withLock { $0.answer = OperatorAnswer(.done, "Successfully switched over to \"pg2\"") }
        let answer = await ask("POST", "/switchover", body: #"{"leader":"pg1","candidate":"pg2"}"#)
        #expect(answer.status == 200)
        #expect(answer.bodyText == "Successfully switched over to \"pg2\"")
        #expect(answer.contentType == "text/html")
        agent.state.withLock { $0.answer = OperatorAnswer(.conditionsNotMet, "no such member") }
        #expect(await ask("POST", "/failover", body: #"{"candidate":"pg9"}"#).status == 412)
        agent.state.withLock { $0.answer = OperatorAnswer(.done, "", document: .object(["ttl": 20])) }
        let config = await ask("PATCH", "/config", body: #"{"ttl":20,"loop_wait":null}"#)
        #expect(config.contentType == "application/json")
        #expect(config.bodyText == #"{"ttl":20}"#)
        agent.state.withLock { $0.answer = OperatorAnswer(.conflict, "") }
        #expect(await ask("PUT", "/config", body: #"{"ttl":20}"#).status == 409)
        #expect(await ask("DELETE", "/switchover").status == 409)
        #expect(await ask("DELETE", "/restart").status == 409)
        #expect(
            agent.requests == [
                .switchover(leader: "pg1", candidate: "pg2", scheduledAt: nil), .failover(candidate: "pg9"),
                .patchConfiguration(["ttl": 20, "loop_wait": .null]), .replaceConfiguration(["ttl": 20]),
                .cancelSwitchover, .cancelRestart,
            ])
    }

    @Test func aRequestThatTakesTooLongIsOfUnknownStatus() async {
        agent.state.withLock { $0.performDelay = .seconds(5) }
        let answer = await ask("POST", "/restart")
        #expect(answer.status == 503)
        #expect(answer.bodyText?.contains("status unknown") == true)
    }

    @Test func aStoreThatDoesNotAnswer() async {
        agent.state.withLock { $0.freshView = nil }
        for path in ["/cluster", "/history", "/config"] { #expect(await ask("GET", path).status == 502, "\(path)") }
        agent.state.withLock {
            $0.freshView = Sample.view()
            $0.viewDelay = .seconds(5)
        }
        #expect(await ask("GET", "/cluster").status == 502)
        // What load balancers ask does not care.
        #expect(await ask("GET", "/primary").status == 200)
    }

    @Test func aConfigurationThatIsMissing() async {
        agent.state.withLock { $0.freshView?.configuration = nil }
        #expect(await ask("GET", "/config").status == 502)
        #expect(await ask("GET", "/history").bodyText == "[]")
    }

    @Test func aFresherLookAtPostgreSQL() async throws {
        var sample = try #require(agent.status().sample)
        sample.takenAt = Sample.now
        sample.writeLSN = LSN(0x500_0000)
        agent.state.withLock { $0.freshSample = sample }
        let answer = try JSONValue.parse(try #require(await ask("GET", "/patroni").bodyText))
        #expect(answer["xlog"]?["location"] == 0x500_0000)
    }

    @Test func reloading() async {
        #expect(await ask("POST", "/reload").status == 202)
        agent.state.withLock { $0.reloadRefusal = "agent.yml:3:1: no" }
        let refused = await ask("POST", "/reload", body: "{}")
        #expect(refused.status == 422)
        #expect(refused.bodyText == "agent.yml:3:1: no")
        #expect(agent.state.withLock { $0.reloads } == 2)
    }

    @Test func theClusterIsShownInFailsafe() async throws {
        agent.state.withLock { $0.freshView = nil }
        #expect(await ask("GET", "/cluster").status == 502)
        agent.change { $0.isFailsafeActive = true }
        let answer = await ask("GET", "/cluster")
        let document = try JSONValue.parse(try #require(answer.bodyText))
        #expect(answer.status == 200 && document["failsafe_mode_is_active"]?.bool == true)
        #expect(document["members"]?.array?.count == 3)
        let status = try JSONValue.parse(try #require(await ask("GET", "/patroni").bodyText))
        #expect(status["failsafe_mode_is_active"]?.bool == true && status["cluster_unlocked"] == nil)
    }

    @Test func theFailsafeExchange() async throws {
        let patroni =
            #"{"name":"pg1","conn_url":"postgres://10.0.0.1:5432/postgres","api_url":"http://10.0.0.1:8008/patroni","slots":{"pg1":67419744,"pg2":67419000}}"#
        // Off, whatever the body.
        #expect(await ask("POST", "/failsafe", body: patroni).status == 502)
        #expect(agent.state.withLock { $0.grants }.isEmpty)
        agent.change { $0.isFailsafeOn = true }
        agent.state.withLock { $0.grantAnswer = .granted(.seconds(10), position: LSN(67_419_700)) }
        let granted = await ask("POST", "/failsafe", body: patroni)
        #expect(granted.status == 200 && granted.bodyText == "Accepted")
        #expect(granted.headers.contains { $0.name == "lsn" && $0.value == "67419700" })
        let request = try #require(agent.state.withLock { $0.grants.last })
        #expect(request.name == "pg1" && request.lasts == nil && request.fence == nil)
        #expect(request.slots == ["pg1": LSN(67_419_744), "pg2": LSN(67_419_000)])
        // Ours says more.
        let ours = #""x_matriarch":{"lease_ms":4000,"term":"1.7","round":"12","instance":"\#(UInt64.max)"}"#
        _ = await ask("POST", "/failsafe", body: #"{"name":"pg1",\#(ours)}"#)
        let own = try #require(agent.state.withLock { $0.grants.last })
        #expect(own.lasts == .seconds(4) && own.fence == Fence(era: 1, number: 7))
        #expect(own.round == 12 && own.instance == .max)
        agent.state.withLock { $0.grantAnswer = .refused("Running as a leader") }
        let refused = await ask("POST", "/failsafe", body: patroni)
        #expect(refused.status == 500 && refused.bodyText == "Running as a leader")
        #expect(await ask("POST", "/failsafe", body: #"{"conn_url":""}"#).status == 400)
        #expect(await ask("POST", "/failsafe", body: "[]").status == 400)
        #expect(await ask("POST", "/failsafe").status == 411)
    }

    @Test func whatIsNotInThisRelease() async {
        #expect(await ask("POST", "/sigterm").status == 202)
        let mpp = await ask("POST", "/mpp", body: #"{"type":"before_demote"}"#)
        #expect(mpp.status == 200)
        #expect(mpp.bodyText == "OK")
    }

    @Test func decisionsAreCutAsAsked() async throws {
        agent.change { status in
            status.decisions = (1...5).map { number in
                Decision(
                    sequence: UInt64(number), rule: RuleCode("rule-\(number)"), weight: .action, text: "t",
                    facts: [Fact("n", .integer(Int64(number)))])
            }
        }
        func sequences(_ target: String) async throws -> [Int64?] {
            let answer = try JSONValue.parse(try #require(await ask("GET", target).bodyText))
            return try #require(answer["decisions"]?.array).map { $0["sequence"]?.integer }
        }
        #expect(try await sequences("/decisions") == [1, 2, 3, 4, 5])
        #expect(try await sequences("/decisions?after=3") == [4, 5])
        #expect(try await sequences("/decisions?limit=2") == [4, 5])
        #expect(try await sequences("/decisions?after=1&limit=1") == [5])
        #expect(try await sequences("/decisions?limit=-1&after=x") == [1, 2, 3, 4, 5])
    }

    @Test func membersMayComeIn() async {
        var settings = RESTSettings(listenHost: "", listenPort: 0)
        settings.allowlistIncludeMembers = true
        let access = await AccessControl.make(settings) { _ in [] }.control
        var closed = handler
        closed.access = { access }
        func ask(_ path: String, from client: String) async -> Int {
            await closed.answer(
                RESTRequest(
                    method: "POST", path: path, query: QueryItems(), authorization: nil, contentLength: nil,
                    hasContentLength: false, clientAddress: client, isTLS: false, hasClientCertificate: { false },
                    readBody: { _ throws(BodyProblem) in [] })
            ).status
        }
        #expect(await ask("/restart", from: "10.0.0.3") == 200)
        #expect(await ask("/restart", from: "10.0.0.4") == 403)
        #expect(await ask("/failsafe", from: "10.0.0.4") == 502)
    }
}
