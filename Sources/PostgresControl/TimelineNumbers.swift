public import ClusterModel
import Glibc

/// Which number PostgreSQL gives the timeline that a promotion makes.
///
/// A standby that is promoted takes the number after the newest one whose history file it finds, looking upwards from its
/// own (`findNewestTimeLine` in the server). Two servers that are promoted from one timeline, one after the other and
/// without having heard of each other, make the same number twice, and a standby on the one streams from the other without
/// noticing. So numbers that another promotion may have used are left out: a history file of ours stands in for each.
///
/// The file says that its timeline left ours at the very beginning of the WAL: no server ever takes it for its own future
/// (`rescanLatestTimeLine` refuses a timeline that branched off before the replayed position), and standbys that fetch
/// the history files between their timeline and the primary's find one there.
public enum TimelineNumbers {
    /// What tells a file of ours from a real one.
    static let reason = "this number was left out, for another promotion may have used it"

    /// Makes the next promotion from one timeline make the other. Files that are there already stay.
    ///
    /// Throws when a file cannot be written: then nothing may be promoted.
    public static func leaveOut(
        dataDirectory: String, from: Timeline, to target: Timeline
    ) throws(PostgresError) {
        var number = from.next
        while number < target {
            let path = path(dataDirectory, number)
            if try Files.readText(path) == nil {
                try Files.replace(path, with: Array("\(from)\t0/1\t\(reason)\n".utf8), mode: 0o600)
            }
            number = number.next
        }
    }

    /// Removes the files of a promotion that did not happen: a server that is started as a standby would look for the WAL
    /// of such a timeline and refuse to start. Those below a timeline that was made stay, its own or a later one that it
    /// has the history of: the server finds that one only by way of them, and others may ask for them.
    public static func takeBack(dataDirectory: String) throws(PostgresError) {
        guard let own = try ControlFile.read(dataDirectory: dataDirectory)?.data else { return }
        var number = max(own.timeline, own.minimumRecoveryTimeline).next
        var unused: [Timeline] = []
        // Upwards as the server looks: the first number without a file ends the search.
        while let text = try Files.readText(path(dataDirectory, number)) {
            if text.contains(reason) { unused.append(number) } else { unused = [] }
            number = number.next
        }
        for number in unused { unlink(path(dataDirectory, number)) }
    }

    private static func path(_ dataDirectory: String, _ timeline: Timeline) -> String {
        "\(dataDirectory)/pg_wal/\(TimelineAncestry.fileName(timeline))"
    }
}
