import ClusterModel

extension HAMachine {
    /// Takes an event into the world. No effects but those that cannot wait for a rule.
    mutating func absorb(_ event: Event) {
        if let id = event.storeEffect, id.number <= world.storeSince { return }
        switch event {
        case .other(let event): absorb(other: event)
        case .from(let number, let event): if number == world.storeNumber { absorb(event) }
        case .prepared(let id, let store):
            // Both were asked for at once: what the one is at work with is no longer the store that it was begun with.
            if let migration = world.migration, migration.id != id, !migration.isCutting {
                takeBack("another migration was prepared")
            }
            world.prepared = id
            world.preparedStore = store
            world.isElsewhereFree = false
            world.isPreparedConfigured = false
            world.nextOtherReadAt = .distantPast
        case .wake: break
        case .started(let start): absorb(start)
        case .settings(let settings):
            world.settings = settings

        case .sessionOpened(let id, let facts):
            if case .opening(id, _) = world.session { absorb(session: facts) }
        case .sessionFailed(let id, let why):
            guard case .opening(id, _) = world.session else { break }
            world.session = .none(retryAt: world.now + .milliseconds(1000))
            trouble(why)
        case .sessionLost(let why):
            switch world.session {
            case .none: break
            case .opening:
                // Said of an earlier one, or of this one before its opening was told: it is asked for when it is open.
                world.doubtsSession = true
            case .open:
                forgetSession(retryAt: world.now)
                // What the old session still had under way dies with it.
                world.needsResolving = false
                loseLease("the session is gone: \(why)", .immediate)
            }
        case .storeChanged:
            world.readWanted = true
        case .storeConnected:
            world.readWanted = true
            world.nextReadAt = world.now
            world.nextRenewAt = world.now
        case .storeDisconnected(let why):
            trouble(why)
            // Whatever was seen before may be another store's state by the time that it answers again.
            world.viewsCountFrom = max(world.viewsCountFrom, world.now)
            // Read again whether or not anybody says that it is back.
            world.readWanted = true
            world.nextReadAt = max(world.nextReadAt, world.now + .milliseconds(500))

        case .view(let id, let view):
            if world.readInFlight == id { world.readInFlight = nil }
            if world.resolvingRead == id {
                world.resolvingRead = nil
                world.needsResolving = false
            }
            absorb(view: view)
        case .glimpse(let id, let glimpse):
            if world.readInFlight == id { world.readInFlight = nil }
            absorb(glimpse: glimpse)
        case .viewFailed(let id, let why):
            if world.readInFlight == id { world.readInFlight = nil }
            if world.resolvingRead == id { world.resolvingRead = nil }
            world.nextReadAt = world.now + .milliseconds(500)
            world.readWanted = true
            // A read from before the store was last heard says nothing new.
            if world.readSentAt >= world.storeLastSeenAt { trouble(why) }
        case .committed(let id, let outcome): absorb(commit: id, outcome)
        case .renewed(let id, let outcome): absorb(renewal: id, outcome)
        case .released(_, let outcome): absorb(release: outcome)

        case .guardReady(let isAdopting, let isPaused, let armed, let isPromoting):
            world.isGuardReady = true
            if isPromoting, world.promotion == .none, world.job == nil, !world.isRunningPrimary,
                let marker = world.marker
            {
                // An earlier instance gave the signal: it may still be under way, and is not given twice.
                setPromotion(.promoting(marker.fence, marker.timeline))
                world.isPromoteSignalled = true
                world.isMarkerUsed = true
                world.mayAcknowledge = true
            }
            world.isAdopting = isAdopting
            // A term that it enforces already is not reported armed again.
            world.armedTerm = armed
            world.posture = isPaused ? .paused : nil
            world.nextPostureAt = world.now
            if let term = world.term {
                emit(self.armed(term))
                if term.isFrozen { emit(.posture(.stopping)) }
            }
        case .guardArmed(let fence):
            world.armedTerm = fence
        case .guardRefused(let why, let armed):
            // A term that a store which was set back gives back may be over for the guard: nothing enforces it then.
            world.armedTerm = armed
            record("guard.refused", .warning, "the guard refused: \(why)")
        case .guardStopping(let why):
            record("guard.stopping", .warning, "the guard stops PostgreSQL: \(why)")
            // Whatever term it was armed for is over for it.
            world.armedTerm = nil
            if case .held(let term) = world.lease, world.handover == nil {
                end(term, "the guard stopped PostgreSQL: \(why)")
            }
        case .postureRefused(let posture, let why):
            // What it was before stays in force there: it is told again, a pause as a pause that ends.
            if world.posture == posture {
                world.posture = posture == .resumed ? .paused : nil
                world.nextPostureAt = world.now + .milliseconds(300)
                record(
                    "guard.postureRefused", .warning, "the guard did not take the posture \(posture.rawValue): \(why)")
            }
        case .guardSilent:
            world.isSilent = true
        case .guardLost(let why):
            world.isGuardReady = false
            world.armedTerm = nil
            world.posture = nil
            record("guard.lost", .warning, "the guard is gone: \(why)")

        case .server(let facts): absorb(server: facts)
        case .sample(let sample): absorb(sample: sample)
        case .sampleFailed:
            world.sampleInFlight = false
            world.failedSamples += 1
            // A server that does not answer keeps the role that it was seen in; only its position is not known any more.
            if world.failedSamples >= 3 { world.sample?.receiver = nil }
            world.nextSampleAt = world.now + .milliseconds(world.sample == nil ? 100 : 500)
        case .peer(let status):
            if let known = world.peers[status.name] {
                if known.askedAt > status.askedAt { break }
                if known.state != status.state || known.role != status.role || known.tags != status.tags {
                    // Its entry says so too in a moment, of which no signal tells.
                    world.membersReadAt = world.now + .seconds(1)
                }
            }
            world.peers[status.name] = status
            if let fence = status.newestFence { world.newestFence = max(world.newestFence, fence) }
            world.silentPeers[status.name] = nil
            world.silentSince[status.name] = nil
            noteGrant(of: status)
            keepUnlisted()
            if let leader = world.view?.leader, leader.name == status.name, let race = world.race, race.freeSince == nil
            {
                // The holder speaks again: it was a false alarm.
                world.race = nil
            }
            if let leader = world.view?.leader, leader.name == status.name {
                world.lastHolder?.fenceState = status.fenceState
                if status.role == .primary, let current = world.view?.currentTimeline,
                    let timeline = status.timeline, current < timeline
                {
                    world.readWanted = true
                }
            }
        case .peerSilent(let name, let why):
            let isNews = world.silentPeers[name] == nil
            world.silentPeers[name] = why
            world.silentSince[name] = world.now
            grantorFellSilent(name)
            if isNews, let leader = world.view?.leader, leader.name == name, world.race == nil, name != world.me,
                world.term == nil
            {
                suspect("\(name) fell silent: \(why)")
            }
        case .jobProgress(let id, let progress):
            if world.job?.id == id { world.job?.progress = progress }
        case .jobEnded(let id, let end): absorb(job: id, end)
        case .grantAsked(let id, let request): absorb(asked: id, request)
        case .grantAnswered(let id, let name, let answer): absorb(grant: id, from: name, answer)
        case .persisted(let id, let succeeded):
            if absorb(persistedGrant: id, succeeded) { break }
            if case .preparing(let fence, let timeline, marker: id, let intent) = world.promotion {
                if succeeded {
                    setPromotion(.preparing(fence, timeline, marker: nil, intent: intent))
                    world.marker = PromotionMarker(timeline: timeline, fence: fence)
                    world.isMarkerUsed = false
                } else {
                    failPromotion("the promotion marker could not be written")
                }
            }
        case .checkpointed(let id, let succeeded):
            absorb(checkpoint: id, succeeded)
        case .localHistory(let id, let history):
            if world.historyInFlight == id {
                world.historyInFlight = nil
                world.nextHistoryAt = world.now + .seconds(1)
                world.localHistory = history
            }
        case .duplicateProbed(let isAlive):
            world.isProbingDuplicate = false
            world.hasProbedDuplicate = true
            world.isDuplicate = isAlive
        case .asked(let id, let request):
            record("operator.asked", .action, "an operator asks for: \(request.name)", describe(request))
            if world.sessionFacts != nil, world.view != nil, !world.isViewFresh {
                var pending = pendingRequest(id, request)
                pending.deadline = world.now + .seconds(5)
                world.deferred.append(pending)
            } else {
                absorb(request: id, request)
            }
        case .stopAsked:
            if !world.isStopping {
                world.isStopping = true
                world.stopAskedAt = world.now
                record("stop.asked", .action, "asked to stop")
            }
        }
    }

