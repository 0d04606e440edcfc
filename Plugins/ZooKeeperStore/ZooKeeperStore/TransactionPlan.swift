#if ZooKeeper
    import ClusterModel
    import PluginInterfaces

    /// A transaction in ZooKeeper's terms. Pure: made from what was just read of the nodes it speaks of.
    ///
    /// ZooKeeper compares nothing but value versions, inside the transaction. So
    /// - `version` is the node's version, and its creation as just read: a node deleted and created anew between that
    ///   read and the transaction is taken for the same if its version is the same. (A fresh node has version 0; the
    ///   limits say that versions do not include creation.)
    /// - `owner` and `value` are judged by what was just read, and the version read is checked in the transaction.
    /// - `absent` is a `create` in the transaction; without one, a create and a delete that cancel each other out, which
    ///   fail if the node exists and leave nothing behind.
    /// - a `put` sets or creates, and a `delete` deletes or does nothing, as the node was just read. If it came or went
    ///   in between, the transaction is refused as a whole, and may be planned and sent once more.
    struct TransactionPlan: Hashable, Sendable {
        /// One operation, and what its failure means.
        struct Step: Hashable, Sendable {
            var operation: Operation
            /// The compare that fails with it.
            var compare: StoreCompare?
            /// Whether it relies on a read alone: then it is planned anew when it fails.
            var isGuess = false
        }

        var steps: [Step]

        /// The keys to be read before the plan is made.
        static func keysToRead(_ transaction: StoreTransaction) -> [StoreKey] {
            var keys: [StoreKey] = []
            func add(_ key: StoreKey) {
                if !keys.contains(key) { keys.append(key) }
            }
            for compare in transaction.compares {
                switch compare {
                case .absent: break
                case .version(let key, _), .owner(let key, _), .value(let key, _): add(key)
                }
            }
            for write in transaction.writes {
                switch write {
                case .create: break
                case .put(let key, _, _), .delete(let key): add(key)
                }
            }
            return keys
        }

        /// Why no plan can be made: the transaction would be refused as things were read.
        struct Refusal: Error, Hashable {
            var compare: StoreCompare?
        }

        /// Makes the plan. `found` has an element for each key that exists.
        init(
            _ transaction: StoreTransaction, found: [StoreKey: Node], path: (StoreKey) -> String
        ) throws(Refusal) {
            var pinned: [StoreKey: (version: Int32, compare: StoreCompare)] = [:]
            var absent: [StoreKey: StoreCompare] = [:]
            for compare in transaction.compares {
                let key: StoreKey
                let holds: Bool
                switch compare {
                case .absent(let name):
                    absent[name] = compare
                    continue
                case .version(let name, let version):
                    key = name
                    holds = found[name]?.stat.entryVersion == version
                case .owner(let name, let session):
                    key = name
                    holds = found[name]?.stat.ownerSession == session
                case .value(let name, let value):
                    key = name
                    holds = found[name]?.value == value
                }
                guard holds, let node = found[key] else { throw Refusal(compare: compare) }
                pinned[key] = (node.stat.version, compare)
            }
            var writes: [Step] = []
            var written: Set<StoreKey> = []
            // What the writes so far leave behind, where they change it.
            var exists: [StoreKey: Bool] = [:]
            for write in transaction.writes {
                switch write {
                case .create(let key, let value, let lifetime):
                    let compare = absent[key] ?? .absent(key)
                    if exists[key] ?? (pinned[key] != nil) { throw Refusal(compare: compare) }
                    writes.append(
                        Step(
                            operation: .create(path: path(key), value: value, isEphemeral: lifetime.isSession),
                            compare: compare))
                    written.insert(key)
                    exists[key] = true
                case .put(let key, let value, let lifetime):
                    let isThere = exists[key] ?? (absent[key] == nil && found[key] != nil)
                    if isThere {
                        if exists[key] == nil, case .session(let session) = lifetime,
                            found[key]?.stat.ownerSession != session
                        {
                            throw Refusal(compare: .owner(key, session))
                        }
                        let pin = written.contains(key) ? nil : pinned[key]
                        writes.append(
                            Step(
                                operation: .set(path: path(key), value: value, version: pin?.version ?? -1),
                                compare: pin?.compare, isGuess: pin == nil && exists[key] == nil))
                    } else {
                        writes.append(
                            Step(
                                operation: .create(path: path(key), value: value, isEphemeral: lifetime.isSession),
                                compare: absent[key], isGuess: absent[key] == nil && exists[key] == nil))
                    }
                    written.insert(key)
                    exists[key] = true
                case .delete(let key):
                    let isThere = exists[key] ?? (absent[key] == nil && found[key] != nil)
                    guard isThere else { continue }
                    let pin = written.contains(key) ? nil : pinned[key]
                    writes.append(
                        Step(
                            operation: .delete(path: path(key), version: pin?.version ?? -1), compare: pin?.compare,
                            isGuess: pin == nil && exists[key] == nil))
                    written.insert(key)
                    exists[key] = false
                }
            }
            var checks: [Step] = []
            for compare in transaction.compares {
                switch compare {
                case .absent(let key):
                    guard !written.contains(key) else { continue }
                    let place = path(key)
                    checks.append(
                        Step(operation: .create(path: place, value: [], isEphemeral: false), compare: compare))
                    checks.append(Step(operation: .delete(path: place, version: -1), compare: compare))
                case .version(let key, _), .owner(let key, _), .value(let key, _):
                    guard !written.contains(key), let pin = pinned[key] else { continue }
                    let check = Operation.check(path: path(key), version: pin.version)
                    guard !checks.contains(where: { $0.operation == check }) else { continue }
                    checks.append(Step(operation: check, compare: compare))
                }
            }
            steps = checks + writes
        }

        /// The bytes that the transaction takes on the wire, roughly and not less.
        var size: Int {
            steps.reduce(64) { sum, step in
                let value =
                    switch step.operation {
                    case .create(_, let value, _), .set(_, let value, _): value.count
                    case .delete, .check: 0
                    }
                return sum + value + step.operation.path.utf8.count + 96
            }
        }
    }

    extension StoreLifetime {
        var isSession: Bool {
            if case .session = self { return true }
            return false
        }
    }
#endif
