import ClusterModel
import Testing

@testable import OperatorCLI

@Suite struct TableTests {
    @Test func wrapsAtSpacesAndWithinLongWords() {
        #expect(TextTable.wrap("no recovery target specified", to: 12) == ["no recovery", "target", "specified"])
        #expect(TextTable.wrap("abcdefghij", to: 4) == ["abcd", "efgh", "ij"])
        #expect(TextTable.wrap("", to: 4) == [""])
    }

    @Test func givesUpExpendableColumnsFirstThenWraps() {
        let table = TextTable(
            heading: nil, columns: [.init("A"), .init("Long", expendable: 1), .init("Text")],
            rows: [["1", "xxxxxxxxxxxxxxxxxxxx", "some words that are rather many"]])
        #expect(
            table.lines(width: 24) == [
                "+---+------------------+", "| A | Text             |", "+---+------------------+",
                "| 1 | some words that  |", "|   | are rather many  |", "+---+------------------+",
            ])
        #expect(table.lines(width: nil).count == 5)
    }

    @Test(arguments: [
        ("plain", "plain"), ("true", "'true'"), ("12", "'12'"), ("", "''"), ("it's", "it's"), ("- x", "'- x'"),
        ("a: b", "'a: b'"), ("'quoted", "'''quoted'"), ("two\nlines", #""two\nlines""#), ("null", "'null'"),
        ("host all all 127.0.0.1/32 md5", "host all all 127.0.0.1/32 md5"),
    ]) func quotesYAMLTextsThatWouldMeanSomethingElse(text: String, written: String) {
        #expect(YAMLText.text(text) == written)
    }

    @Test func writesYAMLInBlocks() {
        let value: JSONValue = [
            "ttl": 30, "list": [1, ["a": 1, "b": [true]]], "empty": [], "none": .null, "map": ["x": ["name": "z"]],
        ]
        #expect(
            YAMLText.write(value) == """
                ttl: 30
                list:
                - 1
                - a: 1
                  b:
                  - true
                empty: []
                none: null
                map:
                  x:
                    name: z

                """)
    }

    @Test func differenceShowsWhatChangedAndAroundIt() {
        let old = (1...12).map { "line \($0)" }.joined(separator: "\n")
        let new = old.replacing("line 6\n", with: "line six\n")
        #expect(
            LineDifference.unified(old, new) == [
                " line 3", " line 4", " line 5", "-line 6", "+line six", " line 7", " line 8", " line 9",
            ])
        #expect(LineDifference.unified(old, old).isEmpty)
    }

    @Test(arguments: [
        ("http://a:1/patroni", "http://a:1"), ("a:1", "http://a:1"), ("https://[::1]:8008", "https://[::1]:8008"),
        ("ftp://a", nil), ("", nil), ("http://", nil),
    ]) func addresses(text: String, base: String?) {
        #expect(ControlConfiguration.base(of: text) == base)
    }

    @Test(arguments: [
        (["-c", "f", "list", "demo"], ["list", "-c", "f", "demo"]), (["list", "-c", "f"], ["list", "-c", "f"]),
        (["-k", "--config=f", "pause"], ["pause", "-k", "--config=f"]), (["-c", "f"], ["-c", "f"]), ([], []),
    ]) func optionsBeforeTheCommandGoBehindIt(given: [String], expected: [String]) {
        #expect(CommandLineTool.rearranged(given) == expected)
    }
}
