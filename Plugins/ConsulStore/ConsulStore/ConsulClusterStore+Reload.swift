#if Consul
    import ClusterModel
    import ConfigurationTree
    import Dispatch
    import PluginInterfaces
    import Synchronization

    extension ConsulClusterStore {
        private static let section = "consul"
        /// How long Consul may take for each request that shows whether it takes what is new.
        private static let trialLimit = Duration.seconds(4)

        /// Takes over the token, hosts and everything about encryption; certificates and keys are read again in any case.
        /// What would cost the session is refused: it is tried first.
        func reconfigure(_ section: ConfigurationNode) async -> StoreReconfiguration {
            let (read, complaints) = ConsulSettings.read(section, path: Self.section)
            guard let wanted = read else { return .refused(complaints) }
            func complaint(
                _ key: String?, _ message: String, _ severity: ConfigurationComplaint.Severity = .error
            ) -> ConfigurationComplaint {
                ConfigurationComplaint(
                    severity, at: key.flatMap { section[$0]?.mark } ?? section.mark,
                    path: Self.section + (key.map { "." + $0 } ?? ""), message)
            }
            let former = settings.withLock { $0 }
            let trial: ConsulClient
            do throws(StoreError) {
                trial = try await Self.client(wanted)
            } catch {
                return .refused(complaints + [complaint(nil, error.message)])
            }
            var taken = former
            taken.endpoints = wanted.endpoints
            taken.encryption = wanted.encryption
            taken.token = wanted.token
            taken.datacenter = wanted.datacenter
            if taken != former || !trial.encrypts(like: client) {
                if let error = await test(trial) {
                    let isSilent = error.code == .unreachable || error.code == .timedOut
                    // Where nobody is reached either way, the change may be the remedy.
                    guard isSilent, await test(client) != nil else {
                        await trial.close()
                        let key = error.code == .notAuthorized && section["token"] != nil ? "token" : nil
                        let why = isSilent ? "what the section named so far answers, this does not: " : ""
                        return .refused(complaints + [complaint(key, why + error.message)])
                    }
                }
                client.adopt(trial)
                // Its query waits where the former section led.
                watch.doubt()
                settings.withLock { $0 = taken }
            } else {
                await trial.close()
            }
            let rest = [
                ("consistency", wanted.consistency != former.consistency), ("checks", wanted.checks != former.checks),
                ("register_service", (wanted.service == nil) != (former.service == nil)),
                ("service_tags", wanted.service?.tags != former.service?.tags),
                ("service_check_interval", wanted.service?.checkInterval != former.service?.checkInterval),
                (
                    "service_check_tls_server_name",
                    wanted.service?.checkServerName != former.service?.checkServerName
                ),
            ]
            // Without the service itself nothing of it counts.
            let isRegistered = wanted.service != nil && former.service != nil
            let warnings = rest.filter { $0.1 && (isRegistered || !$0.0.hasPrefix("service_")) }.map {
                complaint($0.0, "cannot change while the agent runs; restart the agent for it", .warning)
            }
            return .taken(complaints + warnings)
        }

        /// Files may be slow: off the cooperative threads.
        private static func client(_ settings: ConsulSettings) async throws(StoreError) -> ConsulClient {
            let result: Result<ConsulClient, StoreError> = await withCheckedContinuation { continuation in
                DispatchQueue(label: "consul.reload").async {
                    continuation.resume(
                        returning: Result { () throws(StoreError) in try ConsulClient(settings) })
                }
            }
            return try result.get()
        }

        /// Whether a client may read and write the cluster's entries, and renew the session that there is.
        private func test(_ client: ConsulClient) async -> StoreError? {
            let purpose = "try what the section says now"
            func answer(_ call: ConsulCall) async -> Result<ConsulAnswer, StoreError> {
                await client.call(call, within: Self.trialLimit).mapError(\.error)
            }
            func refusal(_ answer: ConsulAnswer) -> StoreError {
                refusals.error(answer, purpose, at: client.endpoint)
            }
            let leader = place.path(leaderKey)
            switch await answer(.get(place.entry(leader), [("consistent", nil)], for: purpose)) {
            case .failure(let error): return error
            case .success(let answer) where answer.status == 200 || (answer.status == 404 && answer.index != nil): break
            case .success(let answer): return refusal(answer)
            }
            guard let anchor = anchor.withLock({ $0 }) else { return nil }
            // A renewal more is no harm; only those of the session itself count.
            switch await answer(ConsulSession.renewal(anchor.session)) {
            case .failure(let error): return error
            case .success(let answer) where answer.status == 200: break
            case .success(let answer) where answer.status == 404:
                return StoreError(
                    .misconfigured,
                    "\(client.endpoint) does not know this agent's session: it belongs to another cluster or datacenter; "
                        + "`matriarch store migrate` moves a cluster to another store")
            case .success(let answer): return refusal(answer)
            }
            // Never done, for no entry has had this index for long; refused already for want of the permission to write.
            let plan = TransactionPlan([
                TransactionPlan.Operation(verb: "cas", path: anchor.path, value: [], index: 1)
            ])
            switch await answer(.put("/v1/txn", body: plan.body, for: purpose)) {
            case .failure(let error): return error
            case .success(let answer) where answer.status == 200: return nil
            case .success(let answer) where answer.status == 409:
                guard case .failed(let problems)? = ConsulReply.transaction(answer.body, isConflict: true) else {
                    return refusals.malformed(purpose, at: client.endpoint)
                }
                return problems.first(where: \.isPermission).map { refusals.notAuthorized(purpose, $0.text) }
            case .success(let answer): return refusal(answer)
            }
        }
    }
#endif
