#if Etcd
    import ClusterModel
    import PluginInterfaces

    /// Reads keys from one endpoint as they were together at one revision.
    struct EtcdReader: Sendable {
        let cluster: EtcdCluster
        let deadline: Instant

        /// Keys in one answer; a cluster has a dozen.
        static let pageSize = 1000

        /// Reads from whoever answers first.
        func read(
            _ selection: KeySelection, _ consistency: StoreConsistency
        ) async throws(StoreError) -> StoreSnapshot {
            try await cluster.race("read \(cluster.keys.name)", until: deadline) { [self] endpoint in
                await read(selection, consistency, at: endpoint)
            }.get()
        }

        private func read(
            _ selection: KeySelection, _ consistency: StoreConsistency, at endpoint: Endpoint
        ) async -> Result<StoreSnapshot, GatewayFailure> {
            do throws(GatewayFailure) {
                if case .atLeast(let revision) = consistency,
                    let snapshot = try await own(selection, revision, endpoint)
                {
                    return .success(snapshot)
                }
                var attempts = 0
                while true {
                    attempts += 1
                    do throws(GatewayFailure) {
                        return .success(try await pass(selection, isSerializable: false, at: endpoint))
                    } catch {
                        // Overtaken by another answer, or compacted between two pages.
                        let isPassing = error.refusal?.kind == .unfit || error.refusal?.kind == .compacted
                        guard isPassing, attempts < 3, cluster.isIntroduced(endpoint) else { throw error }
                    }
                }
            } catch {
                return .failure(error)
            }
        }

        /// What the member has by itself; nil when that is not new enough.
        private func own(
            _ selection: KeySelection, _ revision: StoreRevision, _ endpoint: Endpoint
        ) async throws(GatewayFailure) -> StoreSnapshot? {
            // A revision of another era says nothing of this one.
            guard revision.era == cluster.era else { return nil }
            do throws(GatewayFailure) {
                let snapshot = try await pass(selection, isSerializable: true, at: endpoint)
                return snapshot.revision >= revision ? snapshot : nil
            } catch {
                guard error.refusal?.kind == .unfit else { throw error }
                return nil
            }
        }

        private func pass(
            _ selection: KeySelection, isSerializable: Bool, at endpoint: Endpoint
        ) async throws(GatewayFailure) -> StoreSnapshot {
            let before = cluster.before
            let requestedAt = SystemClock.now()
            let (header, found) =
                switch selection {
                case .all: try await range(isSerializable, endpoint)
                case .keys(let keys) where keys.count <= TransactionRequest.maximumOperations && !keys.isEmpty:
                    try await gets(keys, isSerializable, endpoint)
                case .keys: try await range(isSerializable, endpoint)
                }
            try cluster.admit(header, from: endpoint, isCurrent: !isSerializable, before: before)
            var wanted: Set<StoreKey>?
            if case .keys(let keys) = selection { wanted = Set(keys) }
            let entries = found.compactMap { keyValue -> StoreEntry? in
                guard let key = cluster.keys.key(keyValue.key), !EtcdKeys.isFence(key), wanted?.contains(key) ?? true
                else { return nil }
                return keyValue.entry(key)
            }
            return StoreSnapshot(
                revision: StoreRevision(era: cluster.era, number: header.revision), entries: entries, isCut: true,
                requestedAt: requestedAt)
        }

        private func range(
            _ isSerializable: Bool, _ endpoint: Endpoint
        ) async throws(GatewayFailure) -> (AnswerHeader, [KeyValue]) {
            var first: AnswerHeader?
            var found: [KeyValue] = []
            var start = cluster.keys.encodedRoot
            while true {
                var body: JSONObject = [
                    "key": .string(start), "range_end": .string(cluster.keys.encodedEnd),
                    "limit": .string(String(Self.pageSize)),
                ]
                if isSerializable { body["serializable"] = true }
                // Later pages are of the revision of the first.
                if let first { body["revision"] = .string(String(first.revision)) }
                let answer = try await cluster.call("/v3/kv/range", .object(body), at: endpoint, until: deadline)
                guard let page = GatewayAnswer.keyValues(.object(answer.body)) else { throw Self.malformed(endpoint) }
                found += page
                let header = first ?? answer.header
                guard answer.body["more"]?.bool == true, let last = page.last else { return (header, found) }
                guard header.revision > 0, header.member == answer.header.member, found.count < 1_000_000 else {
                    throw EtcdCluster.unfit("\(endpoint) gave the pages of one answer from several members")
                }
                first = header
                start = Base64.encode(last.key + [0])
            }
        }

        private func gets(
            _ keys: [StoreKey], _ isSerializable: Bool, _ endpoint: Endpoint
        ) async throws(GatewayFailure) -> (AnswerHeader, [KeyValue]) {
            let ranges = keys.map { key -> JSONValue in
                var range: JSONObject = ["key": .string(cluster.keys.encoded(key))]
                if isSerializable { range["serializable"] = true }
                return ["request_range": .object(range)]
            }
            let answer = try await cluster.call(
                "/v3/kv/txn", ["success": .array(ranges)], at: endpoint, until: deadline)
            let responses = answer.body["responses"]?.array ?? []
            guard responses.count == keys.count else { throw Self.malformed(endpoint) }
            var found: [KeyValue] = []
            for response in responses {
                guard let list = GatewayAnswer.keyValues(response["response_range"]) else {
                    throw Self.malformed(endpoint)
                }
                for keyValue in list where !found.contains(where: { $0.key == keyValue.key }) { found.append(keyValue) }
            }
            return (answer.header, found)
        }

        static func malformed(_ endpoint: Endpoint) -> GatewayFailure {
            GatewayFailure(stage: .malformed, message: "\(endpoint) gave keys that cannot be read")
        }
    }
#endif
