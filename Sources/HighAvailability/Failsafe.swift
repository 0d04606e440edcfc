public import ClusterModel

/// What a leader that has lost the store asks of a member: to leave the lead to it for a while.
public struct GrantRequest: Hashable, Sendable {
    /// Who asks.
    public var name: String
    public var connURL: String
    public var apiURL: String
    /// How long the grant is to last; nil: as long as the member's own `ttl`, as other agents than ours ask. Zero takes
    /// back what was granted before.
    public var lasts: Duration?
    /// The term that goes on; nil from other agents than ours.
    public var fence: Fence?
    /// Which of the asker's rounds this belongs to, and which life of the asker: a withdrawal ends no later grant.
    public var round: UInt64
    public var instance: UInt64
    /// The position of the primary, and of what its slots keep, by slot.
    public var slots: [String: LSN]

    public init(
        name: String, connURL: String = "", apiURL: String = "", lasts: Duration? = nil, fence: Fence? = nil,
        round: UInt64 = 0, instance: UInt64 = 0, slots: [String: LSN] = [:]
    ) {
        self.name = name
        self.connURL = connURL
        self.apiURL = apiURL
        self.lasts = lasts
        self.fence = fence
        self.round = round
        self.instance = instance
        self.slots = slots
    }
}

/// What a member answers to such a request.
public enum GrantAnswer: Hashable, Sendable {
    /// Neither acquires nor promotes for so long, counted from when it was asked; nil: as long as its `ttl`.
    case granted(Duration?, position: LSN?)
    case refused(String)
    /// `failsafe_mode` is off there.
    case off
    /// No answer, and why.
    case silent(String)
}

/// What survives an agent's restart of what it granted, and of what it knew of the terms. On disk before it is answered.
public struct GrantRecord: Hashable, Sendable {
    /// To whom; empty: to nobody, and `until` is to be sat out all the same.
    public var holder: String
    public var until: Instant
    /// How long the grant lasts in all: a host that was booted anew cannot tell how much of it is left.
    public var lasts: Duration
    public var round: UInt64
    public var instance: UInt64
    /// The newest term that was heard of.
    public var newestFence: Fence

    public init(
        holder: String = "", until: Instant = .distantPast, lasts: Duration = .zero, round: UInt64 = 0,
        instance: UInt64 = 0, newestFence: Fence = .none
    ) {
        self.holder = holder
        self.until = until
        self.lasts = lasts
        self.round = round
        self.instance = instance
        self.newestFence = newestFence
    }
}

/// A grant that a peer has told of.
public struct HeardGrant: Hashable, Sendable {
    /// To whom.
    public var holder: String
    /// How long it lasts after the peer last renewed it.
    public var lasts: Duration
    /// How long to believe it: until the peer says otherwise, or so long after it was last heard.
    public var until: Instant = .distantFuture

    public init(holder: String, lasts: Duration) {
        self.holder = holder
        self.lasts = lasts
    }
}

/// What an instance found of its predecessor's grants.
public enum GrantFile: Hashable, Sendable {
    case record(GrantRecord)
    /// Not there, torn or unreadable: nobody knows what was granted.
    case unreadable(String)
}

extension Fence {
    /// Before every term.
    public static let none = Fence(era: 0, number: 0)
}

/// One asking of all members.
public struct FailsafeRound: Hashable, Sendable {
    public var id: EffectID
    /// Before the first of them was asked: from here the grants are reckoned.
    public var sent: Instant
    /// Who has not answered yet.
    public var waiting: Set<String>
    /// The shortest of the grants so far.
    public var lasts: Duration
    public var until: Instant
}

/// How far the holder is in taking the leader entry anew, which the store lost while the grants held.
public enum Retake: Hashable, Sendable {
    case none
    case committing(EffectID)
    /// Whether it is ours is read.
    case unresolved
    /// Ours, under this number; no renewal has been proven yet.
    case proving(Fence, since: Instant)
}

/// The holder's side of the failsafe.
public struct FailsafeState: Hashable, Sendable {
    public var round: FailsafeRound?
    public var nextRoundAt: Instant = .distantPast
    /// What the last complete round allows.
    public var deadlines: LeaseDeadlines?
    /// The last round that somebody may have granted, to be taken back afterwards.
    public var lastRound: UInt64 = 0
    /// Who told how long its grant lasts: members of ours, which know of withdrawals.
    public var grantors: Set<String> = []
    /// The term lives by grants.
    public var isActive = false
    /// Who did not grant last, and why; for the record once.
    public var missing: [String: String] = [:]
    /// Why the store's lease is known to be over; nil: it is not.
    public var leaseLost: String?
    public var leaseLostAt: Instant = .distantPast
    public var retake = Retake.none
    /// When the newest renewal that counts was sent.
    public var provenAt: Instant = .distantPast
    /// Since when an entry of an older term stands in the way.
    public var oldEntrySince: Instant?
    /// A list of members on its way into the store; whether it arrived is not known before a view shows it.
    public var writing: [String: String]?

