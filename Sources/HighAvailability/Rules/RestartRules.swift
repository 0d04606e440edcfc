import ClusterModel

/// A restart of PostgreSQL that an operator asked for, now or at a time.
enum RestartRules {
    static func restart(_ world: World) -> Verdict? {
        guard !world.isPaused || world.pending.contains(where: { isRestart($0) }) else { return nil }
        guard let request = due(world) else { return nil }
        guard world.isServerUp, world.job == nil, world.handover == nil else { return nil }
        let role: StartRole
        if let term = world.term, world.isRunningPrimary {
            role = .primary(term.fence)
        } else if world.isRunningStandby {
            role = .standby(world.wantedUpstream ?? world.upstream.flatMap { $0 })
        } else {
            return nil
        }
        return Verdict(
            "restart.begin", .action, "restarting PostgreSQL as asked",
            [Fact("scheduled", .bool(request.scheduledAt != nil))], .startJob(.restart(role)))
    }

    static func isRestart(_ pending: PendingRequest) -> Bool {
        guard case .restart = pending.request else { return false }
        return pending.job == nil
    }

    static func due(_ world: World) -> RestartRequest? {
        for pending in world.pending {
            if case .restart(let request) = pending.request, pending.job == nil { return request }
        }
        guard let scheduled = world.scheduledRestart, let at = scheduled.scheduledAt, at <= world.wall else {
            return nil
        }
        guard !isStale(scheduled, world),
            conditions(scheduled, world) == nil
        else { return nil }
        return scheduled
    }

    /// Whether a scheduled restart will never be: its time is over, or the server it was meant for is gone.
    static func isStale(_ request: RestartRequest, _ world: World) -> Bool {
        guard let at = request.scheduledAt else { return false }
        if let start = world.scheduledRestartStart, let sample = world.sample, sample.postmasterStartTime != start {
            return true
        }
        return world.wall - at > world.settings.loopWait * 3 / 2 + .seconds(1)
    }

    /// Why the conditions of a restart are not met; nil: they are.
    static func conditions(_ request: RestartRequest, _ world: World) -> String? {
        if let role = request.role {
            let ours: MemberRole = world.isRunningPrimary ? .primary : .replica
            if role != ours { return "the role is \(ours.rawValue), not \(role.rawValue)" }
        }
        if request.onlyPending, world.sample?.pendingRestart == nil { return "no restart is pending" }
        if let wanted = request.postgresVersion, let version = world.sample?.serverVersion {
            let parts = wanted.split(separator: ".").compactMap { Int($0) }
            let number = (parts.first ?? 0) * 10_000 + (parts.count > 1 ? parts[1] : 0)
            if version >= number { return "the server's version is not lower than \(wanted)" }
        }
        return nil
    }
}
