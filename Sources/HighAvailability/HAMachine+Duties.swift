package import ClusterModel

extension HAMachine {
    /// How long the signals' silence is believed in a quiet cluster: the holder's proof looks at its own entry alone, and
    /// a follower looks at none. A glimpse of the few entries that matter at once will do.
    static let glimpseInterval: Duration = .seconds(60)
    /// After so long everything is read anyway: what members changed in their entries is told by no signal, and their
    /// peer connections, which tell it, may be down.
    static let quietReadInterval: Duration = .seconds(600)

    /// Reads the store when something changed, and now and then when nothing seems to.
    mutating func keepReading() {
        world.storeSilentSince =
            world.sessionFacts != nil && world.storeTrouble == nil ? nil : world.storeSilentSince ?? world.now
        guard world.sessionFacts != nil, !world.isLeaving, world.readInFlight == nil else { return }
        var due = world.viewSeenAt + readInterval
        if let at = world.membersReadAt { due = min(due, at) }
        let isDue = world.readWanted || world.needsResolving || world.now >= due
        let glimpseDue = world.glimpsedAt + Self.glimpseInterval
        guard isDue || world.now >= glimpseDue else {
            wake(at: min(due, glimpseDue))
            return
        }
        if world.now < world.nextReadAt {
            wake(at: world.nextReadAt)
            return
        }
        let id = newID()
        world.readInFlight = id
        world.readSentAt = world.now
        if !isDue, world.storeTrouble == nil, let view = world.view {
            emit(.read(id, .glimpse(since: view.revision)))
            return
        }
        world.readWanted = false
        world.membersReadAt = nil
        if world.needsResolving { world.resolvingRead = id }
        emit(.read(id, world.needsResolving ? .resolving : .cluster))
    }

    /// How old the view may become. Members of other agents write what no watch of ours tells, and a cluster in motion is
    /// worth a second look.
    private var readInterval: Duration {
        guard let view = world.view else { return .milliseconds(500) }
        // Waiting for what a new leader records after its promotion.
        if world.control != nil, world.job == nil, view.leader != nil, world.now - world.leaderSince < .seconds(10) {
            return .milliseconds(200)
        }
        let isQuiet =
            view.leader != nil && world.isServerUp && world.pending.isEmpty && world.job == nil && world.handover == nil
            && !isLagging
        if !isQuiet { return min(.seconds(1), world.settings.loopWait) }
        if view.members.contains(where: { !$0.isMatriarch }) { return world.settings.loopWait }
        return Self.quietReadInterval
    }

    /// A follower that does not stream, or streams on another timeline than the leader's.
    private var isLagging: Bool {
        guard world.term == nil, let sample = world.sample, let leader = world.view?.leader, leader.name != world.me,
            !world.settings.tags.isNoStream, !world.isPaused
        else {
            return false
        }
        return sample.receiver?.status != "streaming"
    }

    /// Looks at PostgreSQL: each loop_wait, and more often while its state is in question.
    mutating func keepSampling() {
        guard world.isServerUp, !world.sampleInFlight, !world.isLeaving else { return }
        var due = world.nextSampleAt
        if world.race != nil { due = min(due, world.now + .milliseconds(300)) }
        if isLagging || world.sample == nil { due = min(due, world.now + .seconds(1)) }
        if world.now >= due {
            world.sampleInFlight = true
            world.nextSampleAt = world.now + world.settings.loopWait
            emit(.sample)
        } else {
            world.nextSampleAt = due
            wake(at: due)
        }
    }

