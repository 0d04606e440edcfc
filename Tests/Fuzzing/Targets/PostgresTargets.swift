import CLibPQ
import ClusterModel

@testable import AgentRuntime
@testable import PostgresControl

extension FuzzTarget {
    /// `pg_control`; a right checksum is put in, which no fuzzer would find.
    static let controlFile = FuzzTarget("control-file", reads: "pg_control, as bytes", maximumLength: 512) { bytes in
        _ = try? ControlFile.decode(bytes)
        guard bytes.count >= 296 else { return }
        var whole = bytes
        let version = bytes[8...9].reversed().reduce(0) { $0 << 8 | Int($1) }
        let offset = version == 1800 ? 292 : 288
        let checksum = CRC32C.checksum(whole[0..<offset])
        for index in 0..<4 { whole[offset + index] = UInt8(truncatingIfNeeded: checksum >> (8 * UInt32(index))) }
        guard let (data, geometry) = try? ControlFile.decode(whole) else { return }
        let segment = UInt64(geometry.walSegmentSize)
        if segment >= 1 << 20, geometry.walBlockSize >= 1024 {
            _ = WALRecord.segmentName(data.checkpoint, data.timeline, segmentSize: segment)
            _ = WALRecord.end(
                from: data.checkpoint, length: UInt64(bytes[0]) << 16, blockSize: UInt64(geometry.walBlockSize),
                segmentSize: segment)
        }
        let ancestry = TimelineAncestry(
            timeline: Timeline(6), steps: [.init(timeline: Timeline(5), switchpoint: LSN(0x500_0000))])
        _ = RewindCheck.check(.init(control: data, checkpointEnd: data.checkpoint), leader: ancestry)
    }

    /// Texts of PostgreSQL's and its programs': the first line names what the rest is.
    static let postgresText = FuzzTarget(
        "postgres-text",
        reads: "postmaster.pid, history files, pg_controldata, --describe-config, version texts, LSNs, /proc/PID/stat"
    ) { bytes in
        let (kind, body) = Parts.headed(text(bytes))
        switch kind {
        case "postmaster":
            guard let file = PostmasterFile(text: body) else { return }
            try require(file.processID > 0 && file.startTime > 0 && !file.dataDirectory.isEmpty, "read as \(file)")
        case "history":
            guard let ancestry = TimelineAncestry(timeline: Timeline(20), text: body) else { return }
            let written = ancestry.steps.map { "\($0.timeline)\t\($0.switchpoint)\t\($0.reason)\n" }.joined()
            let again = TimelineAncestry(timeline: Timeline(20), text: written)
            try require(again == ancestry, "\(ancestry) is read again as \(String(describing: again))")
            _ = RewindCheck.check(
                .init(timeline: Timeline(3), position: LSN(0x400_0000), wasPrimary: false, isClean: true),
                leader: ancestry)
        case "controldata":
            let lines = body.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
            guard let data = ControlFile.parseReport(lines) else { return }
            try require(UInt64(data.systemIdentifier) != nil, "no identifier: \(data)")
        case "catalog":
            let records = body.split(separator: "\n--\n", maxSplits: 1).map {
                $0.split(separator: "\n").map(String.init)
            }
            let catalog = SettingsCatalog(entries: SettingsCatalog.parse(records.first ?? []), majorVersion: 15)
            let settings = (records.count > 1 ? records[1] : []).map { line in
                let parts = line.split(separator: "=", maxSplits: 1).map(String.init)
                return ServerSetting(parts.first ?? "", parts.count > 1 ? parts[1] : "")
            }
            let (admitted, warnings) = catalog.admitted(settings)
            try require(admitted.count + warnings.count >= settings.count, "a setting vanished without a word")
        case "version": _ = DataDirectory.majorVersion(fromVersionText: body)
        case "lsn":
            guard let lsn = LSN(text: body) else { return }
            try require(LSN(text: lsn.description) == lsn, "\(lsn) is not read again")
        case "stat":
            guard let facts = ProcessFacts(stat: body) else { return }
            _ = (facts.isDead, facts.startTime)
        case "auto.conf":
            let stripped = PostgresConfigurationFiles.strippingRecovery(body)
            try require(PostgresConfigurationFiles.strippingRecovery(stripped) == stripped, "not all was taken out")
        case "bytea": _ = RemoteServer.plainText(body)
        case "setting":
            _ = (SettingText.bool(body), SettingText.same(body, "on"))
        case "sample":
            guard let sample = sample(Array(body.utf8), at: Instant(nanoseconds: 1)) else { return }
            _ = RewindCheck.Local(sample: sample)
        default: return
        }
    }

