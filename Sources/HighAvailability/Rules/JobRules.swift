import ClusterModel

/// A long job runs: may it go on?
enum JobRules {
    static func running(_ world: World) -> Verdict? {
        guard let running = world.job else { return nil }
        let name = running.job.name
        if running.isCancelling { return .wait("job.cancelling", "cancelling: \(name)") }
        switch running.job {
        case .promote(let fence, _, _), .start(.primary(let fence)), .restart(.primary(let fence)):
            if world.term?.fence != fence, world.handover == nil {
                return Verdict("job.termOver", .warning, "cancelling, for its term is over: \(name)", [], .cancelJob)
            }
            return startTimeout(world, running)
        case .prePromote:
            if world.term == nil {
                return Verdict("job.termOver", .warning, "cancelling, for its term is over: \(name)", [], .cancelJob)
            }
        case .clone(let source, _), .rewind(let source):
            // The source led in the term noted; another term means that everything has to be judged anew.
            if let fence = source.fence, let leader = world.view?.leader, leader.fence != fence,
                leader.name != source.name
            {
                return Verdict(
                    "job.sourceChanged", .action, "cancelling, for its source leads no more: \(name)",
                    [Fact("leader", leader.name)], .cancelJob)
            }
        case .start(.standby), .restart(.standby), .stop, .follow, .bootstrap:
            break
        }
        var facts = [Fact("since_ms", milliseconds: world.now - running.since)]
        if let progress = running.progress { facts.append(Fact("progress", .object(progress))) }
        return Verdict("job.running", .routine, "in progress: \(name)", Array(facts.dropFirst()))
    }

    /// The least that a promotion, or a start that follows no crash, is given. `primary_start_timeout: 0` means not to wait
    /// for crash recovery; a promotion that gave way at once would only be followed by another that does.
    static let leastPatience: Duration = .seconds(10)

    /// A primary that takes longer to come back than `primary_start_timeout` gives way, if there is somebody to.
    private static func startTimeout(_ world: World, _ running: RunningJob) -> Verdict? {
        // Only what follows a crash is reckoned from it; a crash before this member became a standby says nothing here.
        var crashed = world.crashedSince
        if case .promote = running.job { crashed = nil }
        let began = crashed ?? running.since
        var limit = world.settings.primaryStartTimeout
        if crashed == nil { limit = max(limit, leastPatience) }
        if world.now - began > limit, let successor = RaceRules.likelySuccessor(world) {
            return Verdict(
                "primary.giveWay", .warning,
                "\(running.job.name) takes longer than primary_start_timeout: giving way to \(successor)",
                [
                    Fact("since_ms", milliseconds: world.now - began),
                    Fact("primary_start_timeout_ms", milliseconds: limit),
                ], .endTerm(.immediate, reason: "primary_start_timeout"))
        }
        return .wait("job.running", "in progress: \(running.job.name)")
    }
}
