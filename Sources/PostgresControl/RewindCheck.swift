public import ClusterModel

/// Whether a data directory can follow a leader as it is, or has WAL of its own that the leader's history does not have.
///
/// Pure. Twins (two timelines of one number) cannot be told by positions: the caller compares its promotion marker.
public enum RewindCheck: Hashable, Sendable {
    case notNeeded
    case needed(String)
    /// The facts do not decide: ask again.
    case unknown(String)

    /// Where this member stands.
    public struct Local: Hashable, Sendable {
        public var timeline: Timeline
        /// A standby: the furthest of what it replayed and received. A former primary: its last checkpoint.
        public var position: LSN
        /// Whether it ran as a primary (control data "shut down", "in production", "in crash recovery" and the like).
        public var wasPrimary: Bool
        /// Whether it was shut down in order. One that was not may hold WAL beyond all that its files tell.
        public var isClean: Bool
        /// The end of the shutdown checkpoint's record, when it could be read.
        public var checkpointEnd: LSN?

        public init(
            timeline: Timeline, position: LSN, wasPrimary: Bool, isClean: Bool, checkpointEnd: LSN? = nil
        ) {
            self.timeline = timeline
            self.position = position
            self.wasPrimary = wasPrimary
            self.isClean = isClean
            self.checkpointEnd = checkpointEnd
        }

        /// From the control data of a stopped server; `checkpointEnd` from `WALRecord.end`.
        public init(control: ControlData, checkpointEnd: LSN?) {
            switch control.state {
            case .shutDown:
                self.init(
                    timeline: control.timeline, position: control.checkpoint, wasPrimary: true, isClean: true,
                    checkpointEnd: checkpointEnd)
            case .shutDownInRecovery:
                let timeline = max(control.timeline, control.minimumRecoveryTimeline)
                self.init(
                    timeline: timeline, position: max(control.minimumRecoveryEnd, control.checkpoint),
                    wasPrimary: false, isClean: true)
            case .inArchiveRecovery:
                let timeline = max(control.timeline, control.minimumRecoveryTimeline)
                self.init(
                    timeline: timeline, position: max(control.minimumRecoveryEnd, control.checkpoint),
                    wasPrimary: false, isClean: false)
            case .inProduction, .shuttingDown, .inCrashRecovery, .startingUp, .unrecognized:
                self.init(
                    timeline: control.timeline, position: control.checkpoint, wasPrimary: true, isClean: false)
            }
        }

        /// From a running standby.
        public init(sample: PostgresSample) {
            self.init(
                timeline: sample.timeline, position: sample.replayLSN ?? .zero, wasPrimary: !sample.isInRecovery,
                isClean: true)
        }
    }

    /// Decides. `leader` is the leader's own timeline with its ancestors (`TIMELINE_HISTORY`).
    public static func check(_ local: Local, leader: TimelineAncestry?) -> RewindCheck {
        guard local.timeline.number > 0 else { return .unknown("the own timeline is not known") }
        guard let leader, leader.timeline.number > 0 else { return .unknown("the leader's timeline is not known") }
        if local.timeline > leader.timeline {
            return .needed("own timeline \(local.timeline) is beyond the leader's \(leader.timeline)")
        }
        if local.timeline == leader.timeline {
            // A former primary of the same timeline that is not the leader: its last records may be its own.
            if local.wasPrimary, !local.isClean {
                return .needed(
                    "was a primary on the leader's timeline \(leader.timeline) and was not shut down in order")
            }
            return .notNeeded
        }
        guard let switchpoint = leader.switchpoint(of: local.timeline) else {
            return .needed("own timeline \(local.timeline) is not in the history of the leader's \(leader.timeline)")
        }
        let place = "timeline \(local.timeline) ended at \(switchpoint)"
        if !local.wasPrimary {
            return local.position > switchpoint
                ? .needed("replayed up to \(local.position), but \(place)") : .notNeeded
        }
        guard local.isClean else {
            return .needed("was a primary and was not shut down in order; \(place)")
        }
        if local.position >= switchpoint {
            return .needed("the last checkpoint at \(local.position) is not before the switch: \(place)")
        }
        guard let end = local.checkpointEnd else {
            return .needed("where the shutdown checkpoint at \(local.position) ends cannot be read; \(place)")
        }
        return end == switchpoint
            ? .notNeeded : .needed("the shutdown checkpoint ends at \(end), but \(place)")
    }
}
