/// One write of cluster meaning; `ClusterStore` turns it into the store's entries.
public enum ClusterWrite: Hashable, Sendable {
    /// The leader entry with our name, bound to our session; refused by the store when one exists.
    case acquireLeader
    /// Our member entry, bound to our session; rewritten when it exists and is ours.
    case putMember(Member, exists: Bool)
    /// Deletes a member entry under our name which another session left behind.
    case removeMember(String)
    /// Wins the right to bootstrap: an empty entry, refused when one exists.
    case beginInitialize
    case putInitialize(String)
    case removeInitialize
    case putConfiguration(JSONObject)
    case putFailover(FailoverRequest?)
    case putStatus(ClusterStatus)
    case putSync(SyncState)
    case putHistory(TimelineHistory)
    case putPromotions(PromotionRecords)
    /// Who has to grant before a leader may go on without the store, by name: the URLs of their REST APIs.
    case putFailsafe([String: String])
    /// A new era of the site's fencing numbers: with a store that went back, and with each move to another store.
    case putEra(UInt32)
    /// No synchronous state: what an earlier copy left behind goes.
    case removeSync
    /// A copy that never ruled goes: every permanent key.
    case removeCopy
    /// The key `migration`; nil deletes it.
    case putMigration(MigrationMark?)
}

/// A condition under which a change is made.
public enum ClusterCondition: Hashable, Sendable {
    case leaderAbsent
    /// The leader entry is ours: value and session.
    case leaderIsOurs
    /// The leader entry is the very one that was seen: another term of ours under the same session is another.
    case leaderVersion(EntryVersion)
    case initializeAbsent
    case initializeVersion(EntryVersion)
    case configurationVersion(EntryVersion?)
    case failoverVersion(EntryVersion?)
    case syncVersion(EntryVersion?)
    case statusVersion(EntryVersion?)
    case historyVersion(EntryVersion?)
    case memberVersion(String, EntryVersion?)
    case eraVersion(EntryVersion?)
    case migrationVersion(EntryVersion?)
}

/// Writes that take effect together, if all conditions hold.
public struct ClusterChange: Hashable, Sendable {
    public var conditions: [ClusterCondition]
    public var writes: [ClusterWrite]

    public init(if conditions: [ClusterCondition], _ writes: [ClusterWrite]) {
        self.conditions = conditions
        self.writes = writes
    }
}

/// How a change ended. *Unknown* is a state of its own: it may have happened or still may, and is resolved by reading.
public enum ChangeOutcome: Hashable, Sendable {
    case committed(StoreRevision)
    /// The store was reached and said no.
    case refused(String)
    /// Certainly without effect.
    case notSent(String)
    case unknown(String)
}
