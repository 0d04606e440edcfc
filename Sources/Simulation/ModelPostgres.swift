package import ClusterModel
package import HighAvailability

/// A PostgreSQL that has positions, timelines and crashes, and no data.
package struct ModelPostgres {
    /// One making of a timeline: the number may be made twice, the branch never.
    package struct Branch: Hashable {
        package var timeline: Timeline
        package var number: Int
    }

    package struct Run: Hashable {
        package var isPrimary: Bool
        package var isAdopted = false
        package var upstream: String?
        /// Answers queries.
        package var isReady = true
        package var started: Int

        package init(
            isPrimary: Bool, isAdopted: Bool = false, upstream: String? = nil, isReady: Bool = true, started: Int
        ) {
            self.isPrimary = isPrimary
            self.isAdopted = isAdopted
            self.upstream = upstream
            self.isReady = isReady
            self.started = started
        }
    }

    package var identifier: String?
    package var branch = Branch(timeline: Timeline(1), number: 0)
    package var lsn = LSN(0x300_0000)
    package var past: [(branch: Branch, end: LSN)] = []
    package var state = ControlData.State.shutDown
    package var checkpoint = LSN(0x300_0000)
    /// What pg_control names until the first checkpoint after a promotion.
    package var controlTimeline = Timeline(1)
    package var run: Run?
    package var isStreaming = false

    // What the test wants to happen.
    package var startTakes: Duration = .milliseconds(100)
    package var stopTakes: Duration = .milliseconds(50)
    package var promoteTakes: Duration = .milliseconds(80)
    package var startFailures = 0
    package var isReplicationHeld = false
    package var hangsInStop = false
    package var rewindEnd: JobEnd?
    /// No room: it ends, and does not start, until there is some.
    package var isDiskFull = false
    /// Members that must have a commit before it is acknowledged, by name; empty: asynchronous.
    package var synchronousNames: Set<String> = []
    /// Bytes of WAL behind the newest that a standby may be and still stream; nil: all is kept.
    package var walKept: UInt64?
    /// Positions that replication slots hold, by the standby's name: what is behind them is kept.
    package var slots: [String: LSN] = [:]

    package var isWritable: Bool { run?.isPrimary == true && run?.isReady == true }

    package var data: DataDirectoryFacts {
        guard let identifier else { return .empty }
        return .initialized(
            ControlData(
                systemIdentifier: identifier, state: state, timeline: controlTimeline, checkpoint: checkpoint,
                minimumRecoveryEnd: lsn, minimumRecoveryTimeline: branch.timeline))
    }

    package var control: ControlData? {
        if case .initialized(let control) = data { return control }
        return nil
    }

    package func sample(at now: Instant, upstream: ModelPostgres?) -> PostgresSample? {
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

    package var history: TimelineHistory {
        TimelineHistory(
            rows: past.map { .init(timeline: $0.branch.timeline, switchLSN: $0.end, reason: "no recovery target") },
            timeline: branch.timeline)
    }

    /// Whether what this one has is the past of another, as PostgreSQL judges it: by numbers and positions alone.
    func isPast(of other: ModelPostgres) -> Bool {
        if branch.timeline == other.branch.timeline { return lsn <= other.lsn }
        guard let row = other.past.last(where: { $0.branch.timeline == branch.timeline }) else { return false }
        return lsn <= row.end
    }

    /// The same number made twice, which streaming would not notice at the same position.
    package func isTwin(of other: ModelPostgres) -> Bool {
        // A branch's number is its own, and so is the past that it was made with.
        if branch == other.branch { return false }
        let mine = past.map(\.branch) + [branch]
        let theirs = other.past.map(\.branch) + [other.branch]
        return theirs.contains { one in mine.contains { $0.timeline == one.timeline && $0.number != one.number } }
    }

    package mutating func promote(branchNumber: Int, to timeline: Timeline? = nil) {
        past.append((branch, lsn))
        branch = Branch(timeline: timeline ?? branch.timeline.next, number: branchNumber)
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