    // MARK: - Parts

    private mutating func absorb(_ start: InstanceStart) {
        world.marker = start.marker.flatMap { $0.timeline.number > 0 ? $0 : nil }
        world.cachedConfiguration = start.cachedConfiguration
        world.hasSavedSession = start.hasSavedSession
        if let record = start.migration {
            if record.isOver { world.movedTo = record.id } else { world.prepared = record.id }
            world.isPreparedConfigured = record.isConfigured
        }
        absorb(grants: start.grants)
        if let marker = world.marker { world.newestFence = max(world.newestFence, marker.fence) }
        absorb(server: start.server)
    }

    private mutating func absorb(session facts: SessionFacts) {
        world.session = .open(facts)
        world.storeTrouble = nil
        world.readWanted = true
        world.nextReadAt = world.now
        world.publishedMember = nil
        world.nextRenewAt = world.now
        if renewalInterval(facts) == nil {
            record("lease.refused", .warning, LeaseDeadlines.refusal(granted: facts.granted))
            emit(.exit(1, LeaseDeadlines.refusal(granted: facts.granted)))
        }
        record(
            "store.session", .action, facts.isResumed ? "took up the earlier session again" : "opened a session",
            [
                Fact("session", facts.id.text), Fact("granted_ms", milliseconds: facts.granted),
                Fact("asked_ms", milliseconds: world.settings.ttl),
                Fact("renewal_ms", milliseconds: facts.renewalInterval),
            ])
    }