    /// A race has steps that only time takes; the first of them soon.
    mutating func keepRace() {
        guard let race = world.race, case .none = world.lease else { return }
        let began = race.freeSince ?? race.since
        let lasted = world.now - began
        if race.freeSince == nil, lasted > world.settings.ttl, world.view?.leader != nil {
            // The holder renewed all the time: it was a false alarm.
            world.race = nil
            record("leader.notSuspected", .routine, "the leader entry is still held", [])
            return
        }
        let step: Duration =
            if race.freeSince == nil { .seconds(1) } else if lasted < .milliseconds(300) {
                .milliseconds(20)
            } else if lasted < .seconds(10) { .milliseconds(50) } else { .milliseconds(500) }
        wake(at: world.now + step)
    }

    /// One connection to each peer, as the view names them.
    mutating func keepPeers() {
        guard let view = world.view else { return }
        // Who they are changes with the view alone.
        if view.requestedAt != world.peersOfViewAt {
            world.peersOfViewAt = view.requestedAt
            keepWatched(world.peerAddresses)
        }
        switch world.handover?.phase {
        case .choosing?, .confirming?: wake(at: world.now + .milliseconds(20))
        case .checkpointing?, .stopping?, .releasing?: wake(at: world.now + .milliseconds(500))
        case nil: break
        }
        keepLeaderAsked()
        keepPlanned()
    }

    private mutating func keepWatched(_ wanted: [PeerAddress]) {
        if wanted != world.watched {
            world.watched = wanted
            emit(.watchPeers(wanted))
            let names = Set(wanted.map(\.name))
            world.peers = world.peers.filter { names.contains($0.key) }
            world.silentPeers = world.silentPeers.filter { names.contains($0.key) }
            world.silentSince = world.silentSince.filter { names.contains($0.key) }
            for name in world.heardGrants.keys where !names.contains(name) { grantorFellSilent(name) }
        }
    }

    /// What is to be at a known time.
    private mutating func keepPlanned() {
        if world.now < world.nextJobAt { wake(at: world.nextJobAt) }
        if world.now < world.sitOutUntil { wake(at: world.sitOutUntil) }
        if case .held = world.lease, world.sample?.isInRecovery == true { wake(at: world.now + .milliseconds(50)) }
        if let request = world.view?.failover, let at = request.scheduledAt, at > world.wall {
            wake(at: world.now + (at - world.wall))
        }
        if let at = world.scheduledRestart?.scheduledAt, at > world.wall { wake(at: world.now + (at - world.wall)) }
    }

    /// Whom we should stream from and do not, or wait for: asked now and then, for its word may never come by itself.
    private mutating func keepLeaderAsked() {
        let isWaiting = !world.isServerUp && world.job == nil && !world.isPaused
        guard isLagging || isWaiting || world.unlisted != nil, let leader = world.view?.leader,
            let peer = world.peerAddresses.first(where: { $0.name == leader.name })
        else { return }
        // And the past of our own timeline, whether it is the cluster's.
        if let sample = world.sample, sample.timeline.number > 1, let since = world.notStreamingSince,
            world.now - since >= FollowRules.divergencePatience, world.historyInFlight == nil,
            world.localHistory?.currentTimeline != sample.timeline, world.now >= world.nextHistoryAt
        {
            let id = newID()
            world.historyInFlight = id
            emit(.readHistory(id))
        }
        if world.now - world.leaderAskedAt >= .seconds(2) {
            world.leaderAskedAt = world.now
            emit(.queryPeers([peer], within: .seconds(2)))
        } else {
            wake(at: world.leaderAskedAt + .seconds(2))
        }
    }

    // MARK: - Our entry

    /// A position matters to nobody until it moved by some records' worth: an idle primary notes now and then what
    /// transactions run, a few dozen bytes, and a lag is judged by megabytes.
    static let positionStep: UInt64 = 1024

