import Glibc

/// A text that can be made as long as wanted, such that a decoder with a loop too many is caught by it.
struct GrowthPattern: Sendable, CustomStringConvertible {
    var target: String
    var head: String
    /// `#` becomes the number of the repetition, so that keys differ.
    var unit: String
    var tail: String

    init(_ target: String, _ head: String = "", _ unit: String, _ tail: String = "") {
        self.target = target
        self.head = head
        self.unit = unit
        self.tail = tail
    }

    var description: String { "\(target): \(head.prefix(60).debugDescription), \(unit.debugDescription) over and over" }

    func bytes(_ size: Int) -> [UInt8] {
        var bytes = Array(head.utf8)
        var number = 0
        while bytes.count < size {
            bytes += unit.replacing("#", with: "\(number)").utf8
            number += 1
        }
        return bytes + Array(tail.utf8)
    }

    /// The processor time that this thread takes for 2 KiB and for eight times as much.
    func seconds() -> (short: Double, long: Double) {
        func measured(_ size: Int) -> Double {
            let bytes = bytes(size)
            guard let target = FuzzTarget.named(target) else { return 0 }
            let start = Self.threadSeconds()
            _ = target.run(bytes)
            return Self.threadSeconds() - start
        }
        // The first run of a target sets up what all later ones use.
        _ = measured(64)
        return (measured(2 << 10), measured(16 << 10))
    }

    /// Hands each measurement on as a line, for who looks for the slow ones.
    static func measureAll(_ say: (String) -> Void) {
        for pattern in all {
            let (short, long) = pattern.seconds()
            let factor = long / max(short, 1e-9)
            say("\(Int(short * 1e6)) us\t\(Int(long * 1e6)) us\tx\(Int(factor))\t\(pattern)\n")
        }
    }

    private static func threadSeconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    private static let restHead = "PATCH /config\nAuthorization: Basic dXNlcjpwYXNzd29yZA==\nContent-Length: 99\n\n"

