import Glibc

/// What PostgreSQL wrote into its log since a start.
enum LogTail {
    static func size(_ path: String) -> Int {
        var facts = stat()
        return stat(path, &facts) == 0 ? Int(facts.st_size) : 0
    }

    /// The last FATAL, PANIC and ERROR lines behind an offset, led by a colon; empty when there are none.
    static func lastErrors(_ path: String, from offset: Int) -> String {
        guard let file = fopen(path, "re") else { return "" }
        defer { fclose(file) }
        let end = size(path)
        fseek(file, max(offset, end - 65_536), SEEK_SET)
        var buffer = [UInt8](repeating: 0, count: 65_536)
        let count = fread(&buffer, 1, buffer.count, file)
        let lines = String(decoding: buffer[0..<count], as: UTF8.self).split(separator: "\n").filter { line in
            ["FATAL:", "PANIC:", "ERROR:", "HINT:"].contains { line.contains($0) }
        }
        return lines.isEmpty ? "" : ": " + lines.suffix(4).joined(separator: " | ")
    }
}

/// The parts of a member's `conn_url`.
struct MemberURL {
    var host: String
    var port: Int

    init?(_ text: String) {
        var rest = text[...]
        for scheme in ["postgresql://", "postgres://"] where rest.hasPrefix(scheme) {
            rest = rest.dropFirst(scheme.count)
            break
        }
        guard rest.count < text.count else { return nil }
        if let slash = rest.firstIndex(where: { $0 == "/" || $0 == "?" }) { rest = rest[..<slash] }
        if let at = rest.lastIndex(of: "@") { rest = rest[rest.index(after: at)...] }
        if rest.hasPrefix("[") {
            guard let close = rest.firstIndex(of: "]") else { return nil }
            host = String(rest[rest.index(after: rest.startIndex)..<close])
            rest = rest[rest.index(after: close)...]
        } else {
            let end = rest.lastIndex(of: ":") ?? rest.endIndex
            host = String(rest[..<end])
            rest = rest[end...]
        }
        if rest.isEmpty {
            port = 5432
        } else {
            guard rest.first == ":", let number = Int(rest.dropFirst()), (1...65_535).contains(number) else {
                return nil
            }
            port = number
        }
        if host.isEmpty { return nil }
    }
}
