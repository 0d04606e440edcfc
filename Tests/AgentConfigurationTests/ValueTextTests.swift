import ConfigurationTree
import Testing

@Suite struct ValueTextTests {
    @Test(arguments: [
        ("on", true), ("TRUE", true), ("yes", true), ("1", true), ("Off", false), ("false", false), ("NO", false),
        ("0", false),
    ])
    func `Booleans are read in any case`(text: String, value: Bool) {
        #expect(ValueText.boolean(text) == value)
    }

    @Test(arguments: ["", "2", "t", "enabled", "on "])
    func `other texts are no Booleans`(text: String) {
        #expect(ValueText.boolean(text) == nil)
    }

    @Test(arguments: [
        ("10", 10), ("-3", -3), ("0x1F", 31), ("0644", 420), ("0", 0), ("1.5", 2), ("2.5", 2), ("1e3", 1000),
        (" 7 ", 7), ("+4", 4), (".6", 1), ("00", 0),
    ])
    func `whole numbers are read as PostgreSQL reads them`(text: String, value: Int) {
        #expect(ValueText.integer(text) == value)
    }

    @Test(arguments: [
        "", " ", "-", "0x", "08", "500ABC", "5s", "1 2", ".", "e3", "99999999999999999999", "1e999", "ten", "0x1g",
    ])
    func `what is no whole number is refused`(text: String) {
        #expect(ValueText.integer(text) == nil)
    }

    @Test(arguments: [
        ("1GB", "kB", 1_048_576), ("1.5GB", "MB", 1536), ("1.1GB", "kB", 1_153_024), ("8kB", "8kB", 1),
        ("100", "8kB", 100), ("32MB", "16MB", 2), ("1 MB", "B", 1_048_576), ("30s", "ms", 30_000),
        ("1min", "s", 60), ("1.5h", "min", 90), ("1d", "s", 86_400), ("1500us", "ms", 2), ("512B", "kB", 0),
    ])
    func `units are converted to the setting's own`(text: String, unit: String, value: Int) throws {
        #expect(ValueText.integer(text, in: try #require(PostgresUnit(unit))) == value)
    }

    @Test(arguments: ["1gb", "1KB", "1s", "1 XB", "9999999TB", "1G B"])
    func `units of another kind or case are refused`(text: String) {
        #expect(ValueText.integer(text, in: .kilobytes) == nil)
    }

    @Test(arguments: [
        ("30", Duration.seconds(30)), ("30s", .seconds(30)), ("500ms", .milliseconds(500)), ("30min", .seconds(1800)),
        ("1.5h", .seconds(5400)), ("0.5", .milliseconds(500)), ("2d", .seconds(172_800)), ("7us", .microseconds(7)),
        ("-1", .seconds(-1)),
    ])
    func `durations take a unit or the default one`(text: String, value: Duration) {
        #expect(ValueText.duration(text) == value)
    }

    @Test(arguments: ["", "soon", "5 minutes", "5S", "99999999999999d"])
    func `other texts are no durations`(text: String) {
        #expect(ValueText.duration(text) == nil)
    }

    @Test(arguments: [
        ("a:2181,b:2181", ["a:2181", "b:2181"]), ("'a:2181','b:2181'", ["a:2181", "b:2181"]),
        ("'localhost:2181'", ["localhost:2181"]), ("[a, b]", ["a", "b"]), ("[\"a\", 'b']", ["a", "b"]),
        ("[::1]:2181,[::2]:2181", ["[::1]:2181", "[::2]:2181"]), ("[[::1]:2181]", ["[::1]:2181"]), ("a", ["a"]),
        ("", []), ("[]", []), (" a , b ,", ["a", "b"]), ("'a,b',c", ["a,b", "c"]), ("'it''s'", ["it's"]),
        ("\"a\\\"b\"", ["a\"b"]), ("a b", ["a b"]), ("'a'',b'", ["a',b"]), ("'\u{340}',b", ["\u{340}", "b"]),
        ("a,\u{301}b", ["a", "\u{301}b"]),
    ])
    func `lists are read with and without quotes and brackets`(text: String, elements: [String]) {
        #expect(ListText.elements(text) == elements)
    }

    @Test(arguments: ["'a", "\"a", "'a'b,c'", "'a' 'b'x"])
    func `an open quote is no list`(text: String) {
        #expect(ListText.elements(text) == nil)
    }

    @Test(arguments: [
        ("mame", "name"), ("usepg_rewind", "use_pg_rewind"), ("pg-hba", "pg_hba"), ("Scope", "scope"),
        ("retry_timout", "retry_timeout"), ("naem", "name"),
    ])
    func `the nearest name is found`(name: String, nearest: String) {
        let names = ["name", "use_pg_rewind", "pg_hba", "scope", "retry_timeout", "ttl"]
        #expect(NearestName.of(name, among: names) == nearest)
    }

    @Test func `nothing is suggested for a name that is like none`() {
        #expect(NearestName.of("elephant", among: ["name", "scope", "log"]) == nil)
        #expect(NearestName.of("", among: ["name"]) == nil)
    }

    @Test func `a secret prints as stars everywhere`() {
        let secret = Secret("hunter2")
        #expect("\(secret)" == "******")
        #expect(String(reflecting: secret) == "******")
        var dumped = ""
        dump(secret, to: &dumped)
        dump(["key": secret], to: &dumped)
        #expect(!dumped.contains("hunter2"))
    }
}
