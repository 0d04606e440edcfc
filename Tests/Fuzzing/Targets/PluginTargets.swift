import ClusterModel
import ConfigurationTree
import PluginInterfaces

@testable import AgentConfiguration
@testable import BaseBackupReplica
@testable import ChildProcesses
@testable import EmbeddedStore
@testable import ScriptHooks
@testable import ZooKeeperStore

extension FuzzTarget {
    /// What programs print, and the command lines and sections that start them.
    static let programs = FuzzTarget("programs", reads: "scripts' and programs' output, command lines, script sections")
    {
        bytes in
        func lines(_ pieces: [ArraySlice<UInt8>]) -> [String] {
            var splitter = ChildProcesses.LineSplitter(limit: 64)
            return pieces.flatMap { splitter.lines(adding: $0) } + [splitter.rest()].compactMap { $0 }
        }
        let whole = lines([bytes[...]])
        let half = bytes.count / 3
        try require(lines([bytes[..<half], bytes[half...]]) == whole, "cut elsewhere, the lines differ")
        let tail = LineTail(limit: 3)
        for line in whole {
            try require(line.utf8.count <= 64 * 3 + 3, "a line of \(line.utf8.count) bytes")
            tail.add(line)
            if let progress = BackupProgress(line) { _ = progress.words }
        }
        try require(tail.all.count <= 3, "more lines than wanted")
        let text = text(bytes)
        if let words = try? ShellWords.split(text) {
            let quoted = words.map { "'" + replacing("'", in: $0, by: "'\\''") + "'" }.joined(separator: " ")
            try require((try? ShellWords.split(quoted)) == words, "\(words) is not read again from \(quoted)")
        }
        guard let node = try? YAMLParser.parse(text: text, source: "c.yml") else { return }
        do {
            _ = try ScriptSection(node, path: "bootstrap.x", defaultCommand: nil, ignored: ["no_params"])
        } catch let complaints as ConfigurationComplaints {
            for complaint in complaints.complaints { try check(complaint) }
        }
        let (options, complaints) = CommandOptions.read(node, path: "p", tool: "initdb", forbidden: ["pgdata"])
        for complaint in complaints { try check(complaint) }
        try require(
            !options.arguments.contains { $0.hasPrefix("--pgdata") }, "a forbidden option: \(options.arguments)")
    }

    /// ZooKeeper's section, its servers' words, saved sessions.
    static let zooKeeper = FuzzTarget("zookeeper", reads: "ZooKeeper's section, hosts, four-letter answers, sessions") {
        bytes in
        let text = text(bytes)
        if let server = ZooKeeperSettings.server(text) {
            try require(!server.host.isEmpty && (1...65_535).contains(server.port), "read as \(server)")
        }
        _ = ServerProbe.role(in: text)
        if let tick = ServerProbe.tick(in: text) { try require(tick > .zero, "a tick of \(tick)") }
        if let identity = ClientIdentity(encoded: bytes) {
            try require(identity.encoded == bytes, "a session is written otherwise than it was read")
        }
        let paths = KeyPaths(root: "service/demo", chroot: "", memberName: "pg1")
        if let key = paths.key(text) { try require(paths.path(key) == text, "\(text) is not \(key)'s path") }
        guard let node = try? YAMLParser.parse(text: text, source: "c.yml") else { return }
        let (settings, complaints) = ZooKeeperSettings.read(node, path: "zookeeper")
        for complaint in complaints { try check(complaint) }
        guard let settings else { return }
        try require(!settings.servers.isEmpty, "no server")
        try require(settings.chroot.isEmpty || settings.chroot.hasPrefix("/"), "chroot \(settings.chroot)")
        for server in settings.servers {
            let hasBreak = server.host.utf8.contains { $0 <= 32 || $0 == UInt8(ascii: ",") || $0 == UInt8(ascii: "/") }
            try require(!hasBreak, "a host that the client would split: '\(server.host)'")
        }
    }

    /// Rows of the embedded store as anybody with a database shell may have written them: `key TAB value TAB ...` lines.
    static let embedded = FuzzTarget("embedded", reads: "rows of the embedded store's file", maximumLength: 1024) {
        bytes in
        let connection = try SQLiteConnection(path: ":memory:")
        try connection.execute("CREATE TABLE entries (key, value, created, version, modified, owner)")
        try connection.execute("CREATE TABLE sessions (id, boot_id, expires, lifetime, name, token)")
        try connection.execute("CREATE TABLE meta (id, revision, era)")
        for line in bytes.split(separator: 10).prefix(16) {
            let values = line.split(separator: 9, omittingEmptySubsequences: false).map { field -> SQLiteValue in
                let text = text(field)
                if let number = Int64(text) { return .integer(number) }
                if text.isEmpty { return .null }
                return text.hasPrefix("x'") ? .blob(Array(field.dropFirst(2))) : .text(text)
            }
            let padded = values + Array(repeating: .null, count: 7)
            switch values[0].text {
            case "session": try connection.execute("INSERT INTO sessions VALUES (?,?,?,?,?,?)", Array(padded[1...6]))
            case "meta": try connection.execute("INSERT INTO meta VALUES (?,?,?)", Array(padded[1...3]))
            default: try connection.execute("INSERT INTO entries VALUES (?,?,?,?,?,?)", Array(padded[0...5]))
            }
        }
        var transaction: EmbeddedTransaction
        do {
            transaction = try EmbeddedTransaction(
                connection: connection, root: "service/demo/", bootID: "boot", tokens: [SessionID("s1"): "token"],
                now: Instant(nanoseconds: 1_000_000_000))
        } catch is SQLiteFailure {
            return
        }
        _ = (transaction.next, transaction.resulting)
        for entry in try transaction.entries(.all) {
            try require(!entry.key.isEmpty, "an entry without a key")
        }
        _ = try transaction.isOurs(SessionID("s1"))
        _ = try transaction.nextExpiry()
        _ = try? transaction.extend(SessionID("s1"), to: Instant(nanoseconds: 2_000_000_000))
        try? transaction.purge()
        _ = try? transaction.apply([.absent("leader")], [.create("leader", [1], .permanent), .delete("failover")])
    }
}