    /// What this member says of itself.
    func describedMember() -> Member {
        var member = Member(name: world.me)
        member.connURL = world.identity.connURL
        member.apiURL = world.identity.apiURL
        member.proxyURL = world.identity.proxyURL
        member.version = advertisedVersion
        member.tags = world.settings.tags
        member.isPaused = world.isPaused
        member.fenceState = fenceState
        member.state = memberState
        member.role = memberRole
        if let sample = world.sample, world.isServerUp {
            member.timeline = sample.timeline
            if sample.isInRecovery {
                member.receiveLSN = sample.receiveLSN
                member.replayLSN = sample.replayLSN
                member.replicationState = sample.replicationState
            }
            member.xlogLocation = sample.position
            if let reasons = sample.pendingRestart {
                member.pendingRestart = true
                member.pendingRestartReason = reasons
            }
        }
        if world.checkpointPending, world.isRunningPrimary { member.checkpointAfterPromote = false }
        if let scheduled = world.scheduledRestart, let at = scheduled.scheduledAt {
            var object: JSONObject = ["schedule": .string(at.iso8601())]
            if let start = world.scheduledRestartStart { object["postmaster_start_time"] = .string(start) }
            if let role = scheduled.role { object["role"] = .string(role.rawValue) }
            if let version = scheduled.postgresVersion { object["postgres_version"] = .string(version) }
            if scheduled.onlyPending { object["restart_pending"] = true }
            if let timeout = scheduled.timeout { object["timeout"] = .integer(timeout.milliseconds / 1000) }
            member.scheduledRestart = object
        }
        return member
    }

    /// What a peer hears of this agent: the part of `status` that races look at, without the rest's cost. Mutating only
    /// so that it is asked in place: the machine is large.
    package mutating func word(askedAt: Instant) -> PeerStatus {
        var word = PeerStatus(name: world.me, askedAt: askedAt, state: memberState)
        let sample = world.isServerUp ? world.sample : nil
        word.role = memberRole
        word.isInRecovery = sample?.isInRecovery
        word.timeline = world.dataTimeline
        word.position = sample?.position
        word.tags = world.settings.tags
        word.isPaused = world.isPaused
        word.fenceState = fenceState
        word.isSilent = isSilent
        word.newestFence = world.newestFence
        word.failsafeList = world.failsafeList?.description
        if let grant = world.namedGrant {
            word.grantedTo = grant.holder
            word.grantLasts = grant.lasts
        }
        word.systemIdentifier = world.systemIdentifier
        return word
    }

    /// Whether nothing of this member's PostgreSQL can acknowledge a write.
    var isSilent: Bool { world.isSilent || !world.mayAcknowledge && !world.isServerUp }

    private var fenceState: FenceState {
        guard world.isGuardReady else { return .unfenced }
        if world.posture == .paused { return .unfenced }
        if world.isAdopting { return .adopted }
        return .guarded
    }

    private var memberState: MemberState {
        if let job = world.job {
            switch job.job {
            case .bootstrap: return .initializing
            case .clone, .rewind: return .creatingReplica
            case .start: return world.isServerUp && world.sample != nil ? .running : .starting
            case .stop: return .stopping
            case .restart: return .restarting
            case .prePromote, .promote, .follow: break
            }
        }
        switch world.server {
        case .unknown: return .unknown
        case .up: return world.sample == nil ? .starting : .running
        case .down(let data):
            if let failure = world.stateAfterFailure { return failure }
            if world.crashedSince != nil { return .crashed }
            if case .empty = data { return .stopped }
            return .stopped
        }
    }

    private var memberRole: MemberRole {
        if case .promoting = world.promotion { return .promoted }
        if world.isServerUp, let sample = world.sample {
            if !sample.isInRecovery { return world.term != nil || world.isPaused ? .primary : .demoted }
            return .replica
        }
        switch world.server {
        case .down(.empty): return .uninitialized
        case .unknown: return .uninitialized
        default: break
        }
        if case .ending = world.lease { return .demoted }
        if world.term != nil { return world.publishedRole == .primary ? .primary : .replica }
        return world.publishedRole == .primary || world.publishedRole == .demoted ? .demoted : .replica
    }

