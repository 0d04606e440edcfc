import AgentConfiguration
import ClusterModel
import ConfigurationTree
import Testing

@Suite struct YAMLParserTests {
    private func json(_ text: String) throws -> String {
        try YAMLParser.parse(text: text, source: "c.yml").json.serialized()
    }

    private func complaints(_ text: String) -> [String] {
        do {
            _ = try YAMLParser.parse(text: text, source: "c.yml")
            return []
        } catch {
            return error.complaints.map(\.description)
        }
    }

    @Test(arguments: [
        ("a: 1\nb: [x, 'y']\n", #"{"a":1,"b":["x","y"]}"#),
        ("", "null"), ("# nothing\n", "null"), ("a:\nb: ~\n", #"{"a":null,"b":null}"#),
        (
            "t: [yes, Off, 'yes', true, 0x10, 0644, '2', 1_000, -5, +7, 1.5, 12:30, 1e3, 08, 2024-01-01, 0b11]",
            #"{"t":[true,false,"yes",true,16,420,"2",1000,-5,7,1.5,"12:30","1e3","08","2024-01-01",3]}"#
        ),
        ("a: !!str 5\nb: !!int '5'\nc: ! 6\nd: !!str\n", #"{"a":"5","b":5,"c":"6","d":""}"#),
        ("base: &b {x: 1, y: 2}\nnew:\n  <<: *b\n  y: 3\n", #"{"base":{"x":1,"y":2},"new":{"y":3,"x":1}}"#),
        (
            "p: &p {x: 1}\nq: &q {x: 2, z: 2}\nr: {<<: [*p, *q], a: 0}\n",
            #"{"p":{"x":1},"q":{"x":2,"z":2},"r":{"a":0,"x":1,"z":2}}"#
        ),
        ("\"<<\": 5\n", #"{"<<":5}"#),
        ("a: |\n  one\n  two\nb: >-\n  three\n  four\n", #"{"a":"one\ntwo\n","b":"three four"}"#),
        ("---\na: 1\n...\n", #"{"a":1}"#),
        ("on: 1\n", #"{"on":1}"#),
    ])
    func `YAML becomes the values it means`(text: String, expected: String) throws {
        #expect(try json(text) == expected)
    }

    @Test(arguments: [
        ("a: 1\na: 2\n", ["c.yml:2:1: a: is given twice, first in line 1; keep one of them"]),
        (
            "x:\n  a: 1\n  b: 2\n  a: 3\n  b: 4\n",
            [
                "c.yml:4:3: x.a: is given twice, first in line 2; keep one of them",
                "c.yml:5:3: x.b: is given twice, first in line 3; keep one of them",
            ]
        ),
        ("a: 1\n---\nb: 2\n", ["c.yml:2:1: a second document begins here; a configuration is one document"]),
        (
            "a: *nowhere\n",
            ["c.yml:1:4: a: '*' begins an alias, and no anchor before it has this name; put a text with '*' in quotes"]
        ),
        ("a: &a [1, *a]\n", ["c.yml:1:11: a[1]: this alias contains itself"]),
        ("a:\n\tb: 1\n", ["c.yml:2:1: a: not YAML: a tab cannot indent; use spaces"]),
        (
            "a: b: c\n",
            ["c.yml:1:5: not YAML: a second ': ' on one line; put the value in quotes, or check the indentation"]
        ),
        ("a: %x\n", ["c.yml:1:4: a: not YAML: a value cannot begin with '%'; put it in quotes"]),
        ("a: @x\n", ["c.yml:1:4: a: not YAML: a value cannot begin with '@'; put it in quotes"]),
        ("? [x]\n: 1\n", ["c.yml:1:3: a key is a text; found a list"]),
        ("a: !thing 5\n", ["c.yml:1:4: a: '!' begins a tag, and this one is not known; put a text with '!' in quotes"]),
        ("<<: 5\n", ["c.yml:1:5: <<: '<<' takes a mapping or a list of mappings, found a single value"]),
    ])
    func `what cannot be read is complained of with its place`(text: String, expected: [String]) {
        #expect(complaints(text) == expected)
    }

    @Test func `an unclosed list is complained of`() throws {
        let complaint = try #require(complaints("a: [1, 2\nb: 3\n").first)
        #expect(complaint.hasPrefix("c.yml:2:"))
        #expect(complaint.contains("not YAML"))
    }

    @Test func `invalid UTF-8 is complained of with its line`() throws {
        do {
            _ = try YAMLParser.parse(
                bytes: Array("a: 1\nb: \"x".utf8) + [0xC3, 0x28] + Array("\"\n".utf8), source: "c.yml")
            Issue.record("it was read")
        } catch {
            #expect(error.complaints.map(\.mark.line) == [2])
        }
    }

    @Test func `nesting is bounded`() {
        let deep = String(repeating: "[", count: 65) + String(repeating: "]", count: 65)
        #expect(complaints(deep).first?.contains("nested deeper than 64 levels") == true)
        let fine = String(repeating: "[", count: 64) + String(repeating: "]", count: 64)
        #expect(complaints(fine).isEmpty)
        #expect(!complaints(String(repeating: "[", count: 100_000)).isEmpty)
    }

    @Test func `nesting through aliases is bounded`() {
        let open = String(repeating: "[", count: 40), close = String(repeating: "]", count: 40)
        let text = "a: &a \(open)1\(close)\nb: \(open)*a\(close)\n"
        #expect(complaints(text).first?.contains("nested deeper than 64 levels") == true)
    }

    @Test func `aliases cannot multiply a long text without end`() {
        let many = { (name: String) in Array(repeating: "*\(name)", count: 16).joined(separator: ", ") }
        let text = String(repeating: "x", count: 3000)
        let laughs = "t: &t \(text)\na: &a [\(many("t"))]\nb: &b [\(many("a"))]\nc: [\(many("b"))]\n"
        let complaints = Samples.complaints(laughs)
        #expect(complaints.contains { $0.contains("bytes of text, aliases included") }, "\(complaints)")
    }

    @Test func `aliases cannot multiply without end`() {
        var text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        for level in 1...12 {
            let alias = "*a\(level - 1)"
            text += "a\(level): &a\(level) [\(Array(repeating: alias, count: 10).joined(separator: ", "))]\n"
        }
        #expect(complaints(text).first?.contains("more than 200000 values") == true)
    }

    @Test func `size is bounded`() {
        let text = "a: '" + String(repeating: "x", count: YAMLParser.maximumSize) + "'"
        #expect(complaints(text).first?.contains("bytes long") == true)
    }

    @Test func `places are counted from one`() throws {
        let node = try YAMLParser.parse(text: "a:\n  - b: 5\n", source: "c.yml")
        let inner = try #require(node["a"]?.elements.first)
        #expect(inner.mark == SourceMark(source: "c.yml", line: 2, column: 5))
        #expect(inner["b"]?.mark.description == "c.yml:2:8")
        #expect(inner.pairs.first?.keyMark.column == 5)
    }

    @Test func `no text crashes it`() {
        var generator = SplitMix(state: 20_260_131)
        let pieces = [
            "a", ": ", "\n", "  ", "- ", "[", "]", "{", "}", ",", "'", "\"", "&x ", "*x", "<<: ", "!!str ", "|", ">",
            "#",
            "---\n", "...\n", "?", "\t", "%", "\u{0}", "é", "~", "\\u00", "@", "1",
        ]
        for _ in 0..<20_000 {
            let count = Int(generator.next() % 24)
            let text = (0..<count).map { _ in pieces[Int(generator.next() % UInt64(pieces.count))] }.joined()
            guard let node = try? YAMLParser.parse(text: text, source: "c.yml") else { continue }
            _ = node.json
            _ = Samples.load(text)
        }
    }
}

/// A small seeded generator, so that a failing text comes again.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
