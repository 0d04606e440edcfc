package import ClusterModel

/// As much of HTTP as talking to a member needs, blocking.
package enum LocalHTTP {
    package struct Answer {
        package var status: Int
        package var body: String

        package var json: JSONValue? { try? JSONValue.parse(body) }
    }

    package static func call(
        _ method: String, host: Host = .loopback, port: Int, _ path: String, body: JSONValue? = nil,
        within seconds: Double = 3
    ) throws -> Answer {
        let connection = try LocalConnection(host: host, port: port, within: seconds)
        var request = "\(method) \(path) HTTP/1.1\r\nHost: \(host.address):\(port)\r\nConnection: close\r\n"
        let text = body?.serialized()
        if let text { request += "Content-Type: application/json\r\nContent-Length: \(text.utf8.count)\r\n" }
        let bytes = try connection.exchange(request + "\r\n" + (text ?? ""))
        guard let end = find([13, 10, 13, 10], in: bytes) else {
            throw SystemFailure("\(method) \(path): no HTTP answer")
        }
        let head = String(decoding: bytes[..<end], as: UTF8.self)
        guard let status = head.split(separator: " ").dropFirst().first.flatMap({ Int($0) }) else {
            throw SystemFailure("\(method) \(path): no status: \(head)")
        }
        var content = Array(bytes[(end + 4)...])
        if head.lowercased().contains("transfer-encoding: chunked") { content = unchunked(content) }
        return Answer(status: status, body: String(decoding: content, as: UTF8.self))
    }

    private static func find(_ pattern: [UInt8], in bytes: [UInt8]) -> Int? {
        guard bytes.count >= pattern.count else { return nil }
        return (0...(bytes.count - pattern.count)).first { bytes[$0..<$0 + pattern.count].elementsEqual(pattern) }
    }

    private static func unchunked(_ bytes: [UInt8]) -> [UInt8] {
        var rest = bytes[...]
        var result: [UInt8] = []
        while let lineEnd = rest.firstIndex(of: 13),
            let size = Int(String(decoding: rest[..<lineEnd], as: UTF8.self), radix: 16), size > 0
        {
            rest = rest[(lineEnd + 2)...]
            result += rest.prefix(size)
            rest = rest.dropFirst(size + 2)
        }
        return result
    }
}
