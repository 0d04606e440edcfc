import ClusterModel
import Testing

@Suite struct JSONTests {
    @Test(arguments: [
        ("null", JSONValue.null), (" true ", .bool(true)), ("-12", .integer(-12)),
        ("9223372036854775807", .integer(.max)),
        ("9223372036854775808", .number(9_223_372_036_854_775_808)), ("1.5e2", .number(150)), ("\"\"", .string("")),
        (#""a\n\t\"\\\/\u00e4\ud83d\ude00""#, .string("a\n\t\"\\/ä😀")), (#""\ud800x""#, .string("\u{FFFD}x")),
        ("[]", .array([])), ("{}", .object([:])),
        (#"{"a":[1,{"b":null}],"a":2}"#, .object(["a": 2])),
    ])
    func reads(_ text: String, _ expected: JSONValue) throws {
        #expect(try JSONValue.parse(text) == expected)
    }

    @Test(arguments: [
        "", " ", "nul", "tru", "{", "[", "\"", "{\"a\"}", "{\"a\":}", "{a:1}", "[1,]", "[1 2]", "1 2", "--1", "1e999",
        "\"\\x\"", "\"\\u12\"", "\"\\u+123\"", "\"\u{1}\"", "{\"a\":1,}", "NaN", "Infinity", "'a'",
        // Found by fuzzing: what Swift's own readers of numbers take besides.
        "01", "-01", ".5", "1.", "+1", "1e", "1.e5", "-", "\"\\u-041\"",
    ])
    func refuses(_ text: String) {
        #expect(throws: JSONError.self) { try JSONValue.parse(text) }
    }

    @Test func depthIsBounded() throws {
        let fine = String(repeating: "[", count: 60) + String(repeating: "]", count: 60)
        #expect(try JSONValue.parse(fine).array != nil)
        #expect(throws: JSONError.self) { try JSONValue.parse(String(repeating: "[{\"a\":", count: 100_000)) }
    }

    @Test func invalidTextIsRepaired() throws {
        #expect(try JSONValue.parse([0x22, 0xFF, 0x22]) == "\u{FFFD}")
    }

    @Test func writesWhatItReads() throws {
        for text in [
            #"{"z":1,"a":[true,null,"ä\"\n\u0001"],"m":{"x":-1.5,"y":{}},"b":[]}"#, #"["a","b"]"#, "1.0", "-0.0",
            "1e+16",
        ] {
            #expect(try JSONValue.parse(text).serialized() == text)
            #expect(try JSONValue.parse(JSONValue.parse(text).serializedPretty()) == JSONValue.parse(text))
        }
    }

    @Test func objectsKeepTheirOrderAndCompareWithoutIt() throws {
        var object: JSONObject = ["b": 1, "a": 2]
        #expect(object == ["a": 2, "b": 1])
        #expect(Set([object, ["a": 2, "b": 1]]).count == 1)
        #expect(object != ["a": 2, "b": 2] && object != ["a": 2] && object != ["a": 2, "c": 1])
        object["b"] = 3
        object["c"] = 4
        #expect(object.keys == ["b", "a", "c"])
        object["b"] = nil
        #expect(object.keys == ["a", "c"])
        let repeated = JSONObject([("a", 1), ("b", 2), ("a", 3)])
        #expect(repeated.keys == ["a", "b"] && repeated["a"] == 3)
    }

    @Test func manyMembersAreReadInTime() throws {
        let text = "{" + (0..<20_000).map { "\"k\($0)\":0" }.joined(separator: ",") + "}"
        let value = try JSONValue.parse(text)
        #expect(value.object?.members.count == 20_000)
        #expect(try value == JSONValue.parse(text))
    }

    @Test func merging() {
        let base: JSONObject = ["ttl": 30, "postgresql": ["parameters": ["a": 1, "b": 2]], "x": [1]]
        let patch: JSONObject = [
            "ttl": .null, "postgresql": ["parameters": ["b": .null, "c": 3]], "x": ["y": 1], "z": ["n": .null],
        ]
        #expect(base.merging(patch) == ["postgresql": ["parameters": ["a": 1, "c": 3]], "x": ["y": 1], "z": [:]])
    }

    @Test func looseEquality() {
        #expect(JSONValue.integer(5).isLooselyEqual(to: "5"))
        #expect((["a": 5, "b": ["c": "1"]] as JSONValue).isLooselyEqual(to: ["b": ["c": 1], "a": "5"]))
        #expect(!(["a": 5] as JSONValue).isLooselyEqual(to: ["a": 5, "b": 1]))
        #expect(!JSONValue.integer(5).isLooselyEqual(to: 6))
    }

    @Test func numbersInTexts() {
        #expect(JSONValue.string("12").lenientInteger == 12)
        #expect(JSONValue.string("12x").lenientInteger == nil)
        #expect(JSONValue.number(3.0).integer == 3)
        #expect(JSONValue.number(3.5).integer == nil)
        #expect(JSONValue.number(1e300).integer == nil)
        #expect(JSONValue.bool(true).integer == nil)
    }
}
