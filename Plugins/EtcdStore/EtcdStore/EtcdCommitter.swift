#if Etcd
    import ClusterModel
    import PluginInterfaces

    /// Carries out one transaction. Nothing is sent again unless the servers certainly did nothing with it.
    struct EtcdCommitter: Sendable {
        let cluster: EtcdCluster

        /// Below the servers' own limits (`max-request-bytes` 1.5 MiB, `max-txn-ops` 128, unless they were told otherwise);
        /// two compares are those of the session's fence.
        static let limits = StoreLimits(
            bytesPerValue: 1_400_000, bytesPerTransaction: 1_500_000,
            operationsPerTransaction: TransactionRequest.maximumOperations, versionsIncludeCreation: true)

        /// Commits under the fence of a session; without one, as it is.
        func commit(
            _ transaction: StoreTransaction, session: EtcdSession?, until deadline: Instant
        ) async -> CommitOutcome {
            if cluster.isClosed { return .notSent(StoreError(.closed, "the etcd store was closed")) }
            for write in transaction.writes {
                guard let (key, count) = write.size, count > Self.limits.bytesPerValue else { continue }
                return .notSent(
                    StoreError(
                        .tooLarge,
                        "the value of \(cluster.keys.name)\(key) has \(count) bytes; etcd takes \(Self.limits.bytesPerValue)"
                    ))
            }
            // Only a fence that moved makes a second round: nothing was done in the first.
            for _ in 0..<4 {
                do throws(TransactionRequest.Problem) {
                    let request = try TransactionRequest(transaction, keys: cluster.keys, fence: session?.fence)
                    if let error = objection(request, session) { return .notSent(error) }
                    if request.isEmpty { return .committed(cluster.newest, [:]) }
                    let body = try request.body()
                    switch await send(request, body, session, until: deadline) {
                    case .done(let outcome): return outcome
                    case .fenced(let found):
                        guard let session, session.adopt(fence: found) else {
                            return .notSent(StoreError(.sessionLost, EtcdSession.takenOver))
                        }
                    }
                } catch {
                    switch error {
                    case .refused(let compare): return .refused(compare)
                    case .unfit(let error): return .notSent(error)
                    }
                }
            }
            return .notSent(StoreError(.unreachable, "the session's fence moves faster than it can be read"))
        }

        private func objection(_ request: TransactionRequest, _ session: EtcdSession?) -> StoreError? {
            for wanted in request.sessions where wanted != session?.id {
                let now = session.map { "now is \($0.id)" } ?? "none is open"
                return StoreError(.sessionLost, "entries for session \(wanted) need that session; \(now)")
            }
            if request.operations > TransactionRequest.maximumOperations
                || request.size > TransactionRequest.maximumBytes
            {
                return StoreError(
                    .tooLarge,
                    "a transaction of about \(request.size) bytes and \(request.operations) operations; etcd takes "
                        + "\(TransactionRequest.maximumBytes) bytes and \(TransactionRequest.maximumOperations) operations"
                )
            }
            return nil
        }

        private enum Sent {
            case done(CommitOutcome)
            case fenced(KeyValue?)
        }

        private func send(
            _ request: TransactionRequest, _ body: JSONValue, _ session: EtcdSession?, until deadline: Instant
        ) async -> Sent {
            guard SystemClock.now() < deadline else {
                return .done(.notSent(StoreError(.timedOut, "no time was left to send the transaction")))
            }
            switch await cluster.sequence("/v3/kv/txn", body, until: deadline, isRepeatable: false) {
            case .success(let (answer, endpoint)):
                switch request.outcome(answer) {
                case .committed(let versions)?:
                    session?.sawCommit(versions, deletesLeader: request.writes(EtcdKeys.leader))
                    return .done(
                        .committed(StoreRevision(era: cluster.era, number: answer.header.revision), versions))
                case .refused(let compare)?: return .done(.refused(compare))
                case .fenced(let found)?: return .fenced(found)
                case nil:
                    return .done(.unknown(StoreError(.malformed, "\(endpoint) gave no usable answer to a transaction")))
                }
            case .failure(let failure):
                let error = failure.error("write to \(cluster.keys.name)")
                guard failure.isCertain else { return .done(.unknown(error)) }
                if cluster.isClosed { return .done(.notSent(StoreError(.closed, "the etcd store was closed"))) }
                // Judged where the transaction would have been applied: the lease is no more.
                if failure.refusal?.kind == .leaseNotFound { session?.lose("its lease has expired or was revoked") }
                return .done(.notSent(error))
            }
        }
    }

    extension StoreWrite {
        /// The value's bytes; nil for a deletion.
        fileprivate var size: (StoreKey, Int)? {
            switch self {
            case .create(let key, let value, _), .put(let key, let value, _): (key, value.count)
            case .delete: nil
            }
        }
    }
#endif