    /// Writes our entry when it changed enough to matter: at once for role and state, once in loop_wait for positions.
    mutating func keepPublished() {
        guard let facts = world.sessionFacts, let view = world.view, !world.isLeaving, world.publishInFlight == nil
        else {
            return
        }
        switch world.lease {
        case .releasing: return
        default: break
        }
        let existing = view.member(world.me)
        if let existing, existing.session != facts.id, !facts.isResumed || existing.session != facts.id {
            if !world.hasProbedDuplicate, existing.apiURL != world.identity.apiURL, let url = existing.apiURL {
                if !world.isProbingDuplicate {
                    world.isProbingDuplicate = true
                    emit(.probeDuplicate(apiURL: url))
                }
                return
            }
            if world.isDuplicate { return }
            if world.now < world.nextPublishAt {
                wake(at: world.nextPublishAt)
                return
            }
            if !isCommitting("remove member"), let version = view.memberVersions[world.me] {
                world.nextPublishAt = world.now + .milliseconds(500)
                commit(
                    ClusterChange(if: [.memberVersion(world.me, version)], [.removeMember(world.me)]), "remove member")
            }
            return
        }
        world.hasProbedDuplicate = true
        let member = describedMember()
        if let published = world.publishedMember {
            var quiet = member
            quiet.xlogLocation = published.xlogLocation
            quiet.receiveLSN = published.receiveLSN
            quiet.replayLSN = published.replayLSN
            // What differs here may still be the same value in the store, which takes longer to find out.
            let isOnlyPosition = quiet == published || quiet.storedValue() == published.storedValue()
            let moved = member.position?.bytes(aheadOf: published.position ?? .zero) ?? 0
            if isOnlyPosition, moved < Self.positionStep { return }
            if isOnlyPosition, world.now < world.nextPositionAt {
                wake(at: world.nextPositionAt)
                return
            }
        }
        if world.now < world.nextPublishAt {
            wake(at: world.nextPublishAt)
            return
        }
        world.publishedMember = member
        world.nextPositionAt = world.now + world.settings.loopWait
        world.publishInFlight = commit(ClusterChange(if: [], [.putMember(member, exists: existing != nil)]), "member")
    }

    // MARK: - The leader's records

    mutating func keepRecords() {
        // A copy that has been made is to stay what the store holds.
        guard let term = world.term, world.isLeaderEntryOurs, let view = world.view, let sample = world.sample,
            !sample.isInRecovery, world.isServerUp, world.handover == nil, world.copied == nil
        else { return }
        if world.now < world.nextUpkeepAt {
            wake(at: world.nextUpkeepAt)
            return
        }
        // A view from before our last change would have us make it again.
        guard view.requestedAt >= world.upkeepFrom else { return }
        if let identifier = sample.systemIdentifier, !isCommitting("identifier") {
            switch view.initialize {
            case .absent, .invalid, .inProgress:
                commit(ClusterChange(if: [.leaderIsOurs], [.putInitialize(identifier)]), "identifier")
            case .identifier: break
            }
        }
        if view.configuration == nil, let configuration = firstConfiguration, !isCommitting("configuration") {
            commit(
                ClusterChange(
                    if: [.leaderIsOurs, .configurationVersion(view.configurationVersion)],
                    [.putConfiguration(configuration)]), "configuration")
        }
        if world.checkpointPending, world.checkpointInFlight == nil {
            let id = newID()
            world.checkpointInFlight = id
            emit(.checkpoint(id))
        }
        keepFailsafeList(view)
        keepReturned(view)
        keepHistory(term, view, sample)
        keepStatus(view, sample)
    }

