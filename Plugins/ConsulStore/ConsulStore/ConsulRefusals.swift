#if Consul
    import PluginInterfaces

    /// What Consul's refusals mean.
    struct ConsulRefusals: Hashable, Sendable {
        var place: KeyPlace
        var registersService = false

        /// The rules that a token needs, for messages.
        var neededPolicy: String {
            "key_prefix \"\(place.root)\" { policy = \"write\" }, session_prefix \"\" { policy = \"write\" }"
                + (registersService ? ", service_prefix \"\" { policy = \"write\" }" : "")
        }

        func notAuthorized(_ purpose: String, _ text: String) -> StoreError {
            StoreError(
                .notAuthorized,
                "Consul does not allow us to \(purpose) (\(text)): set consul.token to a token with \(neededPolicy) "
                    + "(and key_prefix policy \"list\" where acl.enable_key_list_policy is on)")
        }

        /// Whether a refusal came from before anything could be applied.
        static func isWithoutEffect(_ answer: ConsulAnswer) -> Bool {
            switch answer.status {
            case 400..<500: return true
            // Consul's own clients send again after these, for nothing can have changed.
            default:
                let text = String(decoding: answer.body.prefix(1000), as: UTF8.self)
                return text.containsInAnyCase("no cluster leader") || text.containsInAnyCase("failed to get conn")
                    || text.containsInAnyCase("no path to datacenter") || text.containsInAnyCase("rate limit")
                    || text.containsInAnyCase("invalid session ttl")
            }
        }

        /// The error that a status other than 200 stands for.
        func error(_ answer: ConsulAnswer, _ purpose: String, at endpoint: ConsulEndpoint) -> StoreError {
            let text = answer.text
            if answer.status == 403 || answer.status == 401 || text.containsInAnyCase("permission denied")
                || text.containsInAnyCase("acl not found")
            {
                return notAuthorized(purpose, text)
            }
            if text.containsInAnyCase("no path to datacenter") {
                return StoreError(
                    .misconfigured, "\(endpoint) cannot \(purpose): \(text); set consul.dc to a datacenter it knows")
            }
            if text.containsInAnyCase("no cluster leader") {
                return StoreError(.unreachable, "\(endpoint) cannot \(purpose): Consul's servers have no leader")
            }
            switch answer.status {
            case 413: return StoreError(.tooLarge, "\(endpoint) cannot \(purpose): \(text)")
            case 429, 500...: return StoreError(.unreachable, "\(endpoint) cannot \(purpose): \(text)")
            case 300..<500:
                return StoreError(
                    .misconfigured,
                    "\(endpoint) cannot \(purpose): status \(answer.status), \(text); is that Consul's HTTP API?")
            default: return malformed(purpose, at: endpoint)
            }
        }

        func malformed(_ purpose: String, at endpoint: ConsulEndpoint) -> StoreError {
            StoreError(
                .malformed,
                "\(endpoint) answered the request to \(purpose) with what Consul's API does not; is it Consul?")
        }
    }
#endif
