import ClusterModel

/// Whether a data directory that pg_rewind has made has the WAL that it must replay before it is consistent.
///
/// pg_rewind copies what the source has of WAL and does not ask whether that begins early enough. A source that was itself
/// copied after the two had parted has none of the WAL in between: a standby on such data waits for it for ever, and never
/// accepts a connection.
public enum RewoundWAL {
    /// The first segment that recovery needs and that is not there; nil when all are. `leader` is the source's timeline
    /// with its ancestors.
    ///
    /// Of each segment the file of the timeline that wrote its end is needed: a promotion begins its own with a copy of
    /// what came before. The last one is not looked for: the source still writes it, and a standby streams it.
    ///
    /// Throws what keeps the control file or the label from being read.
    public static func firstMissingSegment(
        dataDirectory: String, leader: TimelineAncestry
    ) throws(PostgresError) -> String? {
        guard let (control, geometry) = try ControlFile.read(dataDirectory: dataDirectory),
            let label = try Files.readText(dataDirectory + "/backup_label"), let start = startOfRecovery(label)
        else { return nil }
        let size = UInt64(geometry.walSegmentSize)
        guard size > 0, start < control.minimumRecoveryEnd else { return nil }
        for number in start.bytes / size..<control.minimumRecoveryEnd.bytes / size {
            let name = WALRecord.segmentName(
                LSN(number * size), owner(ofSegmentEndingAt: LSN((number + 1) * size), leader),
                segmentSize: size)
            if Files.facts("\(dataDirectory)/pg_wal/\(name)")?.size != Int64(size) { return name }
        }
        return nil
    }

    /// The timeline that wrote the last byte before this position.
    static func owner(ofSegmentEndingAt end: LSN, _ leader: TimelineAncestry) -> Timeline {
        leader.steps.first { $0.switchpoint >= end }?.timeline ?? leader.timeline
    }

    /// Where recovery begins, as a backup label tells ("START WAL LOCATION: 0/2000028 (file …)").
    static func startOfRecovery(_ label: String) -> LSN? {
        let key = "START WAL LOCATION:"
        guard let line = label.split(separator: "\n").first(where: { $0.hasPrefix(key) }) else { return nil }
        return line.dropFirst(key.count).split(separator: " ").first.flatMap { LSN(text: $0) }
    }
}
