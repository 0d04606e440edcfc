import ChildProcesses
import ConfigurationTree
import Logging
import PluginInterfaces
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

struct Trouble: Error, CustomStringConvertible {
    var description: String

    init(_ description: String) {
        self.description = description
    }
}

/// A thread-safe list.
final class Collected<Element: Sendable>: Sendable {
    private let elements = Mutex<[Element]>([])

    func add(_ element: Element) { elements.withLock { $0.append(element) } }
    var all: [Element] { elements.withLock { $0 } }
}

/// Waits until a condition holds; false when it does not in time.
func eventually(within limit: Duration = .seconds(20), _ condition: () -> Bool) async -> Bool {
    let clock = ContinuousClock()
    let deadline = clock.now + limit
    while !condition() {
        if clock.now >= deadline { return false }
        try? await Task.sleep(for: .milliseconds(5))
    }
    return true
}

/// Writes configuration nodes short.
indirect enum Yaml: ExpressibleByStringLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral {
    case plain(String)
    case quoted(String)
    case null
    case list([Yaml])
    case map([(String, Yaml)])

    init(stringLiteral text: String) { self = .plain(text) }
    init(arrayLiteral elements: Yaml...) { self = .list(elements) }
    init(dictionaryLiteral pairs: (String, Yaml)...) { self = .map(pairs) }

    /// Each value on a line of its own, as a file would have them; columns count the depth.
    var node: ConfigurationNode {
        var line = 0
        return node(&line, 1)
    }

    private func node(_ line: inout Int, _ column: Int) -> ConfigurationNode {
        func mark() -> SourceMark {
            line += 1
            return SourceMark(source: "test.yml", line: line, column: column)
        }
        switch self {
        case .plain(let text): return ConfigurationNode(.scalar(text: text, isPlain: true), at: mark())
        case .quoted(let text): return ConfigurationNode(.scalar(text: text, isPlain: false), at: mark())
        case .null: return ConfigurationNode(.null, at: mark())
        case .list(let elements):
            let start = SourceMark(source: "test.yml", line: line + 1, column: column)
            return ConfigurationNode(.list(elements.map { $0.node(&line, column + 2) }), at: start)
        case .map(let pairs):
            let start = SourceMark(source: "test.yml", line: line + 1, column: column)
            let nodes = pairs.map { key, value in
                let keyMark = SourceMark(source: "test.yml", line: line + 1, column: column)
                return ConfigurationNode.Pair(key: key, keyMark: keyMark, value: value.node(&line, column + 2))
            }
            return ConfigurationNode(.map(nodes), at: start)
        }
    }
}

/// The text of the complaints that reading something threw; nil when it threw none.
func complaints(_ body: () throws -> Void) -> String? {
    do {
        try body()
        return nil
    } catch {
        return "\(error)"
    }
}

/// A temporary directory of the account that runs PostgreSQL, and commands run as that account.
final class Playground: Sendable {
    static let binaries = "/usr/lib/postgresql/15/bin"

    let path: String

    init() throws {
        var template = Array("/tmp/matriarch-test-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw Trouble("mkdtemp: \(String(cString: strerror(errno)))") }
        path = String(cString: made)
        if geteuid() == 0 {
            guard let account = getpwnam("postgres") else { throw Trouble("there is no account postgres") }
            chown(path, account.pointee.pw_uid, account.pointee.pw_gid)
        }
    }

    /// Not in `deinit`: removing a data directory takes its time.
    func remove() async {
        _ = await ChildProcess.run(PluginCommand("rm", ["-rf", "--", path], deadline: .seconds(30)))
    }

    func write(_ name: String, _ text: String, mode: mode_t = 0o600) throws -> String {
        let file = "\(path)/\(name)"
        guard let stream = fopen(file, "we") else { throw Trouble("cannot write \(file)") }
        fputs(text, stream)
        fclose(stream)
        chmod(file, mode)
        if geteuid() == 0, let account = getpwnam("postgres") {
            chown(file, account.pointee.pw_uid, account.pointee.pw_gid)
        }
        return file
    }

    func script(_ name: String, _ body: String) throws -> String {
        try write(name, "#!/bin/sh\n\(body)\n", mode: 0o755)
    }

    func read(_ name: String) -> String? {
        guard let stream = fopen("\(path)/\(name)", "re") else { return nil }
        defer { fclose(stream) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = fread(&buffer, 1, buffer.count, stream)
            if count == 0 { break }
            bytes += buffer[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    func exists(_ name: String) -> Bool { access("\(path)/\(name)", F_OK) == 0 }

    /// Runs a command as an ordinary account, which PostgreSQL insists on.
    @Sendable func run(_ command: PluginCommand, _ onLine: (@Sendable (String) -> Void)?) async -> CommandEnd {
        var command = command
        if geteuid() == 0 {
            let words = ["--reuid=postgres", "--regid=postgres", "--init-groups", command.executable]
            command.arguments = words + command.arguments
            command.executable = "setpriv"
        }
        return await ChildProcess.run(command, workingDirectory: path) { _, line in onLine?(line) }
    }

    func context(
        data: String = "data", upstream: Upstream? = nil, passwordFile: String? = nil,
        progress: Collected<JobProgress> = Collected(), log: Collected<String> = Collected(),
        binary: (@Sendable (String) -> String)? = nil
    ) -> JobContext {
        JobContext(
            scope: "demo", memberName: "pg1", dataDirectory: "\(path)/\(data)",
            binary: binary ?? { "\(Self.binaries)/\($0)" }, upstream: upstream, superuser: "postgres",
            superuserPasswordFile: passwordFile, run: { await self.run($0, $1) }, progress: { progress.add($0) },
            logger: Logger(label: "test") { _ in CollectingHandler(lines: log) })
    }
}

/// A log that tests read.
struct CollectingHandler: LogHandler {
    let lines: Collected<String>
    var logLevel = Logger.Level.trace
    var metadata: Logger.Metadata = [:]

    init(lines: Collected<String>) {
        self.lines = lines
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) { lines.add("\(event.level) \(event.message)") }
}