    /// Said once per change of state, not once per try.
    mutating func trouble(_ why: String) {
        if world.storeTrouble == nil {
            record("store.unreachable", .warning, "the store does not answer: \(why)")
        }
        world.storeTrouble = why
    }

    mutating func storeAnswered() {
        if world.storeTrouble != nil {
            record("store.reachable", .action, "the store answers again")
            world.storeTrouble = nil
        }
        world.storeLastSeen = world.wall
        world.storeLastSeenAt = world.now
    }

    /// The timeline that a standby had reached when it was started.
    private var standbyTimeline: Timeline? {
        guard let control = world.controlBeforeStart else { return nil }
        switch control.state {
        case .shutDownInRecovery, .inArchiveRecovery: return world.timeline(of: control)
        default: return nil
        }
    }

    private mutating func absorb(server facts: ServerFacts) {
        switch facts {
        case .running(let pid, let isAdopted):
            world.controlBeforeStart = world.control
            world.server = .up(isAdopted: isAdopted, since: world.now)
            world.isAdopting = isAdopted
            world.isSilent = false
            switch world.job?.job {
            case .start(.standby)?, .restart(.standby)?, .bootstrap?: break
            default:
                // Until it is seen to be a standby it has to be taken for a primary.
                world.mayAcknowledge = true
            }
            world.posture = nil
            world.notStreamingSince = nil
            world.samplesCountFrom = world.now
            world.sample = nil
            world.isStopAsked = false
            world.lastStopMode = nil
            world.failedSamples = 0
            world.nextSampleAt = world.now
            record(
                "postgres.running", .routine, isAdopted ? "PostgreSQL was found running" : "PostgreSQL runs",
                [Fact("pid", .integer(Int64(pid)))])
        case .down(let data, let exit):
            let wasUp = world.isServerUp
            let wasWritable = world.mayAcknowledge
            world.server = .down(data)
            world.controlBeforeStart = nil
            switch world.job?.job {
            case .start(.primary)?, .restart(.primary)?:
                // The job may be starting it again this very moment: only its end says that nothing acknowledges.
                break
            default: world.mayAcknowledge = false
            }
            world.sample = nil
            world.lastExit = exit
            world.upstream = nil
            world.checkpointInFlight = nil
            world.historyInFlight = nil
            world.localHistory = nil
            world.isPromoteSignalled = false
            if case .initialized(let control) = data { noteMarker(control) }
            if wasUp {
                var facts = [Fact("exit", exit)]
                if case .initialized(let control) = data {
                    facts += [Fact("state", control.state.rawValue), Fact("timeline", control.timeline)]
                }
                let isPlanned = world.isStopAsked || world.isStopping || isStopJob(world.job?.job)
                if isPlanned, endsForGood(world.job?.job) {
                    emit(.callback(.onStop, wasWritable ? .primary : .replica, world.term?.fence))
                }
                record(
                    isPlanned ? "postgres.stopped" : "postgres.exited", isPlanned ? .action : .warning,
                    isPlanned ? "PostgreSQL is down" : "PostgreSQL is down without being asked", facts)
                if !isPlanned, !wasWritable { noteStandbyExit(exit) }
                if !isPlanned, wasWritable {
                    if world.crashedSince == nil { world.crashedSince = world.now }
                    world.crashes.removeAll { world.now - $0 > .seconds(60) }
                    world.crashes.append(world.now)
                    if world.crashes.count > 16 { world.crashes.removeFirst() }
                }
            }
            world.isStopAsked = false
            if case .promoting = world.promotion { setPromotion(.none) }
        }
    }

    /// A standby that comes up and ends again and again does not get over what it has: replaying WAL of a newer timeline that
    /// it had received in part only, PostgreSQL ends with "according to history file, WAL location ... belongs to timeline"
    /// each time. With a leader to copy from, the data is copied anew, beside the old.
    private mutating func noteStandbyExit(_ exit: String?) {
        if case .start? = world.job?.job { return }
        world.standbyExits += 1
        guard world.standbyExits >= world.exitsBeforeClone, let leader = world.view?.leader, leader.name != world.me,
            world.needsClone == nil
        else { return }
        world.needsClone =
            "PostgreSQL ended \(world.standbyExits) times without streaming in between (\(exit ?? "no status"))"
        world.clonesForExits = true
        world.standbyExits = 0
        world.exitsBeforeClone = min(world.exitsBeforeClone * 2, 64)
    }

