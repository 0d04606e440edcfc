import ChildProcesses
import Testing

struct ShellWordsTests {
    @Test(
        "Command lines are split as Python's shlex splits them",
        arguments: [
            ("", []),
            ("  \t\r\n ", []),
            ("a", ["a"]),
            (" a  b\tc\nd ", ["a", "b", "c", "d"]),
            ("/usr/bin/x --key=value", ["/usr/bin/x", "--key=value"]),
            ("'a b' c", ["a b", "c"]),
            ("a'b c'd", ["ab cd"]),
            ("\"a b\"", ["a b"]),
            ("''", [""]),
            ("a '' b \"\"", ["a", "", "b", ""]),
            (#"a\ b"#, ["a b"]),
            (#"\'"#, ["'"]),
            (#"\\"#, [#"\"#]),
            (#"'a\b'"#, [#"a\b"#]),
            (#"'a\'"#, [#"a\"#]),
            (#""a\"b""#, [#"a"b"#]),
            (#""a\\b""#, [#"a\b"#]),
            (#""a\b\$c\'""#, [#"a\b\$c\'"#]),
            (#"a\"# + "\n" + "b", ["a\nb"]),
            ("\"a\nb\"", ["a\nb"]),
            ("a#b #c", ["a#b", "#c"]),
            ("a;b|c>d&e $HOME *", ["a;b|c>d&e", "$HOME", "*"]),
            (#"bash -c "echo '$1' \"$2\"""#, ["bash", "-c", #"echo '$1' "$2""#]),
            ("ä 'ö ü'", ["ä", "ö ü"]),
            ("'a'\u{301}", ["a\u{301}"]),
        ] as [(String, [String])])
    func splits(_ line: String, _ words: [String]) throws {
        #expect(try ShellWords.split(line) == words)
    }

    @Test(
        "What a shell would wait for more of is refused, with the place",
        arguments: [
            ("'a", ShellWordsError(.openQuote("'"), position: 1), "the ' at character 1 is never closed"),
            ("a \"b", ShellWordsError(.openQuote("\""), position: 3), "the \" at character 3 is never closed"),
            (#"a\"#, ShellWordsError(.trailingBackslash, position: 2), "it ends with a backslash"),
            (#""a\"#, ShellWordsError(.trailingBackslash, position: 3), "it ends with a backslash"),
        ])
    func refuses(_ line: String, _ error: ShellWordsError, _ words: String) {
        #expect(throws: error) { try ShellWords.split(line) }
        #expect(error.description.hasPrefix(words))
    }

    @Test("A command needs a first word")
    func command() throws {
        #expect(throws: ShellWordsError(.empty, position: 1)) { try ShellWords.command("  ") }
        let (executable, arguments) = try ShellWords.command("x 'y z'")
        #expect(executable == "x")
        #expect(arguments == ["y z"])
    }
}