    static let all: [GrowthPattern] = [
        GrowthPattern("json", "{", "\"k#\":#,", "\"z\":1}"),
        GrowthPattern("json", "[", "[[]],", "1]"),
        GrowthPattern("json", "\"", "\\ud83d\\ude00\\n", "\""),
        GrowthPattern("yaml-text", "{", "\"k #\":\"a: b\",", "\"z\":1}"),
        GrowthPattern("cluster", "", "members/pg#\n{\"state\":\"running\",\"api_url\":\"http://a:1\"}\n---\n"),
        GrowthPattern("cluster", "members/a\npostgres://", "a:/", ""),
        GrowthPattern("cluster", "sync\n{\"leader\":\"a\",\"sync_standby\":\"", "a#,", "\"}"),
        GrowthPattern("cluster", "history\n[", "[#,1,\"x\"],", "[1,1]]"),
        GrowthPattern("cluster", "promotions\n{", "\"#\":{\"leader\":\"a\",\"fence\":\"0.#\"},", "\"x\":1}"),
        GrowthPattern("cluster", "status\n{\"slots\":{", "\"a#\":#,", "\"z\":1}}"),
        GrowthPattern("yaml", "", "k#: {a: [b, 'c']}\n"),
        GrowthPattern("yaml", "", "a: 1\n"),
        GrowthPattern("yaml", "b: &a {k: v}\nc: [", "*a, ", "*a]"),
        GrowthPattern("yaml", "a: [", "&a# x, *a#, ", "]"),
        GrowthPattern("settings", FuzzTarget.good + "\n", "k#: v\n"),
        GrowthPattern("settings", FuzzTarget.good + "\ntags: {", "k#: v, ", "z: 1}"),
        GrowthPattern("settings", FuzzTarget.good + "\nlog: {loggers: {", "k#: INFO, ", "z: INFO}}"),
        GrowthPattern("settings", FuzzTarget.good + "\nstate_dir: ", "/"),
        GrowthPattern("settings", FuzzTarget.good.replacing("/srv/pg1", with: "/") + "\n# ", "k"),
        GrowthPattern(
            "settings", FuzzTarget.good.replacing("data_dir: /srv/pg1", with: "listen2: 1") + "\n  data_dir: ", "/"),
        GrowthPattern("settings", FuzzTarget.good + "\n  parameters: {", "k#: v, ", "z: 1}"),
        GrowthPattern("settings", FuzzTarget.good + "\n  pg_hba: [", "host all, ", "x]"),
        GrowthPattern("settings", FuzzTarget.good + "\n  basebackup: [", "k#: v, ", "x]"),
        GrowthPattern("environment", "PATRONI_ZOOKEEPER_HOSTS=", "a#:1,"),
        GrowthPattern("environment", "", "PATRONI_X#=y\n"),
        GrowthPattern("environment", "PATRONI_ZOOKEEPER_HOSTS= x", "'"),
        GrowthPattern("dynamic", "{", "\"k#\":#,", "\"ttl\":30}"),
        GrowthPattern("dynamic", "{\"postgresql\":{", "\"k#\":#,", "\"z\":1}}"),
        GrowthPattern("dynamic", "{\"postgresql\":{\"parameters\":{", "\"k#\":\"v\",", "\"z\":1}}}"),
        GrowthPattern("dynamic", "{\"slots\":{", "\"k#\":{\"type\":\"physical\"},", "\"z\":{}}}"),
        GrowthPattern("values", "", "9"),
        GrowthPattern("values", "", "a,"),
        GrowthPattern("values", String(repeating: " ", count: 4000) + "x", "'"),
        GrowthPattern("values", "", "["),
        GrowthPattern("values", "a", "\u{301}"),
        GrowthPattern("postgres-text", "postmaster\n1\n/d\n1\n", "5432\n"),
        GrowthPattern("postgres-text", "history\n", "# x\n"),
        GrowthPattern("postgres-text", "controldata\n", "k#: v\n"),
        GrowthPattern("postgres-text", "auto.conf\n", "k# = v\n"),
        GrowthPattern("postgres-text", "bytea\n\\x", "31"),
        GrowthPattern("postgres-text", "stat\n1 (a) S", " 1"),
        GrowthPattern("postgres-text", "version\n", "x "),
        GrowthPattern("quoting", "", "'\\"),
        GrowthPattern("quoting", "postgres://", "a:@"),
        GrowthPattern("peer", "", "{\"heartbeat\":1}\n"),
        GrowthPattern("peer", "http://", "@"),
        GrowthPattern("peer", "{\"members\":[", "{\"name\":\"pg#\",\"api_url\":\"http://a:1/\"},", "{}]}"),
        GrowthPattern("peer", "{\"rule\":\"r\",\"text\":\"", "word # ", "\"}"),
        GrowthPattern("rest", "GET /replica?", "tag_k#=v&"),
        GrowthPattern("rest", "GET /", "leade"),
        GrowthPattern("rest", "GET /x?a=", "%41+"),
        GrowthPattern("rest", restHead + "{", "\"k#\":1,", "\"z\":1}"),
        GrowthPattern("programs", "", "word '#' \\a "),
        GrowthPattern("programs", "", "\r"),
        GrowthPattern("programs", "[", "k#: v, ", "x]"),
        GrowthPattern("zookeeper", "hosts: [", "a#, ", "z]"),
        GrowthPattern("zookeeper", "hosts: a\nauth_data: {", "k#: v, ", "z: 1}"),
        GrowthPattern("zookeeper", "hosts: a\nset_acls: {", "k#: [ALL], ", "z: [ALL]}"),
        GrowthPattern("zookeeper", "", "Mode\n"),
        GrowthPattern("time", "", "9"),
        GrowthPattern("time", "2026-01-31T10:00:00.", "9"),
        GrowthPattern("guard-packet", "", "x"),
    ]
}
