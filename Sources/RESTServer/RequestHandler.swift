import ClusterModel
import HighAvailability
import Logging
import PluginInterfaces
import Synchronization

/// Turns requests into answers; knows nothing of sockets.
///
/// The first segment of the path and the method choose the endpoint. What has none is a health check if it is safe,
/// and unsupported otherwise.
struct RequestHandler: Sendable {
    /// How long the parts of an answer may take.
    struct Patience: Sendable {
        var sample: Duration = .seconds(2)
        var view: Duration = .seconds(5)
        var members: Duration = .seconds(2)
        var restart: Duration = .seconds(3600)
        var configuration: Duration = .seconds(30)
        var grant: Duration = .seconds(5)
        var reload: Duration = .seconds(30)
        var migration: Duration = .seconds(90)
        /// Hand-overs: what the contract says, twice the loop's wait, at least 20 s.
        func handOver(_ status: AgentStatus) -> Duration { max(.seconds(10), status.loopWait) * 2 }
    }

    static let maximumBody = 1 << 20

    var control: any AgentControl
    var access: @Sendable () -> AccessControl
    var logger: Logger
    var patience = Patience()
    var now: @Sendable () -> Instant = SystemClock.now
    var wallTime: @Sendable () -> WallTime = SystemClock.wallTime

    func answer(_ request: RESTRequest) async -> RESTAnswer {
        switch request.method {
        case "GET": await get(request)
        case "HEAD", "OPTIONS": .bare(health(request))
        default: await unsafeRequest(request)
        }
    }

    // MARK: Safe requests

    private func get(_ request: RESTRequest) async -> RESTAnswer {
        switch request.firstSegment {
        case "patroni": return await patroni()
        case "liveness": return .bare(HealthRules.isLive(status: control.status(), now: now()) ? 200 : 503)
        case "readiness":
            return .bare(HealthRules.isReady(query: request.query, status: control.status(), now: now()) ? 200 : 503)
        case "cluster":
            let status = control.status()
            // In failsafe what was seen last is what is: nothing of it may change.
            guard let view = await view() ?? (status.isFailsafeActive ? status.view : nil) else {
                return .errorPage(502)
            }
            var document = ClusterDocument.make(view: view, scope: status.scope)
            if status.isFailsafeActive { document["failsafe_mode_is_active"] = true }
            return .json(.object(document))
        case "history":
            guard let view = await view() else { return .errorPage(502) }
            return .json(view.history?.storedValue() ?? [])
        case "config":
            guard let configuration = await view()?.configuration else { return .errorPage(502) }
            return .json(.object(configuration))
        case "failsafe":
            guard let failsafe = control.status().view?.failsafe else { return .errorPage(502) }
            let members = failsafe.sorted { $0.key < $1.key }.map { ($0.key, JSONValue.string($0.value)) }
            return .json(.object(JSONObject(members)))
        case "metrics":
            return .text(MetricsDocument.make(status: control.status(), now: now()), type: "text/plain")
        case "store" where request.path == "/store/migration": return .json(.object(migration()))
        case "decisions": return .json(.object(decisions(request.query)))
        case "peer" where request.path == "/peer/stream":
            return RESTAnswer(status: 200, contentType: "application/x-ndjson", body: .peerStream)
        default:
            let status = control.status()
            let now = now()
            return .json(
                .object(StatusDocument.make(status: status, now: now)),
                status: HealthRules.answer(path: request.path, query: request.query, status: status, now: now))
        }
    }

    private func health(_ request: RESTRequest) -> Int {
        HealthRules.answer(path: request.path, query: request.query, status: control.status(), now: now())
    }

    private func patroni() async -> RESTAnswer {
        let patience = patience.sample
        let fresh = await withDeadline(patience) { [control] in await control.freshSample(within: patience) } ?? nil
        var status = control.status()
        // Never older than what the agent has seen meanwhile.
        if let fresh, fresh.takenAt >= status.sample?.takenAt ?? fresh.takenAt { status.sample = fresh }
        return .json(.object(StatusDocument.make(status: status, now: now())))
    }

    private func view() async -> ClusterView? {
        let patience = patience.view
        return await withDeadline(patience) { [control] in await control.freshView(within: patience) } ?? nil
    }

