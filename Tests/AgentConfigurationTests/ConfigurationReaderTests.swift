import AgentConfiguration
import ConfigurationTree
import Testing

@Suite struct ConfigurationReaderTests {
    private func reader(_ text: String, path: String = "section") throws -> ConfigurationReader {
        ConfigurationReader(try YAMLParser.parse(text: text, source: "c.yml"), path: path)
    }

    @Test func `values are read by type`() throws {
        let reader = try reader(
            """
            name: pg1
            number: 0x10
            size: 1MB
            switch: off
            wait: 5min
            comma: a, b
            list: [a, 5]
            map: {x: 1, y: two}
            lines: |
              host a
              host b
            inner:
              mode: Fast
              password: 12345
            nothing:
            """)
        #expect(reader.string("name") == "pg1")
        #expect(reader.int("number", in: 1...20) == 16)
        #expect(reader.int("size", unit: .bytes) == 1_048_576)
        #expect(reader.bool("switch") == false)
        #expect(reader.duration("wait") == .seconds(300))
        #expect(reader.stringList("comma") == ["a", "b"])
        #expect(reader.stringList("list") == ["a", "5"])
        #expect(reader.stringMap("map")?.map(\.value) == ["1", "two"])
        #expect(reader.lines("lines") == ["host a", "host b"])
        let inner = try #require(reader.reader(for: "inner"))
        #expect(inner.choice("mode", ["fast": 1, "smart": 2]) == 1)
        #expect(inner.secret("password")?.value == "12345")
        #expect(reader.string("nothing") == nil)
        #expect(reader.int("absent", default: 7) == 7)
        #expect(try reader.check().isEmpty)
    }

    @Test func `every complaint has its place, its path and what would be right`() throws {
        let reader = try reader(
            """
            name: [a]
            empty: ''
            number: soon
            range: 70000
            least: 0
            switch: maybe
            wait: soon
            list: {a: b}
            items: [a, [b]]
            map: 5
            values: {a: [1]}
            mode: fats
            quote: "'a"
            """)
        _ = reader.string("name")
        _ = reader.string("empty")
        _ = reader.int("number")
        _ = reader.int("range", in: 1...65535)
        _ = reader.int("least", in: 1 ... .max)
        _ = reader.bool("switch")
        _ = reader.duration("wait")
        _ = reader.stringList("list")
        _ = reader.stringList("items")
        _ = reader.map("map")
        _ = reader.stringMap("values")
        _ = reader.choice("mode", ["fast": 1, "smart": 2])
        _ = reader.stringList("quote")
        _ = reader.requiredString("scope", "the cluster's name")
        #expect(
            reader.finish().map(\.description) == [
                "c.yml:1:7: section.name: expected a text, found a list",
                "c.yml:2:8: section.empty: is empty; give it a value or remove the key",
                "c.yml:3:9: section.number: 'soon' is not a whole number",
                "c.yml:4:8: section.range: 70000 is out of range; allowed is 1 to 65535",
                "c.yml:5:8: section.least: 0 is out of range; allowed is 1 and more",
                "c.yml:6:9: section.switch: 'maybe' is not a Boolean; write true or false",
                "c.yml:7:7: section.wait: 'soon' is not a length of time; write a number, counted in s, or one with its "
                    + "unit: us, ms, s, min, h, d",
                "c.yml:8:7: section.list: expected a list, found a mapping",
                "c.yml:9:12: section.items[1]: expected a text, found a list",
                "c.yml:10:6: section.map: expected a mapping (name: value), found a single value",
                "c.yml:11:13: section.values.a: expected a text, found a list",
                "c.yml:12:7: section.mode: 'fats' is not one of fast or smart; did you mean 'fast'?",
                "c.yml:13:8: section.quote: a quote is not closed in this list",
                "c.yml:1:1: section.scope: missing; the cluster's name",
            ])
        #expect(throws: ConfigurationComplaints.self) { try reader.check() }
    }

    @Test func `unknown keys are warnings with the nearest known name`() throws {
        let reader = try reader("hots: a\nnmae: b\nscope: c\ninner: {lsiten: d, elephant: e}\n", path: "")
        reader.allow("name", "hosts")
        _ = reader.string("scope")
        let inner = try #require(reader.reader(for: "inner"))
        _ = inner.string("listen")
        let expected = [
            "c.yml:4:9: inner.lsiten: unknown key, ignored; did you mean 'listen'?",
            "c.yml:4:20: inner.elephant: unknown key, ignored",
            "c.yml:1:1: hots: unknown key, ignored; did you mean 'hosts'?",
            "c.yml:2:1: nmae: unknown key, ignored; did you mean 'name'?",
        ]
        #expect(reader.finish().map(\.description) == expected)
        #expect(reader.finish().map(\.description) == expected, "finishing twice adds nothing")
        #expect(try reader.check().allSatisfy { $0.severity == .warning })
    }

    @Test func `a name that is given is not suggested for another`() throws {
        let reader = try reader("name: a\nnames: b\n", path: "")
        _ = reader.string("name")
        #expect(reader.finish().map(\.description) == ["c.yml:2:1: names: unknown key, ignored"])
    }

    @Test func `what is no mapping is one complaint and reads as empty`() throws {
        let reader = try reader("[a]")
        #expect(reader.string("name") == nil)
        #expect(
            reader.finish().map(\.description) == [
                "c.yml:1:1: section: expected a mapping (name: value), found a list"
            ])
    }

    @Test func `a secret of the wrong type is not shown`() throws {
        let reader = try reader("password: [hunter2]\n")
        #expect(reader.secret("password") == nil)
        #expect(!"\(reader.finish())".contains("hunter2"))
    }

    @Test func `complaints are put into reading order`() {
        let first = ConfigurationComplaint(at: SourceMark(source: "b.yml", line: 9, column: 1), path: "x", "1")
        let second = ConfigurationComplaint(at: SourceMark(source: "a.yml", line: 2, column: 1), path: "x", "2")
        let third = ConfigurationComplaint(at: SourceMark(source: "b.yml", line: 3, column: 5), path: "x", "3")
        #expect([first, second, third].inReadingOrder().map(\.message) == ["3", "1", "2"])
    }
}