    /// Texts quoted for PostgreSQL, read back by libpq or by its rules.
    static let quoting = FuzzTarget("quoting", reads: "names, passwords and URLs of others, quoted for PostgreSQL") {
        bytes in
        let text = text(bytes)
        if let url = MemberURL(text) {
            try require(!url.host.isEmpty && (1...65_535).contains(url.port), "read as \(url)")
        }
        guard !text.isEmpty, !text.utf8.contains(0) else { return }
        var target = ConnectionTarget(
            endpoint: ServerEndpoint(host: "10.0.0.1", port: 5432), database: text,
            login: RoleLogin(user: text), applicationName: text)
        target.login.options = [ServerSetting("sslmode", "prefer")]
        let string = target.connectionString(passfile: text)
        let options = parsed(string)
        for key in ["dbname", "user", "application_name", "passfile"] {
            try require(options[key].map { Array($0.utf8) } == Array(text.utf8), "\(key) of \(string) is not the text")
        }
        try require(options["host"] == "10.0.0.1", "\(string) leads to another host")
        if !text.utf8.contains(10), !text.utf8.contains(13) {
            try require(
                unquoted(Quoting.configuration(text), "'", escapes: true) == Array(text.utf8),
                "the setting is \(Quoting.configuration(text))")
        }
        try require(
            unquoted(Quoting.identifier(text), "\"", escapes: false) == Array(text.utf8),
            "the identifier is \(Quoting.identifier(text))")
        let literal = Quoting.literal(text)
        let isEscaped = literal.hasPrefix(" E")
        try require(
            unquoted(String(literal.drop { $0 == " " || $0 == "E" }), "'", escapes: isEscaped) == Array(text.utf8),
            "the literal is \(literal)")
        let lines = Passfile.text([.init(user: text, password: Password("p"))])
        guard !text.utf8.contains(10) else {
            try require(lines.isEmpty, "two lines in the password file")
            return
        }
        try require(
            fields(lines) == ["*", "*", "*", text, "p"].map { Array($0.utf8) }, "the password file has \(lines)")
    }

    private static func parsed(_ string: String) -> [String: String] {
        var message: UnsafeMutablePointer<CChar>?
        guard let options = PQconninfoParse(string, &message) else {
            PQfreemem(message)
            return [:]
        }
        defer { PQconninfoFree(options) }
        var result: [String: String] = [:]
        var option = options
        while let keyword = option.pointee.keyword {
            if let value = option.pointee.val { result[String(cString: keyword)] = String(cString: value) }
            option += 1
        }
        return result
    }

    /// What stands between two quotes that are doubled inside; nil when the text does not end with the second.
    private static func unquoted(_ text: String, _ quote: Character, escapes: Bool) -> [UInt8]? {
        let mark = quote.asciiValue
        var bytes = Array(text.utf8)[...]
        guard bytes.popFirst() == mark else { return nil }
        var result: [UInt8] = []
        while let byte = bytes.popFirst() {
            if byte == mark {
                if bytes.isEmpty { return result }
                guard bytes.popFirst() == mark else { return nil }
                result.append(byte)
            } else if escapes, byte == UInt8(ascii: "\\") {
                guard let next = bytes.popFirst() else { return nil }
                result.append(next)
            } else {
                result.append(byte)
            }
        }
        return nil
    }

    /// The fields of a password file's line, by libpq's rules.
    private static func fields(_ line: String) -> [[UInt8]] {
        var fields: [[UInt8]] = [[]]
        var isEscaped = false
        for byte in line.utf8 where byte != 10 {
            if !isEscaped, byte == UInt8(ascii: "\\") {
                isEscaped = true
            } else if !isEscaped, byte == UInt8(ascii: ":") {
                fields.append([])
            } else {
                fields[fields.count - 1].append(byte)
                isEscaped = false
            }
        }
        return fields
    }
}
