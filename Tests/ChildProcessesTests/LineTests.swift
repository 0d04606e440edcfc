import Testing

@testable import ChildProcesses

struct LineTests {
    @Test(
        "Lines end with LF, CR or both",
        arguments: [
            ("a\nb\n", ["a", "b"]),
            ("a\r\nb\r\n", ["a", "b"]),
            ("10%\r20%\rdone\n", ["10%", "20%", "done"]),
            ("\n\n", ["", ""]),
            ("a\r\r\n", ["a", ""]),
            ("a", []),
        ] as [(String, [String])])
    func ends(_ text: String, _ lines: [String]) {
        var splitter = LineSplitter()
        #expect(splitter.lines(adding: text.utf8) == lines)
        // However the bytes are cut into pieces.
        var byByte = LineSplitter()
        #expect(text.utf8.flatMap { byByte.lines(adding: [$0]) } == lines)
    }

    @Test("What has no line end is a line once the stream has ended")
    func rest() {
        var splitter = LineSplitter()
        #expect(splitter.lines(adding: "a\nb".utf8) == ["a"])
        #expect(splitter.rest() == "b")
        #expect(splitter.rest() == nil)
    }

    @Test("Bytes that are no UTF-8 are repaired")
    func repairs() {
        var splitter = LineSplitter()
        #expect(splitter.lines(adding: [0x61, 0xFF, 0x62, 0x0A]) == ["a\u{FFFD}b"])
    }

    @Test("A line is bounded; no character is cut in two")
    func bounded() {
        var splitter = LineSplitter(limit: 4)
        #expect(splitter.lines(adding: "abcdefgh\nij\n".utf8) == ["abcd…", "ij"])
        #expect(splitter.lines(adding: "abcö!\n".utf8) == ["abc…"])
        #expect(splitter.lines(adding: "abö!\n".utf8) == ["ab…"])
        #expect(splitter.lines(adding: "abö\n".utf8) == ["abö"])
    }

    @Test("The tail keeps the last lines that say something")
    func tail() {
        let tail = LineTail(limit: 2)
        #expect(tail.suffix == "")
        for line in ["a", "", "b", "  ", "c"] { tail.add(line) }
        #expect(tail.all == ["b", "c"])
        #expect(tail.suffix == ": b | c")
    }
}
