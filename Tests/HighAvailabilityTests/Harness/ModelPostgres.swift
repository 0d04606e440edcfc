import ClusterModel
import HighAvailability

/// A PostgreSQL that has positions, timelines and crashes, and no data.
struct ModelPostgres {
    /// One making of a timeline: the number may be made twice, the branch never.
    struct Branch: Hashable {
        var timeline: Timeline
        var number: Int
    }

    struct Run: Hashable {
        var isPrimary: Bool
        var isAdopted = false
        var upstream: String?
        /// Answers queries.
        var isReady = true
        var started: Int
    }

    var identifier: String?
    var branch = Branch(timeline: Timeline(1), number: 0)
    var lsn = LSN(0x300_0000)
    var past: [(branch: Branch, end: LSN)] = []
    var state = ControlData.State.shutDown
    var checkpoint = LSN(0x300_0000)
    /// What pg_control names until the first checkpoint after a promotion.
    var controlTimeline = Timeline(1)
    var run: Run?
    var isStreaming = false

    // What the test wants to happen.
    var startTakes: Duration = .milliseconds(100)
    var stopTakes: Duration = .milliseconds(50)
    var promoteTakes: Duration = .milliseconds(80)
    var startFailures = 0
    var isReplicationHeld = false
    var hangsInStop = false
    var rewindEnd: JobEnd?

    var isWritable: Bool { run?.isPrimary == true && run?.isReady == true }

    var data: DataDirectoryFacts {
        guard let identifier else { return .empty }
        return .initialized(
            ControlData(
                systemIdentifier: identifier, state: state, timeline: controlTimeline, checkpoint: checkpoint,
                minimumRecoveryEnd: lsn, minimumRecoveryTimeline: branch.timeline))
    }

    var control: ControlData? {
        if case .initialized(let control) = data { return control }
        return nil
    }

    func sample(at now: Instant, upstream: ModelPostgres?) -> PostgresSample? {
        guard let run, run.isReady else { return nil }
        var sample = PostgresSample(
            takenAt: now, isInRecovery: !run.isPrimary, serverVersion: 150_004, timeline: branch.timeline)
        sample.systemIdentifier = identifier
        sample.postmasterStartTime = "start \(run.started)"
        if run.isPrimary {
            sample.writeLSN = lsn
        } else {
            sample.receiveLSN = lsn
            sample.replayLSN = lsn
            if isStreaming { sample.receiver = .init(status: "streaming", receivedTimeline: branch.timeline) }
        }
        return sample
    }

    var history: TimelineHistory {
        TimelineHistory(
            rows: past.map { .init(timeline: $0.branch.timeline, switchLSN: $0.end, reason: "no recovery target") })
    }

    /// Whether what this one has is the past of another.
    func isPast(of other: ModelPostgres) -> Bool {
        if branch == other.branch { return lsn <= other.lsn }
        guard let row = other.past.last(where: { $0.branch == branch }) else { return false }
        return lsn <= row.end
    }

    /// The same number made twice, which streaming would not notice at the same position.
    func isTwin(of other: ModelPostgres) -> Bool {
        let mine = past.map(\.branch) + [branch]
        let theirs = other.past.map(\.branch) + [other.branch]
        return theirs.contains { one in mine.contains { $0.timeline == one.timeline && $0.number != one.number } }
    }

    mutating func promote(branchNumber: Int) {
        past.append((branch, lsn))
        branch = Branch(timeline: branch.timeline.next, number: branchNumber)
        run?.isPrimary = true
        state = .inProduction
        isStreaming = false
    }

    mutating func crash() {
        guard let run else { return }
        state = run.isPrimary ? .inProduction : .inArchiveRecovery
        self.run = nil
        isStreaming = false
    }

    /// The shutdown checkpoint is one more record; connected standbys get it.
    mutating func beginCleanStop() {
        guard run?.isPrimary == true else { return }
        checkpoint = lsn
        lsn = LSN(lsn.bytes + 120)
        controlTimeline = branch.timeline
    }

    mutating func endCleanStop() {
        guard let run else { return }
        state = run.isPrimary ? .shutDown : .shutDownInRecovery
        self.run = nil
        isStreaming = false
    }

    mutating func copy(_ other: ModelPostgres) {
        identifier = other.identifier
        branch = other.branch
        lsn = other.lsn
        past = other.past
        checkpoint = other.checkpoint
        controlTimeline = other.controlTimeline
        state = .inArchiveRecovery
    }
}

/// The guard's side of the bargain: deadlines, postures, and the end of what is not allowed.
struct ModelGuard {
    var isUp = true
    var term: Fence?
    var over = Fence(era: 0, number: 0)
    var deadlines: LeaseDeadlines?
    var posture: GuardPosture = .replica
    /// Promoting, or started as a primary.
    var isEnforced = false
    var isFrozen = false
    var graceUntil: Instant?

    var isArmed: Bool { term != nil && deadlines != nil }
}
