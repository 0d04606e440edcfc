import ClusterModel

/// SIGTERM: hand over what is led, stop PostgreSQL, leave.
enum StoppingRules {
    /// How long to wait for the first word about what runs here.
    static let patience: Duration = .seconds(10)
    /// How long the store is waited for while nothing runs here any more: what is left in it goes with the session.
    static let settlingLimit: Duration = .seconds(5)

    static func stopping(_ world: World) -> Verdict? {
        guard world.isStopping else { return nil }
        if world.isLeaving { return .wait("stop.leaving", "leaving") }
        if world.server == .unknown {
            if world.now < world.stopAskedAt + patience {
                return .wait("stop.starting", "finding out what runs here before leaving")
            }
            // Not a clean end: the guard and whatever it holds are left as they are.
            let text = "leaving without having found out whether PostgreSQL runs; nothing was stopped"
            return Verdict("stop.unknown", .warning, text, [], .exit(1, text))
        }
        if world.isPaused {
            return Verdict(
                "stop.paused", .action,
                "leaving in pause: PostgreSQL keeps running, the leader entry is left to expire",
                [], .leaveRunning)
        }
        if let job = world.job, job.job.isDataCopy, !job.isCancelling {
            return Verdict("stop.cancelJob", .action, "cancelling: \(job.job.name)", [], .cancelJob)
        }
        if world.handover != nil { return nil }
        if let job = world.job {
            if case .stop = job.job { return .wait("stop.stopping", "stopping PostgreSQL") }
            switch job.job {
            case .start, .restart, .prePromote:
                return job.isCancelling
                    ? .wait("stop.cancelling", "cancelling: \(job.job.name)")
                    : Verdict("stop.cancelJob", .action, "cancelling: \(job.job.name)", [], .cancelJob)
            default: break
            }
            return .wait("stop.waitJob", "waiting for: \(job.job.name)")
        }
        switch world.server {
        case .up:
            if let term = world.term, world.isRunningPrimary {
                return Verdict(
                    "stop.handover", .action, "stopping: the leadership is handed over",
                    [Fact("fence", term.fence)],
                    .beginHandover(candidate: nil, isLeaving: true, request: nil))
            }
            return Verdict("stop.stop", .action, "stopping PostgreSQL", [], .startJob(.stop(.fast)))
        case .unknown: return nil
        case .down:
            switch world.lease {
            case .held(let term):
                return Verdict(
                    "stop.release", .action, "releasing the leader entry before leaving", [Fact("fence", term.fence)],
                    .release)
            case .releasing, .acquiring, .unresolved:
                return settle(world, "settling the leader entry")
            case .none, .proving, .ending:
                if world.commits.values.contains("abandon bootstrap") {
                    return settle(world, "taking the bootstrap back")
                }
                return Verdict("stop.leave", .action, "PostgreSQL is down: leaving", [], .leave)
            }
        }
    }

    private static func settle(_ world: World, _ what: String) -> Verdict {
        guard let since = world.settlingSince, world.now >= since + settlingLimit else {
            return .wait("stop.settle", "\(what) before leaving")
        }
        return Verdict(
            "stop.unsettled", .warning, "PostgreSQL is down: leaving without waiting longer for the store",
            [Fact("for", what), Fact("trouble", world.storeTrouble)], .leave)
    }
}
