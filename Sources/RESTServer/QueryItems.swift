import ClusterModel

/// The parameters of a request's query, percent-decoded. The first of a name counts.
public struct QueryItems: Hashable, Sendable, ExpressibleByDictionaryLiteral {
    private var items: [Item] = []

    private struct Item: Hashable, Sendable {
        var name: String
        var value: String
    }

    public init(_ text: some StringProtocol = "") {
        for pair in text.split(separator: "&") {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = parts.first else { continue }
            items.append(
                Item(name: Self.decoded(name), value: parts.count > 1 ? Self.decoded(parts[1]) : ""))
        }
    }

    public init(dictionaryLiteral elements: (String, String)...) {
        items = elements.map { Item(name: $0.0, value: $0.1) }
    }

    public subscript(name: String) -> String? { items.first { $0.name == name }?.value }

    /// The `tag_<name>` parameters, without their prefix.
    var tags: [(name: String, value: String)] {
        items.filter { $0.name.hasPrefix("tag_") }.map { (String($0.name.dropFirst(4)), $0.value) }
    }

    private static func decoded(_ text: some StringProtocol) -> String {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "+") {
                bytes.append(UInt8(ascii: " "))
            } else if byte == UInt8(ascii: "%"), let value = Hexadecimal.byte(rest.prefix(2)) {
                bytes.append(value)
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
