#if ZooKeeper
    import ClusterModel
    import PluginInterfaces

    /// Carries out one transaction on one connection. Nothing is sent again unless the server refused it as a whole.
    struct Committer {
        let store: ZooKeeperClusterStore
        let connection: ZooKeeperConnection
        let live: Live
        let deadline: Instant

        /// How often a transaction may be planned: once, again after a guess that failed, again after missing parents.
        private static let rounds = 4

        func commit(_ transaction: StoreTransaction) async -> CommitOutcome {
            let paths = store.paths
            let reader = ZooKeeperReader(handle: live.handle, paths: paths, deadline: deadline)
            let keys = TransactionPlan.keysToRead(transaction)
            var lastRefusal: StoreCompare?
            for _ in 0..<Self.rounds {
                let plan: TransactionPlan
                do throws(CallFailure) {
                    let found = keys.isEmpty ? [:] : try await reader.nodes(keys)
                    do throws(TransactionPlan.Refusal) {
                        plan = try TransactionPlan(transaction, found: found, path: paths.path)
                    } catch {
                        return .refused(error.compare)
                    }
                } catch {
                    // Reading only: the transaction itself was never sent.
                    return .notSent(explain(error))
                }
                if plan.steps.isEmpty { return .committed(StoreRevision(number: store.newest), [:]) }
                if plan.size > store.limits.bytesPerTransaction {
                    return .notSent(StoreError(.tooLarge, "a transaction of about \(plan.size) bytes is too large"))
                }
                guard SystemClock.now() < deadline else {
                    return .notSent(StoreError(.timedOut, "no time was left to send the transaction"))
                }
                switch await send(plan) {
                case .done(let outcome): return outcome
                case .planAgain(let compare): lastRefusal = compare
                case .missingParents(let path, let compare):
                    lastRefusal = compare
                    if let error = await createAncestors(of: path) { return .notSent(error) }
                }
            }
            return .refused(lastRefusal)
        }

        private enum Round {
            case done(CommitOutcome)
            /// Refused as a whole, because a node came or went since it was read.
            case planAgain(StoreCompare?)
            case missingParents(String, StoreCompare?)
        }

        private func send(_ plan: TransactionPlan) async -> Round {
            let operations = plan.steps.map(\.operation)
            let reply = connection.submit(operations, live)
            // Right behind it on the same connection, so that one round trip does for both.
            let created = plan.steps.compactMap { step -> (String, PendingReply<NodeStat>)? in
                guard case .create(let path, _, _) = step.operation, !plan.deletes(path) else { return nil }
                return (path, live.handle.exists(path, watch: false))
            }
            switch await reply.wait(until: deadline) {
            case .success(let stats):
                return .done(await committed(plan, stats, created))
            case .failure(let failure):
                return judge(failure, plan)
            }
        }

        private func committed(
            _ plan: TransactionPlan, _ stats: [NodeStat?], _ created: [(String, PendingReply<NodeStat>)]
        ) async -> CommitOutcome {
            var versions: [StoreKey: EntryVersion] = [:]
            var newest: UInt64 = 0
            for (step, stat) in zip(plan.steps, stats) {
                guard let stat, let key = store.paths.key(step.operation.path) else { continue }
                versions[key] = stat.entryVersion
                newest = max(newest, stat.modified)
            }
            for (path, reply) in created {
                // The server does not tell what it created. If this read fails, or shows a later version, the entry is
                // left out; the transaction is committed all the same.
                guard case .success(let stat) = await reply.wait(until: deadline), let key = store.paths.key(path)
                else { continue }
                let isOurs = !plan.creates(path, ephemeral: true) || stat.ownerSession == live.session
                guard isOurs, versions[key] != nil || stat.version == 0 else { continue }
                if versions[key] == nil { versions[key] = stat.entryVersion }
                newest = max(newest, stat.created)
            }
            store.noteCommit(newest)
            return .committed(StoreRevision(number: max(newest, store.newest)), versions)
        }

        private func judge(_ failure: CallFailure, _ plan: TransactionPlan) -> Round {
            let step = failure.operation.flatMap { plan.steps.indices.contains($0) ? plan.steps[$0] : nil }
            switch (failure.stage, failure.code) {
            case (.notSent, _):
                return .done(.notSent(explain(failure)))
            case (.unknown, _):
                return .done(.unknown(explain(failure)))
            case (.answered, .noNode):
                if let step, case .create(let path, _, _) = step.operation {
                    return .missingParents(path, step.compare)
                }
                return step?.isGuess == true ? .planAgain(step?.compare) : .done(.refused(step?.compare))
            case (.answered, .nodeExists), (.answered, .badVersion):
                return step?.isGuess == true ? .planAgain(step?.compare) : .done(.refused(step?.compare))
            case (.answered, .notEmpty):
                return .done(.refused(step?.compare))
            case (.answered, _):
                // Not authorised, a bad access list, throttled, session moved: refused as a whole by the server.
                return .done(.notSent(explain(failure)))
            }
        }

        /// Creates the permanent nodes above one; an error says why one could not be had.
        private func createAncestors(of path: String) async -> StoreError? {
            for ancestor in KeyPaths.ancestors(path) {
                do throws(CallFailure) {
                    if case .success = await live.handle.exists(ancestor, watch: false).wait(until: deadline) {
                        continue
                    }
                    _ = try await live.handle.createDirectory(ancestor).wait(until: deadline).get()
                } catch {
                    if error.code == .nodeExists { continue }
                    return store.explain(error, "create \(ancestor)", connection, live.generation)
                }
            }
            return nil
        }

        private func explain(_ failure: CallFailure) -> StoreError {
            store.explain(failure, "write to \(store.paths.base)", connection, live.generation)
        }
    }

    extension TransactionPlan {
        /// Whether the plan deletes a node in the end.
        fileprivate func deletes(_ path: String) -> Bool {
            for step in steps.reversed() where step.operation.path == path {
                if case .delete = step.operation { return true }
                return false
            }
            return false
        }

        fileprivate func creates(_ path: String, ephemeral: Bool) -> Bool {
            steps.contains {
                if case .create(path, _, ephemeral) = $0.operation { return true }
                return false
            }
        }
    }
#endif