    /// The recent decisions; `after` leaves out what the caller has, `limit` keeps the newest.
    private func decisions(_ query: QueryItems) -> JSONObject {
        let status = control.status()
        var decisions = status.decisions[...]
        if let after = query["after"].flatMap(UInt64.init) { decisions = decisions.drop { $0.sequence <= after } }
        if let limit = query["limit"].flatMap(Int.init), limit >= 0 { decisions = decisions.suffix(limit) }
        return [
            "name": .string(status.name), "scope": .string(status.scope),
            "decisions": .array(decisions.map(\.json)),
        ]
    }

    // MARK: Unsafe requests

    private func unsafeRequest(_ request: RESTRequest) async -> RESTAnswer {
        let segment = request.firstSegment
        let endpoint = "\(request.method) \(segment)"
        switch endpoint {
        case "PATCH config", "PUT config", "POST switchover", "POST failover", "DELETE switchover", "POST restart",
            "DELETE restart", "POST reinitialize", "POST reload", "POST failsafe", "POST sigterm", "POST citus",
            "PUT store", "POST store", "DELETE store":
            // The members' list is not asked for the failsafe: the view of the cluster may be what is missing.
            let members: (@Sendable () async -> [String])? = endpoint == "POST failsafe" ? nil : memberAddresses
            if var refusal = await access().refusal(of: request, memberHosts: members) {
                logger.notice(
                    "refused \(endpoint)",
                    metadata: ["client": "\(request.clientAddress ?? "?")", "status": "\(refusal.status)"])
                // A body that nobody may send is not read.
                refusal.endsConnection = request.contentLength ?? 0 > 0 || !request.hasContentLength
                return refusal
            }
        case "POST mpp": break
        default:
            var answer = RESTAnswer.errorPage(501)
            answer.endsConnection = request.contentLength ?? 0 > 0
            return answer
        }
        do throws(RESTFailure) {
            return try await act(endpoint, request)
        } catch {
            return error.answer
        }
    }

    private func act(_ endpoint: String, _ request: RESTRequest) async throws(RESTFailure) -> RESTAnswer {
        switch endpoint {
        case "PATCH config":
            let body = try await body(of: request)
            return await perform(.patchConfiguration(body), request, within: patience.configuration)
        case "PUT config":
            let body = try await body(of: request)
            return await perform(.replaceConfiguration(body), request, within: patience.configuration)
        case "POST switchover", "POST failover":
            let body = try await body(of: request)
            let status = control.status()
            let wanted = try reading { () throws(BodyRefusal) in
                try OperatorBodies.handOver(
                    body, isFailover: endpoint == "POST failover", isPaused: status.isPaused, now: wallTime())
            }
            return await perform(wanted, request, within: patience.handOver(status))
        case "DELETE switchover": return await perform(.cancelSwitchover, request, within: patience.configuration)
        case "POST restart":
            let body = try await body(of: request, isOptional: true)
            let wanted = try reading { () throws(BodyRefusal) in
                try OperatorBodies.restart(body, isPaused: control.status().isPaused, now: wallTime())
            }
            return await perform(wanted, request, within: patience.restart)
        case "DELETE restart": return await perform(.cancelRestart, request, within: patience.configuration)
        case "POST reinitialize":
            let body = try await body(of: request, isOptional: true)
            return await perform(OperatorBodies.reinitialize(body), request, within: patience.configuration)
        case "PUT store", "POST store", "DELETE store":
            guard request.path == "/store/migration" else { return .errorPage(404) }
            return await migrate(request, try await body(of: request))
        case "POST reload": return await reload(request)
        case "POST sigterm": return .text("shutdown is not available on this system", status: 202)
        case "POST failsafe":
            guard control.status().isFailsafeOn else { return .errorPage(502, "failsafe_mode is not enabled") }
            return await failsafe(try await body(of: request))
        default:
            // mpp, citus: acted on by nobody here.
            _ = try await body(of: request)
            return .text("OK")
        }
    }

    private func perform(
        _ wanted: OperatorRequest, _ request: RESTRequest, within: Duration
    ) async -> RESTAnswer {
        logger.notice("asked for: \(wanted.name)", metadata: ["client": "\(request.clientAddress ?? "?")"])
        let answer = await withDeadline(within) { [control] in await control.perform(wanted) }
        guard let answer else {
            return .text(
                "\(wanted.name): status unknown, it is still going on after \(Int(within.seconds)) seconds",
                status: 503)
        }
        if let document = answer.document { return .json(document, status: answer.code.rawValue) }
        if answer.text.isEmpty, !answer.isSuccess { return .errorPage(answer.code.rawValue) }
        return .text(answer.text, status: answer.code.rawValue)
    }