    /// A promotion that was signalled and did not happen leaves no timeline behind.
    private mutating func noteMarker(_ control: ControlData) {
        guard let marker = world.marker, control.timeline < marker.timeline else { return }
        // One that is being written takes its place, and must not be cleared in its stead.
        if case .preparing(_, _, marker: .some, _) = world.promotion { return }
        switch control.state {
        case .shutDownInRecovery, .inArchiveRecovery: clearMarker()
        case .startingUp, .shutDown, .shuttingDown, .inCrashRecovery, .inProduction, .unrecognized: break
        }
    }

    /// A restart, a copy and a bootstrap tell of a start (or nothing) instead of this stop.
    private func endsForGood(_ job: Job?) -> Bool {
        switch job {
        case .restart?, .rewind?, .clone?, .bootstrap?: false
        default: true
        }
    }

    private func isStopJob(_ job: Job?) -> Bool {
        switch job {
        case .stop?, .restart?, .rewind?, .clone?, .bootstrap?: true
        default: false
        }
    }

    private mutating func absorb(sample: PostgresSample) {
        world.sampleInFlight = false
        guard world.isServerUp else { return }
        guard sample.takenAt >= world.samplesCountFrom else {
            world.nextSampleAt = world.now
            return
        }
        world.failedSamples = 0
        let before = world.sample
        var sample = sample
        if sample.isInRecovery, let known = before.map({ $0.isInRecovery ? $0.timeline : nil }) ?? standbyTimeline {
            // Without a receiver PostgreSQL tells the timeline of its last restartpoint. A standby never goes back, and is
            // not consistent before it has reached its minimum recovery point.
            sample.timeline = max(sample.timeline, known)
        }
        world.sample = sample
        world.controlBeforeStart = nil
        if sample.receiver?.status == "streaming" {
            world.notStreamingSince = nil
            world.standbyExits = 0
            world.exitsBeforeClone = World.fewestExitsBeforeClone
        } else if world.notStreamingSince == nil {
            world.notStreamingSince = world.now
        }
        world.nextSampleAt = world.now + world.settings.loopWait
        if world.callbackRole == nil, world.job == nil {
            // Found running: announced once, as if it had been started.
            let role: MemberRole = sample.isInRecovery ? .replica : .primary
            world.callbackRole = role
            emit(.callback(.onStart, role, world.term?.fence))
        }
        if sample.isInRecovery {
            // Only what we did not set on its way to be a primary is known to be a standby.
            var isBecomingPrimary = false
            switch world.job?.job {
            case .promote?, .start(.primary)?, .restart(.primary)?: isBecomingPrimary = true
            default: break
            }
            if !isBecomingPrimary, !world.isPromoteSignalled { world.mayAcknowledge = false }
            if let marker = world.marker, sample.timeline < marker.timeline, !world.isPromoteSignalled,
                sample.receiver?.status == "streaming", world.promotion == .none
            {
                // It streams the timeline before: that promotion came to nothing. One that is being prepared has its
                // marker before the receiver has gone.
                clearMarker()
            }
            noteLineage(sample)
            if before?.receiver?.status == "streaming", sample.receiver == nil, world.race == nil,
                world.view?.leader != nil, world.term == nil,
                world.upstream?.flatMap({ $0.name }) == world.view?.leader?.name
            {
                suspect("the WAL receiver ended")
            }
        } else {
            world.mayAcknowledge = true
            world.crashedSince = nil
            if case .promoting = world.promotion, world.job == nil { setPromotion(.none) }
            if world.publishedRole != .primary, world.term != nil { world.publishedRole = .primary }
        }
    }

    /// What streams on a timeline has been through its making: marked like the maker's own data, so that a second making
    /// of the same number is told apart.
    private mutating func noteLineage(_ sample: PostgresSample) {
        guard sample.receiver?.status == "streaming", let view = world.view, let leader = view.leader,
            leader.name != world.me, world.leaderTimeline == sample.timeline,
            let record = view.promotions.records[sample.timeline], record.fence <= leader.fence,
            (world.marker?.timeline ?? Timeline(0)) < sample.timeline, world.promotion == .none
        else { return }
        let marker = PromotionMarker(timeline: sample.timeline, fence: record.fence)
        world.marker = marker
        world.isMarkerUsed = true
        emit(.persistMarker(newID(), marker))
    }
}
