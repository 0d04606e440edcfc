#if Consul
    import ClusterModel
    import Logging
    import PluginInterfaces
    import Synchronization

    /// Keeps the member's service in the agent's catalogue in step with what is published of the member.
    ///
    /// It hears of that from the member's entry, each time a transaction of ours has written it. One request at a time, the
    /// newest wish only, repeated until the agent has taken it; failing changes nothing else.
    final class ServiceRegistrar: Sendable {
        static let limit = Duration.seconds(5)
        static let shortestPause = Duration.seconds(1)
        static let longestPause = Duration.seconds(30)

        private let client: ConsulClient
        private let refusals: ConsulRefusals
        private let settings: ConsulServiceSettings
        private let scope: String
        private let memberName: String
        private let logger: Logger
        private struct State {
            var wish: ServiceRecord.Wish = .nothing
            var done: ServiceRecord.Wish = .nothing
            var lifetime = Duration.seconds(15)
            var task: Task<Void, Never>?
            var isStopped = false
        }
        private let state = Mutex(State())

        init(
            client: ConsulClient, refusals: ConsulRefusals, settings: ConsulServiceSettings, scope: String,
            memberName: String, logger: Logger
        ) {
            self.client = client
            self.refusals = refusals
            self.settings = settings
            self.scope = scope
            self.memberName = memberName
            self.logger = logger
        }

        /// The session's lifetime, from which follows how long a failing service is kept.
        func note(lifetime: Duration) {
            state.withLock { $0.lifetime = lifetime }
        }

        /// A transaction was committed.
        func note(_ transaction: StoreTransaction) {
            let key = "members/\(memberName)"
            for write in transaction.writes.reversed() where write.key == key {
                switch write {
                case .create(_, let value, _), .put(_, let value, _):
                    guard let member = try? JSONValue.parse(value) else { return }
                    let lifetime = state.withLock { $0.lifetime }
                    want(
                        ServiceRecord.wish(
                            member: member, scope: scope, name: memberName, settings: settings, lifetime: lifetime))
                case .delete: return
                }
                return
            }
        }

        private func want(_ wish: ServiceRecord.Wish) {
            if wish == .nothing { return }
            state.withLock { state in
                state.wish = wish
                guard state.task == nil, !state.isStopped, wish != state.done else { return }
                state.task = Task { await self.run() }
            }
        }

        /// Ends what is under way; what is registered stays, and is Consul's to check.
        func stop() async {
            let task = state.withLock { state in
                state.isStopped = true
                return state.task
            }
            task?.cancel()
            await task?.value
        }

        private func run() async {
            var pause = Self.shortestPause
            while true {
                let wish = state.withLock { state -> ServiceRecord.Wish? in
                    if state.wish == state.done || state.isStopped {
                        state.task = nil
                        return nil
                    }
                    return state.wish
                }
                guard let wish else { return }
                if let error = await carryOut(wish) {
                    logger.warning("Consul's catalogue: \(error)")
                    do { try await Task.sleep(for: pause, clock: .continuous) } catch {
                        state.withLock { $0.task = nil }
                        return
                    }
                    pause = min(pause * 2, Self.longestPause)
                } else {
                    state.withLock { $0.done = wish }
                    pause = Self.shortestPause
                }
            }
        }

        private func carryOut(_ wish: ServiceRecord.Wish) async -> StoreError? {
            let call: ConsulCall
            switch wish {
            case .nothing: return nil
            case .register(let record):
                call = .put("/v1/agent/service/register", body: record.serialized(), for: "register the service")
            case .deregister:
                let path = ServiceRecord.identifier(scope: scope, member: memberName)
                call = .put(
                    "/v1/agent/service/deregister/" + ConsulCall.encoded(key: path), for: "deregister the service")
            }
            switch await client.call(call, within: Self.limit) {
            case .failure(let failure): return failure.error
            case .success(let answer) where answer.status == 200: return nil
            // There is none to deregister.
            case .success(let answer)
            where wish == .deregister
                && (answer.status == 404 || answer.text.containsInAnyCase("unknown service")):
                return nil
            case .success(let answer): return refusals.error(answer, call.purpose, at: client.endpoint)
            }
        }
    }
#endif
