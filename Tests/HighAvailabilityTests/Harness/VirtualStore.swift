import ClusterModel
import HighAvailability

/// A coordination store in memory: sessions that expire, compare-and-set, linearizable reads. Time is given from outside.
struct VirtualStore {
    struct Entry<Value> {
        var value: Value
        var version: EntryVersion
    }

    struct Session {
        var expiresAt: Instant
        var lifetime: Duration
    }

    var revision: UInt64 = 100
    var sessions: [SessionID: Session] = [:]
    private var lastSession = 0

    var leader: Entry<(name: String, session: SessionID)>?
    var members: [String: Entry<Member>] = [:]
    var initialize: Entry<String>?
    var configuration: Entry<JSONObject>?
    var failover: Entry<FailoverRequest?>?
    var status: Entry<ClusterStatus>?
    var sync: Entry<SyncState>?
    var history: Entry<TimelineHistory>?
    var promotions: Entry<PromotionRecords>?
    /// Who held the leader entry, one after another.
    var terms: [(name: String, fence: Fence)] = []

    mutating func open(lifetime: Duration, at now: Instant) -> SessionID {
        lastSession += 1
        let id = SessionID("s\(lastSession)")
        sessions[id] = Session(expiresAt: now + lifetime, lifetime: lifetime)
        return id
    }

    mutating func touch(_ id: SessionID, at now: Instant) -> Bool {
        expire(at: now)
        guard let session = sessions[id] else { return false }
        sessions[id]?.expiresAt = now + session.lifetime
        return true
    }

    /// Ends what has expired; true when something of the cluster went with it.
    @discardableResult
    mutating func expire(at now: Instant) -> Bool {
        var changed = false
        for (id, session) in sessions.sorted(by: { $0.key.text < $1.key.text }) where session.expiresAt <= now {
            changed = end(id) || changed
        }
        return changed
    }

    @discardableResult
    mutating func end(_ id: SessionID) -> Bool {
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

    mutating func release(_ id: SessionID) -> ChangeOutcome {
        guard leader?.value.session == id else { return .refused("the leader entry is not held by this session") }
        revision += 1
        leader = nil
        return .committed(StoreRevision(number: revision))
    }

    func view(at requested: Instant) -> ClusterView {
        var view = ClusterView(revision: StoreRevision(number: revision), requestedAt: requested)
        if let leader {
            view.leader = ClusterView.Leader(
                name: leader.value.name, session: leader.value.session, version: leader.version,
                fence: Fence(era: 0, number: leader.version.created))
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
        return view
    }

    mutating func commit(_ change: ClusterChange, name: String, session: SessionID?) -> ChangeOutcome {
        for condition in change.conditions {
            if let why = objection(condition, name, session) { return .refused(why) }
        }
        for write in change.writes {
            if let why = objection(write, session) { return .refused(why) }
        }
        revision += 1
        for write in change.writes { apply(write, name, session) }
        return .committed(StoreRevision(number: revision))
    }

    private func objection(_ condition: ClusterCondition, _ name: String, _ session: SessionID?) -> String? {
        func compare(_ found: EntryVersion?, _ wanted: EntryVersion?, _ key: String) -> String? {
            found == wanted ? nil : "\(key) has changed"
        }
        switch condition {
        case .leaderAbsent: return leader == nil ? nil : "leader exists"
        case .leaderIsOurs:
            return leader?.value.name == name && leader?.value.session == session ? nil : "leader is not ours"
        case .initializeAbsent: return initialize == nil ? nil : "initialize exists"
        case .initializeVersion(let version): return compare(initialize?.version, version, "initialize")
        case .configurationVersion(let version): return compare(configuration?.version, version, "config")
        case .failoverVersion(let version): return compare(failover?.version, version, "failover")
        case .syncVersion(let version): return compare(sync?.version, version, "sync")
        case .statusVersion(let version): return compare(status?.version, version, "status")
        case .historyVersion(let version): return compare(history?.version, version, "history")
        case .memberVersion(let member, let version): return compare(members[member]?.version, version, member)
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
            terms.append((name, Fence(era: 0, number: revision)))
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
        }
    }

    /// What hands do: another program or an operator changes something.
    mutating func setConfiguration(_ key: String, _ value: JSONValue) {
        var object = configuration?.value ?? JSONObject()
        object[key] = value
        apply(.putConfiguration(object), "", nil)
        bump()
    }

    mutating func setFailover(_ request: FailoverRequest?) {
        apply(.putFailover(request), "", nil)
        bump()
    }

    mutating func putAlien(_ member: Member, session: SessionID) {
        apply(.putMember(member, exists: true), member.name, session)
        bump()
    }

    mutating func leadAlien(_ name: String, session: SessionID) {
        apply(.acquireLeader, name, session)
        bump()
    }

    mutating func deleteLeader() {
        leader = nil
        bump()
    }

    private mutating func bump() { revision += 1 }
}
