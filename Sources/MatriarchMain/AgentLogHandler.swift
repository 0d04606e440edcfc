import AgentConfiguration
import ClusterModel
import Glibc
public import Logging
import PluginInterfaces
import Synchronization

/// Writes log lines as operators' tools expect them: `2026-01-31 12:00:00,123 INFO: text`, the level at column 24.
///
/// Lines go to one writer thread over a bounded queue, so that a full pipe never delays the agent; what does not fit is
/// counted and said.
public struct AgentLogHandler: LogHandler {
    public var metadata: Logger.Metadata = [:]
    public var logLevel: Logger.Level
    let label: String
    let sink: LogSink

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        var text = event.message.description
        let all = metadata.merging(event.metadata ?? [:]) { _, new in new }
        if !all.isEmpty {
            text += " " + all.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: " ")
        }
        sink.write(level: event.level, text)
    }
}

/// Where log lines end up: standard error or a file, in plain form or as JSON.
public final class LogSink: Sendable {
    private struct State {
        var lines: [String] = []
        var lost = 0
        var isClosed = false
    }

    private let state = Mutex(State())
    private let isJSON: Bool
    private let staticFields: JSONObject
    private let limit: Int
    private let path: String?
    private let fileSize: Int
    private let fileCount: Int
    private let fileMode: mode_t
    // Sound: a POSIX semaphore may be used from any thread, and is never freed while the process lives.
    private nonisolated(unsafe) let wakeUp = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)
    // Sound: posted once by the writer thread, waited for once by `close`.
    private nonisolated(unsafe) let done = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

    init(_ settings: LogSettings) {
        isJSON = settings.kind == .json
        staticFields = settings.staticFields
        limit = max(100, settings.maximumQueueSize)
        path = settings.directory.map { $0 + "/patroni.log" }
        fileSize = max(1_000_000, settings.fileSize)
        fileCount = settings.fileCount
        fileMode = mode_t(settings.fileMode ?? 0o640)
        sem_init(wakeUp, 0, 0)
        sem_init(done, 0, 0)
        var thread = pthread_t()
        let box = Unmanaged.passRetained(self)
        let created = pthread_create(
            &thread, nil,
            { raw in
                if let raw { Unmanaged<LogSink>.fromOpaque(raw).takeRetainedValue().run() }
                return nil
            }, box.toOpaque())
        if created == 0 { pthread_detach(thread) } else { box.release() }
    }

    func write(level: Logger.Level, _ text: String) {
        let line = format(level, text, SystemClock.wallTime())
        state.withLock { state in
            if state.lines.count >= limit { state.lost += 1 } else { state.lines.append(line) }
        }
        sem_post(wakeUp)
    }

    /// Writes what is queued; a bounded wait.
    func close() {
        state.withLock { $0.isClosed = true }
        sem_post(wakeUp)
        var until = timespec()
        clock_gettime(CLOCK_REALTIME, &until)
        until.tv_sec += 2
        _ = sem_timedwait(done, &until)
    }

    private func format(_ level: Logger.Level, _ text: String, _ now: WallTime) -> String {
        let name =
            switch level {
            case .trace, .debug: "DEBUG"
            case .info, .notice: "INFO"
            case .warning: "WARNING"
            case .error: "ERROR"
            case .critical: "CRITICAL"
            }
        let stamp = Self.stamp(now)
        if isJSON {
            var object: JSONObject = [
                "asctime": .string(stamp), "levelname": .string(name), "message": .string(text),
            ]
            for (key, value) in staticFields.members { object[key] = value }
            return JSONValue.object(object).serialized() + "\n"
        }
        return "\(stamp) \(name): \(text)\n"
    }

    /// `2026-01-31 12:00:00,123`, local time, 23 characters.
    private static func stamp(_ now: WallTime) -> String {
        var seconds = time_t(now.seconds)
        var parts = tm()
        localtime_r(&seconds, &parts)
        var buffer = [CChar](repeating: 0, count: 32)
        strftime(&buffer, 32, "%Y-%m-%d %H:%M:%S", &parts)
        let text = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let milliseconds = String((now.microseconds % 1_000_000) / 1000)
        return text + "," + String(repeating: "0", count: 3 - milliseconds.count) + milliseconds
    }

    private func run() {
        var descriptor: Int32 = 2
        if let path { descriptor = openFile(path) }
        while true {
            while sem_wait(wakeUp) != 0 {}
            let (lines, lost, isClosed) = state.withLock { state in
                defer {
                    state.lines = []
                    state.lost = 0
                }
                return (state.lines, state.lost, state.isClosed)
            }
            var text = lines.joined()
            if lost > 0 {
                text += format(
                    .warning, "\(lost) log lines were lost: the log's reader is too slow", SystemClock.wallTime())
            }
            put(text, descriptor)
            if let path, descriptor != 2 { descriptor = rotate(path, descriptor) }
            if isClosed {
                sem_post(done)
                return
            }
        }
    }

    private func put(_ text: String, _ descriptor: Int32) {
        let bytes = Array(text.utf8)
        var offset = 0
        while offset < bytes.count {
            let count = bytes[offset...].withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            if count <= 0 { return }
            offset += count
        }
    }

    private func openFile(_ path: String) -> Int32 {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, fileMode)
        if descriptor < 0 {
            put("cannot open the log file \(path): \(String(cString: strerror(errno))); logging to standard error\n", 2)
            return 2
        }
        return descriptor
    }

    private func rotate(_ path: String, _ descriptor: Int32) -> Int32 {
        var facts = stat()
        guard fstat(descriptor, &facts) == 0, facts.st_size > fileSize else { return descriptor }
        Glibc.close(descriptor)
        for number in stride(from: max(1, fileCount) - 1, through: 1, by: -1) {
            rename("\(path).\(number)", "\(path).\(number + 1)")
        }
        rename(path, path + ".1")
        return openFile(path)
    }
}

/// Makes the agent's logger, and the handler of everything that logs by swift-log.
enum AgentLog {
    static func start(_ settings: LogSettings) -> (logger: Logger, sink: LogSink) {
        let sink = LogSink(settings)
        let level = level(settings.level)
        let levels = Dictionary(settings.loggers.map { ($0.name, self.level($0.level)) }) { _, last in last }
        LoggingSystem.bootstrap { label in
            AgentLogHandler(logLevel: levels[label] ?? level, label: label, sink: sink)
        }
        return (Logger(label: "matriarch"), sink)
    }

    static func level(_ level: LogSettings.Level) -> Logger.Level {
        switch level {
        case .debug: .debug
        case .info: .info
        case .warning: .warning
        case .error: .error
        case .critical: .critical
        }
    }
}