    /// PUT makes a member ready, POST begins (the leader's), DELETE forgets. The body is never logged: it may hold secrets.
    private func migrate(_ request: RESTRequest, _ body: JSONObject) async -> RESTAnswer {
        guard let id = body["id"]?.string, !id.isEmpty else { return .text("'id' is missing", status: 400) }
        if request.method == "POST" { return await perform(.migrate(id), request, within: patience.migration) }
        logger.notice(
            request.method == "PUT" ? "told of a store to move to" : "asked to forget a store to move to",
            metadata: ["client": "\(request.clientAddress ?? "?")", "migration": "\(id)"])
        let isPreparing = request.method == "PUT"
        let answer = await withDeadline(patience.configuration) { [control] in
            if isPreparing { await control.prepareMigration(body) } else { await control.forgetMigration(id) }
        }
        guard let answer else { return .text("it is still going on", status: 503) }
        return .text(answer.text, status: answer.code.rawValue)
    }

    /// How this member stands to a migration; no secret is in it.
    private func migration() -> JSONObject {
        let status = control.status()
        let migration = status.storeMigration
        func text(_ text: String?) -> JSONValue { text.map(JSONValue.string) ?? .null }
        return [
            "name": .string(status.name), "scope": .string(status.scope), "prepared": text(migration.prepared),
            "moved": text(migration.movedTo), "running": text(migration.running), "step": text(migration.step),
            "left_behind": text(migration.movedAway), "leader": text(status.view?.leader?.name),
            "mark": text(status.view?.migration?.state.rawValue), "mark_id": text(status.view?.migration?.id),
            "term": text(status.term?.description),
        ]
    }

    private func reload(_ request: RESTRequest) async -> RESTAnswer {
        logger.notice("asked for: reload", metadata: ["client": "\(request.clientAddress ?? "?")"])
        let refused = await withDeadline(patience.reload) { [control] in await control.reload() }
        switch refused {
        case .some(.some(let text)): return .text(text, status: 422)
        case .some(.none), .none: return .text("reload scheduled", status: 202)
        }
    }

    // MARK: Parts

    /// The body as an object. Where it is optional, none is an empty object.
    private func body(of request: RESTRequest, isOptional: Bool = false) async throws(RESTFailure) -> JSONObject {
        guard request.hasContentLength else {
            if isOptional { return JSONObject() }
            throw RESTFailure(.errorPage(411), endsConnection: true)
        }
        guard let length = request.contentLength else { throw RESTFailure(.errorPage(400), endsConnection: true) }
        if length == 0, isOptional { return JSONObject() }
        guard length <= Self.maximumBody else { throw RESTFailure(.errorPage(413), endsConnection: true) }
        let bytes: [UInt8]
        do {
            bytes = try await request.readBody(Self.maximumBody)
        } catch {
            let code = [BodyProblem.tooLarge: 413, .slow: 408][error] ?? 400
            throw RESTFailure(.errorPage(code), endsConnection: true)
        }
        let object: JSONObject?
        do {
            object = try JSONValue.parse(bytes).object
        } catch {
            throw RESTFailure(.errorPage(400, "The body is no JSON: \(error)"))
        }
        guard let object else { throw RESTFailure(.errorPage(400, "The body is no JSON object")) }
        guard !object.isEmpty || isOptional else { throw RESTFailure(.errorPage(400, "The body is empty")) }
        return object
    }

    private func reading(_ body: () throws(BodyRefusal) -> OperatorRequest) throws(RESTFailure) -> OperatorRequest {
        do {
            return try body()
        } catch {
            throw RESTFailure(.text(error.text, status: error.code))
        }
    }

    /// The addresses of all members' REST APIs, as the last view names them.
    @Sendable private func memberAddresses() async -> [String] {
        let hosts = Set(
            (control.status().view?.members ?? []).compactMap { member in
                member.apiURL.flatMap { URLAuthority.hostAndPort(of: $0)?.host }
            })
        let patience = patience.members
        return await withTaskGroup(of: [String].self) { group in
            for host in hosts { group.addTask { await HostResolver.addresses(of: host, within: patience) } }
            return await group.reduce(into: []) { $0 += $1 }
        }
    }
}

/// An answer that ends the reading of a request.
struct RESTFailure: Error {
    var answer: RESTAnswer

    init(_ answer: RESTAnswer, endsConnection: Bool = false) {
        self.answer = answer
        self.answer.endsConnection = endsConnection
    }
}
