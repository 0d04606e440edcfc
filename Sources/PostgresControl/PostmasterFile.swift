/// `postmaster.pid`: what a running server says of itself in its data directory.
public struct PostmasterFile: Hashable, Sendable {
    public enum Status: String, Hashable, Sendable {
        case starting
        case stopping
        /// Takes connections.
        case ready
        /// In recovery, and takes none (`hot_standby` is off).
        case standby
    }

    public var processID: Int32
    public var dataDirectory: String
    /// Seconds since 1970.
    public var startTime: Int64
    public var port: Int?
    public var socketDirectory: String?
    public var listenAddress: String?
    /// nil: the line is not there (very early in the start, or a single-user server).
    public var status: Status?
    /// A server without postmaster writes its number negative.
    public var isSingleUser: Bool

    /// Reads the file's text; nil when it is empty, cut or something else.
    public init?(text: String) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map { $0.trimmed }
        guard lines.count >= 3, let number = Int32(lines[0]), number != 0, number != .min, let start = Int64(lines[2]),
            start > 0, !lines[1].isEmpty
        else { return nil }
        processID = abs(number)
        isSingleUser = number < 0
        dataDirectory = String(lines[1])
        startTime = start
        func line(_ index: Int) -> String? {
            index < lines.count && !lines[index].isEmpty ? String(lines[index]) : nil
        }
        port = line(3).flatMap { Int($0) }
        socketDirectory = line(4)
        listenAddress = line(5)
        status = line(7).flatMap { Status(rawValue: $0) }
    }

    /// Reads a data directory's file; nil when there is none (or none that can be read as one).
    public static func read(dataDirectory: String) -> PostmasterFile? {
        guard let text = try? Files.readText(dataDirectory + "/postmaster.pid") else { return nil }
        return PostmasterFile(text: text)
    }
}
