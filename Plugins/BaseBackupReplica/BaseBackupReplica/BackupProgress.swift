/// A progress line of pg_basebackup: `  12345/67890 kB (18%), 0/1 tablespace`.
///
/// Read by its shape alone, for the words are translated.
struct BackupProgress: Hashable {
    var doneBytes: UInt64
    /// Nil when the server was told not to estimate.
    var totalBytes: UInt64?

    init?(_ line: String) {
        var rest = line.drop { $0 == " " }
        guard let done = Self.number(&rest) else { return nil }
        var total: UInt64?
        if rest.first == "/" {
            rest.removeFirst()
            guard let number = Self.number(&rest) else { return nil }
            total = number
        }
        // A unit, then either a percentage or at once the tablespaces.
        guard rest.first == " ", rest.contains("/"), total == nil || rest.contains("%") else { return nil }
        let (bytes, overflow) = done.multipliedReportingOverflow(by: 1024)
        if overflow { return nil }
        doneBytes = bytes
        if let total, total > 0 {
            let (bytes, overflow) = total.multipliedReportingOverflow(by: 1024)
            if overflow { return nil }
            totalBytes = bytes
        }
    }

    /// `18 % (12 of 66 MB)`
    var words: String {
        let done = doneBytes >> 20
        guard let totalBytes else { return "\(done) MB" }
        let percent = totalBytes == 0 ? 100 : min(100, Int(Double(doneBytes) / Double(totalBytes) * 100))
        return "\(percent) % (\(done) of \(totalBytes >> 20) MB)"
    }

    private static func number(_ rest: inout Substring) -> UInt64? {
        let digits = rest.prefix { $0.isASCII && $0.isNumber }
        rest = rest.dropFirst(digits.count)
        return UInt64(digits)
    }
}
