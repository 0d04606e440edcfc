#if Consul
    import ClusterModel
    import PluginInterfaces

    /// The entry that stands for our session, as this instance left it.
    struct SessionAnchor: Hashable, Sendable {
        var session: String
        var path: String
        /// Its ModifyIndex. Whoever rewrites it makes every transaction fail that was sent before.
        var index: UInt64
        /// Names the instance that has the session; another one that takes it up leaves another number.
        var instance: UInt32
        /// Grows with each rewriting.
        var round: UInt16 = 0

        /// What the entry's flags are: below 2^53, which is as far as every JSON reader is exact.
        var flags: UInt64 { UInt64(instance) << 16 | UInt64(round) }

        /// Whether an entry is this anchor, in whatever round.
        func isOurs(_ entry: ConsulEntry) -> Bool {
            entry.session == session && entry.flags >> 16 == UInt64(instance)
        }
    }

    /// A transaction as the operations that Consul's `txn` takes: the checks first, in order, then the writes.
    ///
    /// - `absent` is `check-not-exists`, `version` is `check-index` (a ModifyIndex never comes twice, so that it tells an
    ///   entry from its re-creation), `owner` is `check-session`.
    /// - Consul compares no values. A value that was read under an index is compared by that index: a *guess*, for the same
    ///   value may have been written again since. When it fails the entry is read anew.
    /// - What hangs on a session is written by `lock`. The anchor's `check-index` comes before everything else, so that
    ///   `resolve` and later instances can make sure that the transaction never takes effect any more.
    struct TransactionPlan: Sendable {
        /// Consul refuses more.
        static let mostOperations = 64
        /// Of the whole request (`txn_max_req_len`), in which values take four thirds of their size.
        static let mostBytes = 512 * 1024
        /// What fits into a request together with what goes along with it.
        static let mostValueBytes = 384_000

        struct Operation: Hashable, Sendable {
            var verb: String
            var path: String
            var value: [UInt8]?
            var session: String?
            var index: UInt64?
            var flags: UInt64?
            /// What it tests, for the answer.
            var compare: StoreCompare?
            /// Whether its failure says only that what is known of the entry is out of date.
            var isGuess = false
        }

        /// The transaction cannot succeed, as far as is known.
        struct Refusal: Error, Hashable, Sendable {
            var compare: StoreCompare
        }

        private(set) var operations: [Operation] = []
        /// The keys that are there afterwards, for the answer.
        private(set) var written: Set<StoreKey> = []

        /// `known` are entries by path, of which the value compares need theirs.
        init(
            _ transaction: StoreTransaction, at place: KeyPlace, known: [String: ConsulEntry], anchor: SessionAnchor?
        ) throws(Refusal) {
            if let anchor {
                operations.append(
                    Operation(verb: "check-index", path: anchor.path, index: anchor.index, isGuess: true))
            }
            var absent: Set<StoreKey> = []
            for compare in transaction.compares {
                switch compare {
                case .absent(let key):
                    absent.insert(key)
                    operations.append(
                        Operation(verb: "check-not-exists", path: place.path(key), compare: compare))
                case .version(let key, let version):
                    operations.append(
                        Operation(
                            verb: "check-index", path: place.path(key), index: version.number, compare: compare))
                case .owner(let key, let session):
                    operations.append(
                        Operation(
                            verb: "check-session", path: place.path(key), session: session.text, compare: compare))
                case .value(let key, let value):
                    guard let entry = known[place.path(key)], entry.value == value else {
                        throw Refusal(compare: compare)
                    }
                    operations.append(
                        Operation(
                            verb: "check-index", path: entry.key, index: entry.modifyIndex, compare: compare,
                            isGuess: true))
                }
            }
            var touched: Set<StoreKey> = []
            for write in transaction.writes {
                let isFirst = touched.insert(write.key).inserted
                let path = place.path(write.key)
                switch write {
                case .create(let key, let value, .permanent):
                    if isFirst, absent.contains(key) {
                        operations.append(Operation(verb: "set", path: path, value: value))
                    } else {
                        // Index 0: only where there is none.
                        operations.append(
                            Operation(verb: "cas", path: path, value: value, index: 0, compare: .absent(key)))
                    }
                    written.insert(key)
                case .create(let key, let value, .session(let session)):
                    if !isFirst || !absent.contains(key) {
                        operations.append(Operation(verb: "check-not-exists", path: path, compare: .absent(key)))
                    }
                    operations.append(
                        Operation(
                            verb: "lock", path: path, value: value, session: session.text,
                            compare: .owner(key, session)))
                    written.insert(key)
                case .put(let key, let value, .permanent):
                    operations.append(Operation(verb: "set", path: path, value: value))
                    written.insert(key)
                case .put(let key, let value, .session(let session)):
                    operations.append(
                        Operation(
                            verb: "lock", path: path, value: value, session: session.text,
                            compare: .owner(key, session)))
                    written.insert(key)
                case .delete(let key):
                    operations.append(Operation(verb: "delete", path: path))
                    written.remove(key)
                }
            }
        }

        /// Operations given one by one: the plugin's own.
        init(_ operations: [Operation]) {
            self.operations = operations
        }

        /// The request's body.
        var body: String {
            JSONValue.array(
                operations.map { operation in
                    var object = JSONObject([("Verb", .string(operation.verb)), ("Key", .string(operation.path))])
                    if let value = operation.value { object["Value"] = .string(Base64.encode(value)) }
                    if let session = operation.session { object["Session"] = .string(session) }
                    if let index = operation.index { object["Index"] = .integer(Int64(clamping: index)) }
                    if let flags = operation.flags { object["Flags"] = .integer(Int64(clamping: flags)) }
                    return .object(["KV": .object(object)])
                }
            ).serialized()
        }
    }

    extension StoreWrite {
        var key: StoreKey {
            switch self {
            case .create(let key, _, _), .put(let key, _, _), .delete(let key): key
            }
        }
    }
#endif
