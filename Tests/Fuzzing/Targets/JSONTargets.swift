import ClusterModel
import ConfigurationTree

@testable import AgentConfiguration
@testable import OperatorCLI

extension FuzzTarget {
    /// JSON as the store, the peers and operators send it.
    static let json = FuzzTarget("json", reads: "JSON texts: every stored value, request body and peer's document") {
        bytes in
        let (expected, isExtreme) = ReferenceJSON.read(bytes)
        let value: JSONValue
        do throws(JSONError) {
            value = try JSONValue.parse(bytes)
        } catch {
            try require(expected == nil || isExtreme, "valid JSON is refused: \(error)")
            try require((0...bytes.count).contains(error.offset), "an error outside of the text: \(error)")
            try require(!error.message.isEmpty, "an error without a word")
            return
        }
        guard !isExtreme else { return }
        guard let expected else { throw FuzzFinding("what is no JSON is read as \(value.serialized())") }
        try require(value.flat == expected.flat, "read as \(value.serialized()), is \(expected.serialized())")
        for written in [value.serialized(), value.serializedPretty()] {
            guard let again = try? JSONValue.parse(written) else {
                throw FuzzFinding("what was written cannot be read: \(written)")
            }
            try require(again.flat == value.flat, "written as \(written), read again as \(again.serialized())")
        }
        try require(value == value && value.hashValue == value.hashValue, "a value differs from itself")
        if let object = value.object {
            try require(object.merging(JSONObject()) == object, "an empty patch changes something")
        }
    }

    /// YAML that the commands print, which people edit and give back.
    static let yamlText = FuzzTarget("yaml-text", reads: "YAML as `show-config` prints and `edit-config` reads it") {
        bytes in
        guard let value = try? JSONValue.parse(bytes), value.depth < 60 else { return }
        let written = YAMLText.write(value)
        let read: JSONValue
        do {
            read = try YAMLParser.parse(text: written, source: "t").json
        } catch {
            throw FuzzFinding("'\(written)' cannot be read: \(error)")
        }
        // 1.0 and 1 are one number to YAML's readers.
        try require(read == value, "\(value.serialized()) was written as '\(written)' and read as \(read.serialized())")
    }
}

extension JSONValue {
    /// Lists and objects on the longest way down.
    var depth: Int {
        switch self {
        case .array(let values): 1 + (values.map(\.depth).max() ?? 0)
        case .object(let object): 1 + (object.members.map(\.value.depth).max() ?? 0)
        default: 0
        }
    }
}
