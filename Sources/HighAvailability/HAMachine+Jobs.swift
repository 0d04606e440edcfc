import ClusterModel

/// How jobs end, and what follows from it.
extension HAMachine {
    mutating func absorb(job id: EffectID, _ end: JobEnd) {
        guard let running = world.job, running.id == id else { return }
        world.job = nil
        world.nextSampleAt = world.now
        let succeeded =
            switch end {
            case .done, .made: true
            case .failed, .cancelled, .needsClone: false
            }
        // An answer takes its request off the list: the list is not walked while that happens.
        for waiting in world.pending.filter({ $0.job == id }) {
            answer(
                waiting.id,
                succeeded
                    ? OperatorAnswer(.done, "restarted successfully") : OperatorAnswer(.unavailable, "restart failed"))
        }
        let name = running.job.name
        let took = Fact("took_ms", milliseconds: world.now - running.since)
        switch end {
        case .done, .made:
            world.jobFailures = 0
            world.lastJobFailure = nil
            world.stateAfterFailure = nil
            record("job.done", .action, "done: \(name)", [took])
        case .cancelled:
            record("job.cancelled", .action, "cancelled: \(name)", [took])
        case .failed(let why), .needsClone(let why):
            world.jobFailures += 1
            world.lastJobFailure = why
            let exponent = min(world.jobFailures - 1, 4)
            world.nextJobAt = world.now + min(.milliseconds(500 << exponent), world.settings.loopWait)
            record("job.failed", .warning, "failed: \(name): \(why)", [took])
        }
        finish(running.job, end)
    }

    private mutating func finish(_ job: Job, _ end: JobEnd) {
        switch job {
        case .start, .restart:
            // Nothing came up, or it is gone again: nothing is left that could acknowledge.
            if !world.isServerUp { world.mayAcknowledge = false }
        default: break
        }
        switch (job, end) {
        case (.bootstrap, .made(let control)):
            world.bootstrapped = control
            world.server = .down(.initialized(control))
        case (.bootstrap, _):
            world.stateAfterFailure = .initdbFailed
            let why = world.lastJobFailure ?? "cancelled"
            record("bootstrap.failed", .warning, "the bootstrap failed: \(why)")
            let version = world.bootstrapVersion
            world.bootstrapVersion = nil
            if let version {
                // First taken back in the store, then the exit: what is left behind there keeps everybody waiting.
                if !world.isStopping { world.exitAfterAbandon = "the bootstrap failed: \(why)" }
                commit(ClusterChange(if: [.initializeVersion(version)], [.removeInitialize]), "abandon bootstrap")
            } else if !world.isStopping {
                emit(.exit(1, "the bootstrap failed: \(why)"))
            }
        case (.clone, .made(let control)), (.rewind, .made(let control)):
            if case .rewind = job { world.rewoundTo = world.view?.leader?.fence }
            world.needsClone = nil
            world.clonesForExits = false
            world.stopForClone = false
            world.bootstrapped = nil
            world.divergedFrom = nil
            clearMarker()
            world.crashedSince = nil
            world.server = .down(.initialized(control))
        case (.rewind, .needsClone(let why)):
            world.needsClone = "rewinding is not possible: \(why)"
            world.nextJobAt = .distantPast
        case (.rewind, .failed(let why)):
            // The leader may be out of reach for a moment only.
            if world.jobFailures >= 3 { world.needsClone = "rewinding failed \(world.jobFailures) times: \(why)" }
        case (.start(let role), .done), (.restart(let role), .done):
            world.isStoppedForHandover = false
            if case .standby(let upstream) = role { world.upstream = .some(upstream) }
            // Back as a primary, or a standby now: no crash is waited out any more.
            world.crashedSince = nil
            let isRestart = if case .restart = job { true } else { false }
            announceStart(role, isRestart: isRestart)
        case (.start(let role), _), (.restart(let role), _):
            world.stateAfterFailure = .startFailed
            if case .primary = role, world.crashedSince == nil { world.crashedSince = world.now }
        case (.follow(let upstream), .done):
            world.upstream = .some(upstream)
        case (.prePromote, .done):
            break
        case (.prePromote, _):
            setPromotion(.none)
            world.sitOutUntil = world.now + world.settings.ttl
            if case .held(let term) = world.lease { self.end(term, "pre_promote failed") }
        case (.promote(let fence, _, _), .done):
            world.publishedRole = .primary
            // What was seen before is a standby; nothing may be decided from it any more.
            world.sample = nil
            world.samplesCountFrom = world.now
            world.checkpointPending = true
            world.localHistory = nil
            world.crashedSince = nil
            record("promote.done", .action, "promoted: writes are possible", [Fact("fence", fence)])
            world.callbackRole = .primary
            emit(.callback(.onRoleChange, .primary, fence))
            world.publishedMember = nil
        case (.promote, _):
            failPromotion(world.lastJobFailure ?? "cancelled")
        case (.stop, .failed):
            world.stateAfterFailure = .stopFailed
        default:
            break
        }
    }

    private mutating func announceStart(_ role: StartRole, isRestart: Bool) {
        let new: MemberRole
        if case .primary = role { new = .primary } else { new = .replica }
        let fence = world.term?.fence
        if let before = world.callbackRole, before != new, !isRestart {
            emit(.callback(.onRoleChange, new, fence))
        } else {
            emit(.callback(isRestart ? .onRestart : .onStart, new, fence))
        }
        world.callbackRole = new
        world.publishedRole = new
    }

    mutating func failPromotion(_ why: String) {
        setPromotion(.none)
        // The signal may have been given, and PostgreSQL become a primary since it was looked at: in a pause it goes on.
        world.sample = nil
        world.samplesCountFrom = world.now
        world.nextSampleAt = world.now
        record("promote.failed", .warning, "the promotion failed: \(why)")
        world.sitOutUntil = world.now + world.settings.ttl
        if case .held(let term) = world.lease { end(term, "the promotion failed") }
    }

    mutating func absorb(checkpoint id: EffectID, _ succeeded: Bool) {
        if world.checkpointInFlight == id {
            world.checkpointInFlight = nil
            if succeeded {
                world.checkpointPending = false
            } else {
                world.nextUpkeepAt = world.now + .seconds(1)
            }
        }
        if case .checkpointing(id, _)? = world.handover?.phase {
            _ = perform(.stopForHandover)
        }
    }
}