    public init() {}
}

/// The store was found to be older than what it had shown, or emptied.
public struct StoreReturn: Hashable, Sendable {
    public var seenAt: Instant
    /// What it had shown last.
    public var before: ClusterView
    /// What was there instead: what has changed since then is somebody's will.
    public var found: ClusterView
}

/// That `/failsafe` did not name this member before the store went back.
public struct UnlistedMember: Hashable, Sendable {
    /// The newest term then; a later one ends it.
    public var under: Fence
    /// The list that was found instead, an older one as it seems: one that is written later counts again.
    public var version: EntryVersion?
    /// When it was found.
    public var since: Instant
}

extension World {
    /// Whether `failsafe_mode` is on, by the newest configuration known.
    public var isFailsafeOn: Bool {
        if let view, view.configuration != nil { return ClusterMode(view: view).isFailsafe }
        guard let cachedConfiguration else { return false }
        return ClusterMode.isFailsafe(cachedConfiguration)
    }

    /// Whom a leader has to ask, besides itself: those that the store lists, and those whom our last write of the list,
    /// arrived or not, may have added. nil: there is no list, and no failsafe.
    public var failsafePeers: [PeerAddress]? {
        guard let listed = view?.failsafe ?? storeReturn?.before.failsafe else { return nil }
        var all = listed
        for (name, url) in failsafe.writing ?? [:] where all[name] == nil { all[name] = url }
        // A list in a store that went back is not the one that was in force.
        for (name, url) in storeReturn?.before.failsafe ?? [:] where all[name] == nil { all[name] = url }
        return all.filter { $0.key != me }.map { PeerAddress(name: $0.key, apiURL: $0.value) }
            .sorted { $0.name < $1.name }
    }

    /// The grant of ours that is in force, to another member or, after a restart, to nobody knows whom.
    public var liveGrant: GrantRecord? {
        guard now < grant.until, grant.holder != me else { return nil }
        return grant
    }

    /// The grant of ours that others are told of. What is sat out for nobody known binds this member only: one that is new to
    /// the cluster must not keep the others from a failover.
    public var namedGrant: GrantRecord? {
        guard let grant = liveGrant, !grant.holder.isEmpty else { return nil }
        return grant
    }

    /// The list that our lead goes by: whom we ask for grants.
    public var failsafeList: EntryVersion? { term == nil || !isFailsafeOn ? nil : view?.failsafeVersion }

    /// Whether a leader that goes on by grants needs ours too: the list in the store names us, and the store is no older one.
    public var isAskedForGrants: Bool { storeReturn == nil && view?.failsafe?[me] != nil }

    /// A grant to another member that a peer has told of: that to end last, and who granted it.
    public var heardGrant: (grantor: String, grant: HeardGrant)? {
        var last: (grantor: String, grant: HeardGrant)?
        for (grantor, grant) in heardGrants where grant.holder != me && now < grant.until {
            if let last, (grant.until, last.grantor) < (last.grant.until, grantor) { continue }
            last = (grantor, grant)
        }
        return last
    }

    /// Nothing is known of what an earlier instance granted: as if it had granted just before it ended.
    public var sitsOutLostGrants: Instant? {
        guard let since = grantsLostSince, isFailsafeOn, now < since + settings.ttl else { return nil }
        return since + settings.ttl
    }

    /// The deadlines by which the term is judged: once the store's lease is known to be over, only the grants count.
    public func deadlines(of term: Term) -> LeaseDeadlines {
        guard failsafe.leaseLost != nil, let granted = failsafe.deadlines else { return term.deadlines }
        return granted
    }

    /// Whether grants allow the term to go on at this moment, whatever the store says.
    public var isGranted: Bool {
        guard let deadlines = failsafe.deadlines, isFailsafeOn else { return false }
        return now < deadlines.finish
    }

    /// The synchronous state that a race is judged by: of a store that has lost its data the one before.
    public var syncInForce: SyncState {
        guard let view else { return SyncState() }
        if let back = storeReturn, back.before.syncVersion != nil, view.syncVersion == back.found.syncVersion {
            return back.before.sync
        }
        return view.sync
    }

    /// Whether the leader entry is one of the past, in a store that was set back: nobody to be followed, unless whoever it
    /// names shows that it lives by it.
    public var isLeaderOfThePast: Bool {
        guard let storeReturn, let leader = view?.leader, leader.name != me, isOld(leader.fence) else { return false }
        if let peer = peers[leader.name], peer.isInRecovery == false, peer.askedAt >= storeReturn.seenAt {
            return false
        }
        return now - storeReturn.seenAt < settings.ttl * FailsafeRules.oldEntryLeases
    }

    /// Whether a term is older than one we have heard of.
    public func isOld(_ fence: Fence) -> Bool { fence < newestFence }
}
