#if Etcd
    import ClusterModel
    import ConfigurationTree
    import Logging
    import PluginInterfaces
    import Synchronization

    /// The servers of one store, as a client has them: whom to ask, with which token, and what may be believed.
    final class EtcdCluster: Sendable {
        private struct State {
            var settings: EtcdSettings
            var http: GatewayClient
            /// How often those two were replaced: a login from before is of no use after.
            var replacements = 0
            var pool: EndpointPool
            var view = ViewGuard()
            var token: Secret?
            /// The cluster has no users: nothing to log in to.
            var isWithoutUsers = false
            var isClosed = false
            /// When the members, or the domain, were last looked for.
            var lookedAt: Instant?
            /// Leases count for so long: another store is not taken for ours before.
            var lifetime = Duration.zero
        }

        let keys: EtcdKeys
        let logger: Logger
        private let state: Mutex<State>
        /// Told of an endpoint that was silent while another one answered.
        let onSilence = Mutex<(@Sendable (Endpoint) -> Void)?>(nil)

        init(_ settings: EtcdSettings, keys: EtcdKeys, http: GatewayClient, logger: Logger) {
            self.keys = keys
            self.logger = logger
            state = Mutex(State(settings: settings, http: http, pool: EndpointPool(settings.endpoints)))
        }

        /// What a reload may replace.
        var settings: EtcdSettings { state.withLock { $0.settings } }
        var http: GatewayClient { state.withLock { $0.http } }

        /// Takes over what another one, which was tried, has found to work: settings, connections, login, endpoints. What
        /// is known of the store stays; calls that are under way end as they began.
        func adopt(_ other: EtcdCluster) {
            let tried = other.state.withLock { $0 }
            state.withLock { state in
                state.settings = tried.settings
                state.http = tried.http
                state.replacements += 1
                state.pool = tried.pool
                state.token = tried.token
                state.isWithoutUsers = tried.isWithoutUsers
                state.lookedAt = nil
            }
        }

        var isClosed: Bool { state.withLock { $0.isClosed } }
        func close() { state.withLock { $0.isClosed = true } }

        var era: UInt32 { state.withLock { $0.view.era } }
        var clusterID: UInt64? { state.withLock { $0.view.cluster } }
        var newest: StoreRevision {
            state.withLock { StoreRevision(era: $0.view.era, number: $0.view.revision) }
        }
        var before: ViewGuard.Before { state.withLock { $0.view.before } }
        var order: [Endpoint] { state.withLock { $0.pool.order } }

        func expectLifetime(_ lifetime: Duration) { state.withLock { $0.lifetime = lifetime } }

        // MARK: One call

        /// Calls one endpoint, logged in where the settings name a user. A refused token is replaced and the call made
        /// again: what is refused like that has not been done. `isStream` takes the first message of a stream.
        func call(
            _ path: String, _ body: JSONValue, at endpoint: Endpoint, until deadline: Instant, isStream: Bool = false
        ) async throws(GatewayFailure) -> GatewayAnswer {
            var logins = 0
            while true {
                if isClosed { throw GatewayFailure(stage: .notSent, message: "the store was closed") }
                let (settings, http) = state.withLock { ($0.settings, $0.http) }
                let token = try await token(at: endpoint, until: deadline)
                do throws(GatewayFailure) {
                    let object = try await http.post(path, body, at: endpoint, token: token, until: deadline)
                    let message = isStream ? object["result"]?.object : object
                    guard let answer = message.flatMap({ GatewayAnswer($0) }) else {
                        throw GatewayFailure(stage: .malformed, message: "\(endpoint) answered without a usable header")
                    }
                    return answer
                } catch {
                    guard error.refusal?.kind == .tokenRefused, settings.username != nil, logins < 2 else {
                        throw error
                    }
                    logins += 1
                    forget(token)
                }
            }
        }

        /// The token to show; nil where there are no users. Logs in if there is none yet.
        func token(at endpoint: Endpoint, until deadline: Instant) async throws(GatewayFailure) -> Secret? {
            let now = state.withLock { $0 }
            guard let name = now.settings.username, let password = now.settings.password else { return nil }
            if let token = now.token { return token }
            if now.isWithoutUsers { return nil }
            let body: JSONValue = ["name": .string(name), "password": .string(password.value)]
            do throws(GatewayFailure) {
                let answer = try await now.http.post(
                    "/v3/auth/authenticate", body, at: endpoint, token: nil, until: deadline)
                guard let text = answer["token"]?.string, !text.isEmpty,
                    text.utf8.allSatisfy({ $0 > 32 && $0 < 127 })
                else {
                    throw GatewayFailure(stage: .malformed, message: "\(endpoint) gave no usable token")
                }
                state.withLock { if $0.replacements == now.replacements { $0.token = Secret(text) } }
                return Secret(text)
            } catch {
                if error.refusal?.kind == .authenticationOff {
                    state.withLock { if $0.replacements == now.replacements { $0.isWithoutUsers = true } }
                    return nil
                }
                // Only the login was sent, not what it was for.
                var failure = error
                if !failure.isCertain { failure.stage = .notSent }
                throw failure
            }
        }

        func forget(_ token: Secret?) {
            state.withLock { state in
                if state.token == token { state.token = nil }
                state.isWithoutUsers = false
            }
        }

        // MARK: What may be believed

        /// Lets an answer through, or says why not.
        func admit(
            _ header: AnswerHeader, from endpoint: Endpoint, isCurrent: Bool, before: ViewGuard.Before
        ) throws(GatewayFailure) {
            let now = SystemClock.now()
            let verdict = state.withLock { state in
                let verdict = state.view.admit(
                    header, from: endpoint, isCurrent: isCurrent, before: before, at: now,
                    configured: state.pool.configured,
                    delay: max(state.settings.replacementDelay, state.lifetime * 2))
                switch verdict {
                case .admitted, .stale: break
                case .stranger: state.pool.turnedOutStrange(endpoint, at: now)
                case .replaced:
                    state.pool.forgetStandings()
                    state.token = nil
                    state.isWithoutUsers = false
                }
                return verdict
            }
            switch verdict {
            case .admitted: return
            case .replaced:
                logger.error(
                    "etcd is another store now (cluster \(String(header.cluster, radix: 16)), revision \(header.revision)); what was known of the old one is forgotten"
                )
            case .stale:
                throw Self.unfit("\(endpoint) shows an older state than was seen before")
            case .stranger(let why):
                throw Self.unfit(why)
            }
        }

        /// Takes note of what a write of ours made; false when the answer is of another store.
        func note(_ header: AnswerHeader, from endpoint: Endpoint, before: ViewGuard.Before) -> Bool {
            state.withLock { state in
                let isOurs = state.view.note(header, from: endpoint, before: before, at: SystemClock.now())
                if isOurs {
                    state.pool.succeeded(endpoint)
                } else {
                    state.pool.turnedOutStrange(endpoint, at: SystemClock.now())
                }
                return isOurs
            }
        }

        static func unfit(_ message: String) -> GatewayFailure {
            var refusal = Refusal(status: 200, code: nil, message: message)
            refusal.kind = .unfit
            refusal.isCertain = true
            return GatewayFailure(stage: .refused(refusal), message: message)
        }

        func succeeded(_ endpoint: Endpoint) { state.withLock { $0.pool.succeeded(endpoint) } }
        func failed(_ endpoint: Endpoint) { state.withLock { $0.pool.failed(endpoint, at: SystemClock.now()) } }
        func isIntroduced(_ endpoint: Endpoint) -> Bool { state.withLock { $0.pool.isIntroduced(endpoint) } }

        // MARK: Several endpoints

        /// Asks the endpoints for something that may be asked several times: the next one as soon as one has failed, or
        /// has been silent for a while. The first answer counts.
        func race<Value: Sendable>(
            _ attempt: String, until deadline: Instant,
            _ ask: @escaping @Sendable (Endpoint) async -> Result<Value, GatewayFailure>
        ) async -> Result<Value, StoreError> {
            let endpoints: [Endpoint]
            do throws(StoreError) { endpoints = try await known(until: deadline) } catch { return .failure(error) }
            let limit = deadline - SystemClock.now()
            guard limit > .zero else {
                return .failure(StoreError(.timedOut, "cannot \(attempt): no time was left"))
            }
            let patience = max(.milliseconds(50), min(.seconds(1), limit / 4))
            return await withTaskGroup(of: RaceEvent<Value>.self) { group in
                var running: Set<Int> = []
                var next = 0
                var worst: GatewayFailure?
                func start() {
                    guard next < endpoints.count else { return }
                    let index = next
                    let endpoint = endpoints[index]
                    next += 1
                    running.insert(index)
                    group.addTask { .ended(index, await ask(endpoint)) }
                    if next < endpoints.count {
                        group.addTask {
                            try? await Task.sleep(for: patience, tolerance: .milliseconds(5), clock: .continuous)
                            return .patience
                        }
                    }
                }
                start()
                while let event = await group.next() {
                    switch event {
                    case .patience:
                        if !Task.isCancelled { start() }
                    case .ended(let index, .success(let value)):
                        running.remove(index)
                        succeeded(endpoints[index])
                        for silent in running where silent < index { fellSilent(endpoints[silent]) }
                        group.cancelAll()
                        return .success(value)
                    case .ended(let index, .failure(let failure)):
                        running.remove(index)
                        if isClosed {
                            group.cancelAll()
                            return .failure(StoreError(.closed, "the etcd store was closed"))
                        }
                        if failure.endsRace {
                            group.cancelAll()
                            return .failure(failure.error(attempt))
                        }
                        failed(endpoints[index])
                        // The word of one who was reached tells more than that of one who was not.
                        if worst == nil || failure.refusal != nil { worst = failure }
                        start()
                        if running.isEmpty {
                            group.cancelAll()
                            break
                        }
                        continue
                    }
                    if running.isEmpty { break }
                }
                group.cancelAll()
                let failure = worst ?? GatewayFailure(stage: .unknown, message: "no server was asked", isTimeout: true)
                return .failure(failure.error(attempt))
            }
        }

        /// An endpoint let a request time out.
        func fellSilent(_ endpoint: Endpoint) {
            failed(endpoint)
            onSilence.withLock { $0 }?(endpoint)
        }

        /// Asks the endpoints one after the other for something that must not be under way twice. The next one is asked
        /// only after an answer with which nothing was done, or after any failure where that does no harm.
        func sequence(
            _ path: String, _ body: JSONValue, until deadline: Instant, isRepeatable: Bool
        ) async -> Result<(answer: GatewayAnswer, endpoint: Endpoint), GatewayFailure> {
            let endpoints: [Endpoint]
            do throws(StoreError) {
                endpoints = try await known(until: deadline)
            } catch {
                return .failure(
                    GatewayFailure(stage: .notSent, message: error.message, isTimeout: error.code == .timedOut))
            }
            var last: GatewayFailure?
            for (index, endpoint) in endpoints.enumerated() {
                let left = deadline - SystemClock.now()
                guard left > .zero else { break }
                let share = isRepeatable ? max(left / (endpoints.count - index), min(left, .seconds(1))) : left
                do throws(GatewayFailure) {
                    try await introduce(endpoint, until: min(deadline, SystemClock.now() + max(left / 3, .seconds(1))))
                    let before = before
                    let answer = try await call(path, body, at: endpoint, until: SystemClock.now() + share)
                    guard note(answer.header, from: endpoint, before: before) else {
                        throw GatewayFailure(
                            stage: .malformed, message: "\(endpoint) answered for another store than was seen before")
                    }
                    return .success((answer, endpoint))
                } catch {
                    last = error
                    if error.isTimeout, !error.isCertain {
                        fellSilent(endpoint)
                    } else if !error.endsRace {
                        failed(endpoint)
                    }
                    guard !isClosed, !error.endsRace, error.isCertain || isRepeatable else { break }
                }
            }
            return .failure(
                last ?? GatewayFailure(stage: .notSent, message: "no time was left to ask etcd", isTimeout: true))
        }

        /// Nothing is written to an endpoint before it has shown that it is of our store.
        private func introduce(_ endpoint: Endpoint, until deadline: Instant) async throws(GatewayFailure) {
            if isIntroduced(endpoint) { return }
            let before = before
            let body: JSONValue = ["key": .string(keys.encoded(EtcdKeys.leader)), "count_only": true]
            do throws(GatewayFailure) {
                let answer = try await call("/v3/kv/range", body, at: endpoint, until: deadline)
                try admit(answer.header, from: endpoint, isCurrent: true, before: before)
                succeeded(endpoint)
            } catch {
                // Only this was sent, not what it was for.
                var failure = error
                if !failure.isCertain { failure.stage = .notSent }
                throw failure
            }
        }

        // MARK: Who there is

        /// The endpoints in the order to ask them; looks them up in DNS where none are known yet.
        func known(until deadline: Instant) async throws(StoreError) -> [Endpoint] {
            if isClosed { throw StoreError(.closed, "the etcd store was closed") }
            let order = order
            if !order.isEmpty { return order }
            let settings = settings
            guard let domain = settings.domain else { return [] }
            let found = try await EndpointDiscovery(settings: settings, http: http).resolve(domain, until: deadline)
            state.withLock { $0.pool.configure(found) }
            return self.order
        }

        /// Looks anew for the members of the cluster, and for what DNS says, if the last look is long enough ago.
        func lookForMembers(olderThan age: Duration, until deadline: Instant) async {
            let now = SystemClock.now()
            let isDue = state.withLock { state in
                if let lookedAt = state.lookedAt, now - lookedAt < age { return false }
                state.lookedAt = now
                return true
            }
            guard isDue else { return }
            let (settings, http) = state.withLock { ($0.settings, $0.http) }
            let discovery = EndpointDiscovery(settings: settings, http: http)
            if let domain = settings.domain, let found = try? await discovery.resolve(domain, until: deadline) {
                state.withLock { $0.pool.configure(found) }
            }
            guard !settings.usesProxies else { return }
            let isTLSNeeded = settings.requiresTLS || order.contains { $0.isSecure }
            let answer = await race("list the members of etcd", until: deadline) {
                [self] endpoint in
                do throws(GatewayFailure) {
                    let before = before
                    let answer = try await call("/v3/cluster/member/list", [:], at: endpoint, until: deadline)
                    // A list of another cluster would lead there.
                    guard clusterID == nil || clusterID == answer.header.cluster, before.era == era else {
                        throw Self.unfit("\(endpoint) belongs to another cluster")
                    }
                    return .success(answer.body)
                } catch {
                    return .failure(error)
                }
            }
            guard case .success(let body) = answer else { return }
            let (found, refused) = EndpointDiscovery.clientEndpoints(body, requiringTLS: isTLSNeeded)
            for endpoint in refused {
                logger.debug("etcd's member at \(endpoint) is left out: it takes no TLS")
            }
            let isNew = state.withLock { $0.pool.discover(found) }
            if isNew { logger.info("etcd's members: \(found.map(\.description).joined(separator: ", "))") }
        }
    }

    /// What happens while several endpoints are asked.
    private enum RaceEvent<Value: Sendable>: Sendable {
        case ended(Int, Result<Value, GatewayFailure>)
        case patience
    }

    extension GatewayFailure {
        /// No other endpoint would answer differently.
        fileprivate var endsRace: Bool {
            guard let refusal else { return false }
            switch refusal.kind {
            case .tokenRefused, .notAuthorized, .certificateNamed, .authenticationOff, .leaseNotFound, .tooLarge,
                .malformedRequest,
                .compacted:
                return true
            case .unfit, .unknownCall, .undecided: return false
            }
        }
    }
#endif
