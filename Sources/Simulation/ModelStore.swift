package import ClusterModel
import HighAvailability

/// A coordination store in memory: sessions that expire, compare-and-set, linearizable reads. Time is given from outside.
package struct ModelStore {
    package struct Entry<Value> {
        package var value: Value
        package var version: EntryVersion
    }

    package struct Session {
        package var expiresAt: Instant
        package var lifetime: Duration
        /// Before this instant the store never ends it: what deadlines may rely on. It ends later, by the store's ways.
        var promised: Instant
    }

    package var model = StoreModel.plain
    /// Until then nobody may take the leader entry: Consul's lock delay.
    var lockedUntil = Instant.distantPast
    /// The leader entry that the last expiry took away, until somebody has looked.
    var expiredHolding: (name: String, fence: Fence)?
    /// Hands took the leader entry away from a living holder: one of the residual risks.
    var wasLeaderDeleted = false

    package init() {}

    private var draw: UInt64 = 0x9E37
    /// The era that the store's key names; 0: there is none.
    var era: UInt32 { eraEntry?.value ?? 0 }
    package var revision: UInt64 = 100
    package var sessions: [SessionID: Session] = [:]
    private var lastSession = 0

    package var leader: Entry<(name: String, session: SessionID)>?
    package var members: [String: Entry<Member>] = [:]
    package var initialize: Entry<String>?
    package var configuration: Entry<JSONObject>?
    package var failover: Entry<FailoverRequest?>?
    package var status: Entry<ClusterStatus>?
    package var sync: Entry<SyncState>?
    package var history: Entry<TimelineHistory>?
    package var promotions: Entry<PromotionRecords>?
    package var failsafe: Entry<[String: String]>?
    package var eraEntry: Entry<UInt32>?
    package var migration: Entry<MigrationMark>?
    /// Who held the leader entry, one after another.
    package var terms: [(name: String, fence: Fence)] = []

    package mutating func open(lifetime: Duration, at now: Instant) -> SessionID {
        lastSession += 1
        let id = SessionID("s\(lastSession)")
        sessions[id] = Session(expiresAt: expiry(now, lifetime), lifetime: lifetime, promised: now + lifetime)
        return id
    }

    package mutating func touch(_ id: SessionID, at now: Instant) -> Bool {
        expire(at: now)
        guard let session = sessions[id] else { return false }
        // A touch that comes late never takes back what an earlier one gave.
        let until = max(session.expiresAt, expiry(now, session.lifetime))
        sessions[id]?.expiresAt = until
        sessions[id]?.promised = max(session.promised, now + session.lifetime)
        return true
    }

    private mutating func expiry(_ touched: Instant, _ lifetime: Duration) -> Instant {
        draw = draw &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return model.expiry(touched: touched, lifetime: lifetime, draw: draw >> 16)
    }

    /// A new leader of the ensemble: every session begins its lifetime anew.
    mutating func renewAll(at now: Instant) {
        for (id, session) in sessions {
            sessions[id]?.expiresAt = max(session.expiresAt, now + session.lifetime)
            sessions[id]?.promised = max(session.promised, now + session.lifetime)
        }
    }

    /// When the next session ends.
    var nextExpiry: Instant? { sessions.values.map(\.expiresAt).min() }

    /// Ends what has expired; true when something of the cluster went with it.
    @discardableResult
    package mutating func expire(at now: Instant) -> Bool {
        guard sessions.contains(where: { $0.value.expiresAt <= now }) else { return false }
        var changed = false
        for (id, session) in sessions.sorted(by: { $0.key.text < $1.key.text }) where session.expiresAt <= now {
            if let leader, leader.value.session == id {
                expiredHolding = (leader.value.name, Fence(era: era, number: leader.version.created))
                if case .consul(let delay) = model { lockedUntil = now + delay }
            }
            changed = end(id) || changed
        }
        return changed
    }

    @discardableResult
    package mutating func end(_ id: SessionID) -> Bool {
        sessions[id] = nil
        var changed = false
        if leader?.value.session == id {
            leader = nil
            changed = true
        }
        for (name, member) in members where member.value.session == id {
            members[name] = nil
            changed = true
        }
        if changed { revision += 1 }
        return changed
    }

    package mutating func release(_ id: SessionID) -> ChangeOutcome {
        guard leader?.value.session == id else { return .refused("the leader entry is not held by this session") }
        revision += 1
        leader = nil
        return .committed(StoreRevision(era: era, number: revision))
    }

    /// `known` is the highest era that the reader has seen.
    func view(at requested: Instant, known: UInt32 = 0) -> ClusterView {
        var view = ClusterView(
            revision: StoreRevision(era: max(era, known), number: revision), requestedAt: requested)
        view.era = eraEntry?.value
        view.eraVersion = eraEntry?.version
        view.failsafe = failsafe?.value
        view.failsafeVersion = failsafe?.version
        if let leader {
            view.leader = ClusterView.Leader(
                name: leader.value.name, session: leader.value.session, version: leader.version,
                fence: Fence(era: era, number: leader.version.created))
        }
        view.members = members.values.map(\.value).sorted { $0.name < $1.name }
        view.memberVersions = members.mapValues(\.version)
        if let initialize {
            view.initialize =
                initialize.value.isEmpty
                ? .inProgress(initialize.version) : .identifier(initialize.value, initialize.version)
        }
        view.configuration = configuration?.value
        view.configurationVersion = configuration?.version
        view.failover = failover?.value
        view.failoverVersion = failover?.version
        view.status = status?.value
        view.statusVersion = status?.version
        view.sync = sync?.value ?? SyncState()
        view.syncVersion = sync?.version
        view.history = history?.value
        view.historyVersion = history?.version
        view.promotions = promotions?.value ?? PromotionRecords()
        view.promotionsVersion = promotions?.version
        view.migration = migration?.value
        view.migrationVersion = migration?.version
        return view
    }

    package mutating func commit(
        _ change: ClusterChange, name: String, session: SessionID?, at now: Instant = .distantFuture
    ) -> ChangeOutcome {
        if now < lockedUntil, change.writes.contains(where: { if case .acquireLeader = $0 { true } else { false } }) {
            return .refused("the lock delay is not over")
        }
        for condition in change.conditions {
            if let why = objection(condition, name, session) { return .refused(why) }
        }
        for write in change.writes {
            if let why = objection(write, session) { return .refused(why) }
        }
        revision += 1
        // The era counts for the entry that comes with it.
        for write in change.writes { if case .putEra = write { apply(write, name, session) } }
        for write in change.writes {
            if case .putEra = write { continue }
            apply(write, name, session)
        }
        return .committed(StoreRevision(era: era, number: revision))
    }

    private func objection(_ condition: ClusterCondition, _ name: String, _ session: SessionID?) -> String? {
        func compare(_ found: EntryVersion?, _ wanted: EntryVersion?, _ key: String) -> String? {
            found == wanted ? nil : "\(key) has changed"
        }
        switch condition {
        case .leaderAbsent: return leader == nil ? nil : "leader exists"
        case .leaderIsOurs:
            return leader?.value.name == name && leader?.value.session == session ? nil : "leader is not ours"
        case .leaderVersion(let version): return compare(leader?.version, version, "leader")
        case .initializeAbsent: return initialize == nil ? nil : "initialize exists"
        case .initializeVersion(let version): return compare(initialize?.version, version, "initialize")
        case .configurationVersion(let version): return compare(configuration?.version, version, "config")
        case .failoverVersion(let version): return compare(failover?.version, version, "failover")
        case .syncVersion(let version): return compare(sync?.version, version, "sync")
        case .statusVersion(let version): return compare(status?.version, version, "status")
        case .historyVersion(let version): return compare(history?.version, version, "history")
        case .memberVersion(let member, let version): return compare(members[member]?.version, version, member)
        case .eraVersion(let version): return compare(eraEntry?.version, version, "era")
        case .migrationVersion(let version): return compare(migration?.version, version, "migration")
        }
    }

    private func objection(_ write: ClusterWrite, _ session: SessionID?) -> String? {
        switch write {
        case .acquireLeader:
            guard let session, sessions[session] != nil else { return "no session" }
            return leader == nil ? nil : "leader exists"
        case .putMember(let member, let exists):
            guard let session, sessions[session] != nil else { return "no session" }
            let found = members[member.name]
            if exists { return found?.value.session == session ? nil : "member is not ours" }
            return found == nil ? nil : "member exists"
        case .beginInitialize: return initialize == nil ? nil : "initialize exists"
        default: return nil
        }
    }

    private mutating func apply(_ write: ClusterWrite, _ name: String, _ session: SessionID?) {
        func put<Value>(_ entry: inout Entry<Value>?, _ value: Value) {
            let version = EntryVersion(created: entry?.version.created ?? revision, number: revision)
            entry = Entry(value: value, version: version)
        }
        switch write {
        case .acquireLeader:
            put(&leader, (name, session ?? SessionID("")))
            terms.append((name, Fence(era: era, number: revision)))
        case .putMember(var member, _):
            member.session = session
            put(&members[member.name], member)
        case .removeMember(let member): members[member] = nil
        case .beginInitialize: put(&initialize, "")
        case .putInitialize(let text): put(&initialize, text)
        case .removeInitialize: initialize = nil
        case .putConfiguration(let object): put(&configuration, object)
        case .putFailover(let request): put(&failover, request)
        case .putStatus(let value): put(&status, value)
        case .putSync(let value): put(&sync, value)
        case .putHistory(let value): put(&history, value)
        case .putPromotions(let value): put(&promotions, value)
        case .putFailsafe(let value): put(&failsafe, value)
        case .putEra(let value): put(&eraEntry, value)
        case .removeSync: sync = nil
        case .putMigration(let value?): put(&migration, value)
        case .putMigration(nil): migration = nil
        case .removeCopy:
            initialize = nil
            configuration = nil
            status = nil
            history = nil
            promotions = nil
            sync = nil
            eraEntry = nil
            migration = nil
        }
    }

    /// What hands do: another program or an operator changes something.
    package mutating func setConfiguration(_ key: String, _ value: JSONValue) {
        var object = configuration?.value ?? JSONObject()
        object[key] = value
        apply(.putConfiguration(object), "", nil)
        bump()
    }

    package mutating func setFailover(_ request: FailoverRequest?) {
        apply(.putFailover(request), "", nil)
        bump()
    }

    package mutating func putAlien(_ member: Member, session: SessionID) {
        apply(.putMember(member, exists: true), member.name, session)
        bump()
    }

    package mutating func leadAlien(_ name: String, session: SessionID) {
        apply(.acquireLeader, name, session)
        bump()
    }

    package mutating func deleteLeader() {
        leader = nil
        wasLeaderDeleted = true
        bump()
    }

    private mutating func bump() { revision += 1 }
}

extension ModelStore {
    /// An operator's static synchronous state.
    mutating func setSync(_ state: SyncState) {
        revision += 1
        sync = Entry(value: state, version: EntryVersion(created: revision, number: revision))
    }
}

extension ModelStore {
    /// The servers lost all they knew, the sessions too; their numbers begin anew.
    mutating func empty() {
        var fresh = ModelStore()
        keep(&fresh)
        self = fresh
    }

    /// The servers were given an older state of theirs: the sessions in it live once more, from now on.
    mutating func setBack(to older: ModelStore, at now: Instant) {
        var older = older
        keep(&older)
        self = older
        renewAll(at: now)
    }

    /// What is no part of the servers' data: how they keep time, names that are never given twice, and the book of terms.
    private func keep(_ other: inout ModelStore) {
        other.model = model
        other.draw = draw
        other.lastSession = lastSession
        other.terms = terms
        other.wasLeaderDeleted = wasLeaderDeleted
        other.lockedUntil = .distantPast
        other.expiredHolding = nil
    }
}
