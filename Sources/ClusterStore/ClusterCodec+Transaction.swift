public import ClusterModel
public import PluginInterfaces

extension ClusterCodec {
    /// The transaction that makes a change. Throws, without having sent anything, when the change cannot be put into
    /// this store: no session for what hangs on one, a name that is no key, something over the store's limits.
    public static func transaction(
        for change: ClusterChange, id: TransactionID, name: String, session: SessionID?, limits: StoreLimits
    ) throws(StoreError) -> StoreTransaction {
        var transaction = StoreTransaction(id: id, compares: [], writes: [])
        for condition in change.conditions {
            for compare in try compares(for: condition, name: name, session: session) {
                append(compare, to: &transaction)
            }
        }
        for write in change.writes {
            try append(write, name: name, session: session, to: &transaction)
        }
        try check(transaction, against: limits)
        return transaction
    }

    private static func compares(
        for condition: ClusterCondition, name: String, session: SessionID?
    ) throws(StoreError) -> [StoreCompare] {
        func version(_ key: StoreKey, _ version: EntryVersion?) -> [StoreCompare] {
            [version.map { .version(key, $0) } ?? .absent(key)]
        }
        return switch condition {
        case .leaderAbsent: [.absent(ClusterKey.leader)]
        case .leaderIsOurs:
            // Value and session: an entry with our name may be an earlier instance's.
            [
                .owner(ClusterKey.leader, try needed(session, for: "a check of the leader entry")),
                .value(ClusterKey.leader, Array(name.utf8)),
            ]
        case .leaderVersion(let seen): version(ClusterKey.leader, seen)
        case .initializeAbsent: [.absent(ClusterKey.initialize)]
        case .initializeVersion(let seen): version(ClusterKey.initialize, seen)
        case .configurationVersion(let seen): version(ClusterKey.configuration, seen)
        case .failoverVersion(let seen): version(ClusterKey.failover, seen)
        case .syncVersion(let seen): version(ClusterKey.sync, seen)
        case .statusVersion(let seen): version(ClusterKey.status, seen)
        case .historyVersion(let seen): version(ClusterKey.history, seen)
        case .memberVersion(let member, let seen): version(try memberKey(member), seen)
        case .eraVersion(let seen): version(ClusterKey.era, seen)
        case .migrationVersion(let seen): version(ClusterKey.migration, seen)
        }
    }

    private static func append(
        _ write: ClusterWrite, name: String, session: SessionID?, to transaction: inout StoreTransaction
    ) throws(StoreError) {
        func put(_ key: StoreKey, _ value: JSONValue) {
            transaction.writes.append(.put(key, Array(value.serialized().utf8), .permanent))
        }
        switch write {
        case .acquireLeader:
            guard !name.isEmpty else { throw StoreError(.misconfigured, "a leader needs a name") }
            let session = try needed(session, for: "the leader entry")
            transaction.writes.append(.create(ClusterKey.leader, Array(name.utf8), .session(session)))
        case .putMember(let member, let exists):
            let key = try memberKey(member.name)
            let session = try needed(session, for: key)
            let value = Array(member.storedValue().serialized().utf8)
            if exists {
                // Ours by session, not by name: never write over what another instance with our name put there.
                append(.owner(key, session), to: &transaction)
                transaction.writes.append(.put(key, value, .session(session)))
            } else {
                transaction.writes.append(.create(key, value, .session(session)))
            }
        case .removeMember(let member): transaction.writes.append(.delete(try memberKey(member)))
        case .beginInitialize: transaction.writes.append(.create(ClusterKey.initialize, [], .permanent))
        case .putInitialize(let identifier):
            transaction.writes.append(.put(ClusterKey.initialize, Array(identifier.utf8), .permanent))
        case .removeInitialize: transaction.writes.append(.delete(ClusterKey.initialize))
        case .putConfiguration(let object): put(ClusterKey.configuration, .object(object))
        case .putFailover(let request): put(ClusterKey.failover, request?.storedValue() ?? [:])
        case .putStatus(let status): put(ClusterKey.status, status.storedValue())
        case .putSync(let state): put(ClusterKey.sync, state.storedValue())
        case .putHistory(let history): put(ClusterKey.history, history.storedValue())
        case .putPromotions(let records): put(ClusterKey.promotions, records.storedValue())
        case .putFailsafe(let members):
            let ordered = members.sorted { $0.key < $1.key }.map { ($0.key, JSONValue.string($0.value)) }
            put(ClusterKey.failsafe, .object(JSONObject(ordered)))
        case .putEra(let era):
            transaction.writes.append(.put(ClusterKey.era, Array(String(era).utf8), .permanent))
        case .removeSync: transaction.writes.append(.delete(ClusterKey.sync))
        case .removeCopy: transaction.writes += ClusterKey.copied.map { .delete($0) }
        case .putMigration(let mark?): put(ClusterKey.migration, mark.storedValue())
        case .putMigration(nil): transaction.writes.append(.delete(ClusterKey.migration))
        }
    }

    /// Conditions may say the same twice (`leaderIsOurs` with a member's rewrite); a store need not compare twice.
    private static func append(_ compare: StoreCompare, to transaction: inout StoreTransaction) {
        if !transaction.compares.contains(compare) { transaction.compares.append(compare) }
    }

    private static func needed(_ session: SessionID?, for what: String) throws(StoreError) -> SessionID {
        guard let session else { throw StoreError(.sessionLost, "no session is open, which \(what) needs") }
        return session
    }

    private static func memberKey(_ name: String) throws(StoreError) -> StoreKey {
        let key = ClusterKey.member(name)
        guard ClusterKey.memberName(of: key) != nil else {
            throw StoreError(.misconfigured, "'\(name)' cannot be a member's name: it is empty or has a slash in it")
        }
        return key
    }

    private static func check(_ transaction: StoreTransaction, against limits: StoreLimits) throws(StoreError) {
        let operations = transaction.compares.count + transaction.writes.count
        guard operations <= limits.operationsPerTransaction else {
            throw StoreError(
                .tooLarge, "\(operations) operations; the store takes \(limits.operationsPerTransaction) at once")
        }
        var total = 0
        for write in transaction.writes {
            guard let (key, value) = write.content else { continue }
            guard value.count <= limits.bytesPerValue else {
                throw StoreError(
                    .tooLarge, "\(key) would have \(value.count) bytes; the store takes \(limits.bytesPerValue)")
            }
            total += key.utf8.count + value.count
        }
        guard total <= limits.bytesPerTransaction else {
            throw StoreError(
                .tooLarge, "a transaction of \(total) bytes; the store takes \(limits.bytesPerTransaction)")
        }
    }
}

extension StoreWrite {
    /// What is written where; nothing for a deletion.
    fileprivate var content: (key: StoreKey, value: [UInt8])? {
        switch self {
        case .create(let key, let value, _), .put(let key, let value, _): (key, value)
        case .delete: nil
        }
    }
}
