#if Etcd
    import ClusterModel
    import PluginInterfaces

    /// A transaction in etcd's terms: one `txn`, in which everything is compared and written at one revision. Pure.
    ///
    /// - `version` is the revision of the last change, and that of the creation.
    /// - `owner` is the lease that the key hangs on; `absent` a creation at revision 0.
    /// - What a failed transaction reads tells which compare it was.
    /// - etcd takes one write for each key: several are folded into the last one.
    struct TransactionRequest: Hashable, Sendable {
        /// A condition, and how the server is asked for it.
        private struct Condition: Hashable, Sendable {
            var compare: StoreCompare
            var isFence = false
        }

        private enum Change: Hashable, Sendable {
            case put([UInt8], StoreLifetime)
            case delete
        }

        /// Why nothing is sent.
        enum Problem: Error, Hashable {
            /// It would be refused whatever the store holds.
            case refused(StoreCompare)
            case unfit(StoreError)
        }

        private var conditions: [Condition] = []
        private var changes: [(key: StoreKey, change: Change)] = []
        /// The keys whose creation is known if the transaction succeeds: at its own revision (nil), or at an earlier one.
        private var creations: [StoreKey: UInt64?] = [:]
        private let keys: EtcdKeys

        /// What a fence key has to be: see `SessionFence`.
        struct Fence: Hashable, Sendable {
            var key: StoreKey
            /// Nil: it does not exist.
            var version: EntryVersion?
        }

        init(_ transaction: StoreTransaction, keys: EtcdKeys, fence: Fence?) throws(Problem) {
            self.keys = keys
            for compare in transaction.compares { add(Condition(compare: compare)) }
            var absent: Set<StoreKey> = []
            for case .absent(let key) in transaction.compares { absent.insert(key) }
            for write in transaction.writes {
                switch write {
                case .create(let key, let value, let lifetime):
                    switch change(of: key) {
                    case nil:
                        add(Condition(compare: .absent(key)))
                        absent.insert(key)
                    case .put?: throw .refused(.absent(key))
                    case .delete?:
                        guard absent.contains(key) else { throw .unfit(Self.twice(key)) }
                    }
                    set(key, .put(value, lifetime))
                case .put(let key, let value, let lifetime):
                    if change(of: key) == .delete, !absent.contains(key) { throw .unfit(Self.twice(key)) }
                    set(key, .put(value, lifetime))
                case .delete(let key):
                    set(key, .delete)
                }
            }
            for case .version(let key, let version) in transaction.compares { creations[key] = version.created }
            for key in absent { creations[key] = .some(nil) }
            if let fence {
                let compare = fence.version.map { StoreCompare.version(fence.key, $0) } ?? .absent(fence.key)
                add(Condition(compare: compare, isFence: true))
            }
        }

        private static func twice(_ key: StoreKey) -> StoreError {
            StoreError(
                .misconfigured, "\(key) is to be deleted and written in one transaction, which etcd cannot do")
        }

        private mutating func add(_ condition: Condition) {
            if !conditions.contains(condition) { conditions.append(condition) }
        }

        private func change(of key: StoreKey) -> Change? { changes.first { $0.key == key }?.change }

        private mutating func set(_ key: StoreKey, _ change: Change) {
            if let index = changes.firstIndex(where: { $0.key == key }) {
                changes[index].change = change
            } else {
                changes.append((key, change))
            }
        }

        /// The sessions that entries shall live as long as.
        var sessions: Set<SessionID> {
            var found: Set<SessionID> = []
            for case .put(_, .session(let session)) in changes.map(\.change) { found.insert(session) }
            return found
        }

        /// Whether it writes one of the keys.
        func writes(_ key: StoreKey) -> Bool { change(of: key) != nil }

        var isEmpty: Bool { changes.isEmpty && conditions.allSatisfy(\.isFence) }

        // MARK: Size

        /// etcd's own limit, `max-request-bytes`, less what the envelope takes.
        static let maximumBytes = (3 << 19) - 4096
        /// etcd's own limit, `max-txn-ops`, for compares, for writes and for what is read after a refusal.
        static let serverOperations = 128
        /// What is left beside the fence's version, which is two compares.
        static let maximumOperations = serverOperations - 2

        /// Its bytes on the way to the servers' log, roughly and not less.
        var size: Int {
            var total = 64
            for condition in conditions {
                let length = keys.root.count + condition.compare.key.utf8.count
                // Two compares for a version; and what is read after a refusal.
                total += 3 * (length + 32)
                if case .value(_, let value) = condition.compare { total += value.count }
            }
            for (key, change) in changes {
                total += keys.root.count + key.utf8.count + 48
                if case .put(let value, _) = change { total += value.count }
            }
            return total
        }

        /// Compares or writes, whichever are more, without the fence's own.
        var operations: Int {
            let compares = conditions.reduce(0) { sum, condition in
                if condition.isFence { return sum }
                if case .version = condition.compare { return sum + 2 }
                return sum + 1
            }
            return max(compares, changes.count)
        }

        // MARK: The request

        /// The body of `/v3/kv/txn`.
        func body() throws(Problem) -> JSONValue {
            var compares: [JSONValue] = []
            for condition in conditions { compares += try Self.compares(condition.compare, keys) }
            var writes: [JSONValue] = []
            for (key, change) in changes {
                switch change {
                case .put(let value, let lifetime):
                    var put: JSONObject = ["key": .string(keys.encoded(key)), "value": .string(Base64.encode(value))]
                    if case .session(let session) = lifetime {
                        guard let lease = LeaseID(text: session.text) else {
                            throw .unfit(StoreError(.sessionLost, "'\(session)' is no session of etcd"))
                        }
                        put["lease"] = .string(String(lease.number))
                    }
                    // For the creation, which is a part of the version.
                    if creations[key] == nil { put["prev_kv"] = true }
                    writes.append(["request_put": .object(put)])
                case .delete:
                    writes.append(["request_delete_range": ["key": .string(keys.encoded(key))]])
                }
            }
            if writes.isEmpty {
                // With nothing but compares a member would answer by itself, however old its state is.
                writes.append([
                    "request_range": ["key": .string(keys.encoded(EtcdKeys.leader)), "count_only": true]
                ])
            }
            return [
                "compare": .array(compares), "success": .array(writes),
                "failure": .array(
                    readKeys.map { key, withValue in
                        var range: JSONObject = ["key": .string(keys.encoded(key))]
                        if !withValue { range["keys_only"] = true }
                        return ["request_range": .object(range)]
                    }),
            ]
        }

        private static func compares(_ compare: StoreCompare, _ keys: EtcdKeys) throws(Problem) -> [JSONValue] {
            let key = JSONValue.string(keys.encoded(compare.key))
            switch compare {
            case .absent: return [["key": key, "target": "CREATE", "create_revision": "0"]]
            case .version(_, let version):
                return [
                    ["key": key, "target": "MOD", "mod_revision": .string(String(version.number))],
                    ["key": key, "target": "CREATE", "create_revision": .string(String(version.created))],
                ]
            case .owner(_, let session):
                // Something that is no lease owns nothing.
                guard let lease = LeaseID(text: session.text) else { throw .refused(compare) }
                return [["key": key, "target": "LEASE", "lease": .string(String(lease.number))]]
            case .value(_, let value):
                return [["key": key, "target": "VALUE", "value": .string(Base64.encode(value))]]
            }
        }

        /// What to read after a refusal: each key once.
        private var readKeys: [(key: StoreKey, withValue: Bool)] {
            var result: [(key: StoreKey, withValue: Bool)] = []
            for condition in conditions {
                var isValue = condition.isFence
                if case .value = condition.compare { isValue = true }
                if let index = result.firstIndex(where: { $0.key == condition.compare.key }) {
                    result[index].withValue = result[index].withValue || isValue
                } else {
                    result.append((condition.compare.key, isValue))
                }
            }
            return result
        }

        // MARK: The answer

        enum Outcome: Hashable {
            case committed([StoreKey: EntryVersion])
            case refused(StoreCompare?)
            /// The session's fence is not as it was expected to be; this is how it is.
            case fenced(KeyValue?)
        }

        /// Reads the answer; nil when it cannot be understood.
        func outcome(_ answer: GatewayAnswer) -> Outcome? {
            let responses = answer.body["responses"]?.array ?? []
            guard answer.body["succeeded"]?.bool == true else { return refusal(responses) }
            var versions: [StoreKey: EntryVersion] = [:]
            for (index, (key, change)) in changes.enumerated() {
                guard case .put = change else { continue }
                var created = creations[key] ?? nil
                if creations[key] == nil {
                    guard responses.indices.contains(index),
                        let put = responses[index]["response_put"]
                    else { continue }
                    if let previous = put["prev_kv"] { created = KeyValue(previous)?.created }
                }
                versions[key] = EntryVersion(
                    created: created ?? answer.header.revision, number: answer.header.revision)
            }
            return .committed(versions)
        }

        private func refusal(_ responses: [JSONValue]) -> Outcome? {
            var found: [StoreKey: KeyValue] = [:]
            for (index, (key, _)) in readKeys.enumerated() {
                guard responses.indices.contains(index),
                    let list = GatewayAnswer.keyValues(responses[index]["response_range"])
                else { return .refused(nil) }
                found[key] = list.first
            }
            var fence: KeyValue??
            for condition in conditions where !Self.holds(condition.compare, found[condition.compare.key]) {
                guard condition.isFence else { return .refused(condition.compare) }
                fence = .some(found[condition.compare.key])
            }
            if let fence { return .fenced(fence) }
            return .refused(nil)
        }

        static func holds(_ compare: StoreCompare, _ found: KeyValue?) -> Bool {
            switch compare {
            case .absent: found == nil
            case .version(_, let version): found?.version == version
            case .owner(_, let session): found?.lease?.text == session.text
            case .value(_, let value): found.map { $0.value == value } ?? false
            }
        }

        static func == (left: TransactionRequest, right: TransactionRequest) -> Bool {
            left.conditions == right.conditions && left.changes.map(\.key) == right.changes.map(\.key)
                && left.changes.map(\.change) == right.changes.map(\.change)
        }

        func hash(into hasher: inout Hasher) { hasher.combine(conditions) }
    }

    extension StoreCompare {
        var key: StoreKey {
            switch self {
            case .absent(let key), .version(let key, _), .owner(let key, _), .value(let key, _): key
            }
        }
    }
#endif