    private mutating func keepHistory(_ term: Term, _ view: ClusterView, _ sample: PostgresSample) {
        let records = Self.withoutOthers(view.promotions, than: sample.timeline, in: term)
        if sample.timeline.number <= 1 {
            if view.history == nil || records != view.promotions { write(TimelineHistory(), view, records) }
            return
        }
        guard let local = world.localHistory, local.currentTimeline == sample.timeline else {
            if world.now < world.nextHistoryAt {
                wake(at: world.nextHistoryAt)
            } else if world.historyInFlight == nil {
                let id = newID()
                world.historyInFlight = id
                world.localHistory = nil
                emit(.readHistory(id))
            }
            return
        }
        let stored = view.history?.rows ?? []
        var rows = local.rows
        for index in rows.indices {
            let row = rows[index]
            if let known = stored.first(where: { $0.timeline == row.timeline && $0.switchLSN == row.switchLSN }) {
                rows[index] = known
            }
        }
        if let last = rows.indices.last {
            // The same number at the same position may be another making of the timeline.
            let madeByUs =
                world.marker.map { marker in
                    let record = view.promotions.records[marker.timeline]
                    return marker.timeline == sample.timeline && record?.leader == world.me
                        && record?.fence == marker.fence
                } ?? false
            if rows[last].newLeader == nil || madeByUs && rows[last].newLeader != world.me {
                rows[last].timestamp = world.wall.iso8601()
                rows[last].newLeader = world.me
            }
        }
        let limit = world.settings.maxTimelinesHistory
        if limit > 0 { rows = Array(rows.suffix(limit)) }
        // Our own timeline is made; what the promotion was expected to be called may not be what it is called.
        var promotions = records
        // A store that lost the record gets the making's own number again: another would make twins of all who streamed it.
        let marked = world.marker.flatMap { $0.timeline == sample.timeline ? $0.fence : nil }
        let maker = promotions.records[sample.timeline] ?? .init(leader: world.me, fence: marked ?? term.fence)
        promotions.records[sample.timeline] = .init(leader: maker.leader, fence: maker.fence, isMade: true)
        if let marker = world.marker, marker.fence == term.fence, marker.timeline != sample.timeline {
            let corrected = PromotionMarker(timeline: sample.timeline, fence: term.fence)
            world.marker = corrected
            emit(.persistMarker(newID(), corrected))
        }
        if rows != stored || promotions != view.promotions { write(TimelineHistory(rows: rows), view, promotions) }
    }

    /// The records without the claim that timelines above the leader's own are the cluster's, made in terms before its
    /// own: after a store was emptied the cluster may go on from before them. Their numbers stay taken.
    private static func withoutOthers(_ promotions: PromotionRecords, than timeline: Timeline, in term: Term)
        -> PromotionRecords
    {
        var promotions = promotions
        for (number, record) in promotions.records where number > timeline && record.isMade && record.fence < term.fence
        {
            promotions.records[number]?.isMade = false
        }
        return promotions
    }

    private mutating func write(
        _ history: TimelineHistory, _ view: ClusterView, _ promotions: PromotionRecords? = nil
    ) {
        guard !isCommitting("history") else { return }
        var writes: [ClusterWrite] = [.putHistory(history)]
        if let promotions, promotions != view.promotions { writes.append(.putPromotions(promotions)) }
        commit(
            ClusterChange(if: leaderIsOurs(world.term?.fence) + [.historyVersion(view.historyVersion)], writes),
            "history")
    }

    /// The last position, once in loop_wait when it moved.
    private mutating func keepStatus(_ view: ClusterView, _ sample: PostgresSample) {
        guard let position = sample.writeLSN, world.statusInFlight == nil else { return }
        if let known = view.status?.optime, known <= position, position.bytes(aheadOf: known) < Self.positionStep {
            return
        }
        if world.now < world.nextStatusAt {
            wake(at: world.nextStatusAt)
            return
        }
        var status = view.status ?? ClusterStatus()
        status.optime = position
        world.view?.status = status
        world.nextStatusAt = world.now + world.settings.loopWait
        world.statusInFlight = commit(ClusterChange(if: [.leaderIsOurs], [.putStatus(status)]), "status")
    }
}
