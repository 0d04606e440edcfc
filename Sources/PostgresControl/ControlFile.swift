public import ClusterModel
public import PluginInterfaces

/// Reads `pg_control`: what the data directory says of itself without a running server.
public enum ControlFile {
    /// The fields beside the model's that this module needs itself.
    public struct Geometry: Hashable, Sendable {
        public var controlVersion: UInt32
        public var catalogVersion: UInt32
        public var walBlockSize: UInt32
        public var walSegmentSize: UInt32
        /// PostgreSQL's time of the last update, in seconds since 1970.
        public var updated: Int64
        public var redo: LSN

        public init(
            controlVersion: UInt32, catalogVersion: UInt32, walBlockSize: UInt32, walSegmentSize: UInt32,
            updated: Int64, redo: LSN
        ) {
            self.controlVersion = controlVersion
            self.catalogVersion = catalogVersion
            self.walBlockSize = walBlockSize
            self.walSegmentSize = walSegmentSize
            self.updated = updated
            self.redo = redo
        }
    }

    /// Reads the file; nil when there is none. Takes microseconds; an unknown layout is `.malformed`.
    ///
    /// The server replaces the file's content in one write of less than a sector, yet a reader may meet half of it:
    /// a wrong checksum is therefore read again a few times before it is believed.
    public static func read(dataDirectory: String) throws(PostgresError) -> (data: ControlData, geometry: Geometry)? {
        let path = dataDirectory + "/global/pg_control"
        var lastError: PostgresError?
        for _ in 0..<5 {
            guard let bytes = try Files.read(path, limit: 8192) else { return nil }
            do throws(PostgresError) {
                return try decode(bytes)
            } catch {
                lastError = PostgresError(.malformed, "\(path): \(error.message)")
            }
        }
        throw lastError ?? PostgresError(.malformed, path)
    }

    /// As `read`, on a thread that may block on a stuck disk.
    public static func load(
        dataDirectory: String
    ) async throws(PostgresError) -> (data: ControlData, geometry: Geometry)? {
        try await Blocking.run { () throws(PostgresError) in try read(dataDirectory: dataDirectory) }
    }

    /// As `load`, and for a layout that is not known here asks the server's own `pg_controldata`.
    public static func read(
        layout: PostgresLayout,
        run: @Sendable (PluginCommand, (@Sendable (String) -> Void)?) async -> CommandEnd
    ) async throws(PostgresError) -> ControlData? {
        let failure: PostgresError
        do throws(PostgresError) {
            let directory = layout.dataDirectory
            return try await Blocking.run { () throws(PostgresError) in try read(dataDirectory: directory)?.data }
        } catch {
            failure = error
        }
        guard failure.kind == .malformed else { throw failure }
        let lines = LineCollector()
        let end = await run(
            PluginCommand(
                layout.program("pg_controldata"), ["-D", layout.dataDirectory],
                environment: ["LC_ALL": "C", "LC_MESSAGES": "C"], deadline: .seconds(10)),
            { lines.append($0) })
        guard end.isSuccess, let data = parseReport(lines.lines) else {
            throw PostgresError(.malformed, "\(failure.message); pg_controldata \(end.explanation)")
        }
        return data
    }

    /// Decodes the file's bytes: PostgreSQL 13 to 18 on a 64-bit little-endian machine.
    static func decode(_ bytes: [UInt8]) throws(PostgresError) -> (data: ControlData, geometry: Geometry) {
        guard bytes.count >= 296 else { throw PostgresError(.malformed, "only \(bytes.count) bytes long") }
        let fields = Fields(bytes: bytes)
        let version = fields.unsigned32(8)
        let checksumOffset: Int
        switch version {
        // 13 to 16; 17 put `wal_level` into a gap of the checkpoint's copy.
        case 1300, 1700: checksumOffset = 288
        // 18: signedness of char, one byte before the nonce.
        case 1800: checksumOffset = 292
        default: throw PostgresError(.malformed, "a control file of format \(version), which is not known here")
        }
        let computed = CRC32C.checksum(bytes[0..<checksumOffset])
        guard computed == fields.unsigned32(checksumOffset) else {
            throw PostgresError(.malformed, "the control file's checksum is wrong: it is damaged or was half written")
        }
        let states: [ControlData.State] = [
            .startingUp, .shutDown, .shutDownInRecovery, .shuttingDown, .inCrashRecovery, .inArchiveRecovery,
            .inProduction,
        ]
        let state = Int(fields.unsigned32(16))
        let data = ControlData(
            systemIdentifier: String(fields.unsigned64(0)),
            state: states.indices.contains(state) ? states[state] : .unrecognized,
            timeline: Timeline(fields.unsigned32(48)), checkpoint: LSN(fields.unsigned64(32)),
            minimumRecoveryEnd: LSN(fields.unsigned64(136)), minimumRecoveryTimeline: Timeline(fields.unsigned32(144)),
            hasChecksums: fields.unsigned32(252) != 0, walLogHints: bytes[176] != 0,
            settings: [
                "max_connections": Int64(fields.unsigned32(180)),
                "max_worker_processes": Int64(fields.unsigned32(184)),
                "max_wal_senders": Int64(fields.unsigned32(188)),
                "max_prepared_transactions": Int64(fields.unsigned32(192)),
                "max_locks_per_transaction": Int64(fields.unsigned32(196)),
            ])
        let geometry = Geometry(
            controlVersion: version, catalogVersion: fields.unsigned32(12), walBlockSize: fields.unsigned32(224),
            walSegmentSize: fields.unsigned32(228), updated: Int64(bitPattern: fields.unsigned64(24)),
            redo: LSN(fields.unsigned64(40)))
        return (data, geometry)
    }

    /// Reads the report of `pg_controldata`, printed in the C locale.
    static func parseReport(_ lines: [String]) -> ControlData? {
        var values: [String: String] = [:]
        for line in lines {
            guard let colon = line.firstIndex(of: ":") else { continue }
            values[String(line[..<colon].trimmed)] = String(line[line.index(after: colon)...].trimmed)
        }
        guard let system = values["Database system identifier"], UInt64(system) != nil,
            let state = values["Database cluster state"],
            let timeline = values["Latest checkpoint's TimeLineID"].flatMap({ UInt32($0) }),
            let checkpoint = values["Latest checkpoint location"].flatMap({ LSN(text: $0) })
        else { return nil }
        var settings: [String: Int64] = [:]
        let names = [
            ("max_connections setting", "max_connections"), ("max_worker_processes setting", "max_worker_processes"),
            ("max_wal_senders setting", "max_wal_senders"), ("max_prepared_xacts setting", "max_prepared_transactions"),
            ("max_locks_per_xact setting", "max_locks_per_transaction"),
        ]
        for (label, name) in names { settings[name] = values[label].flatMap { Int64($0) } }
        return ControlData(
            systemIdentifier: system, state: ControlData.State(rawValue: state) ?? .unrecognized,
            timeline: Timeline(timeline), checkpoint: checkpoint,
            minimumRecoveryEnd: values["Minimum recovery ending location"].flatMap { LSN(text: $0) } ?? .zero,
            minimumRecoveryTimeline: Timeline(
                values["Min recovery ending loc's timeline"].flatMap { UInt32($0) } ?? 0),
            hasChecksums: values["Data page checksum version"].flatMap { Int($0) }.map { $0 != 0 } ?? false,
            walLogHints: values["wal_log_hints setting"] == "on", settings: settings)
    }

    private struct Fields {
        var bytes: [UInt8]

        func unsigned32(_ offset: Int) -> UInt32 {
            (0..<4).reduce(0) { $0 | UInt32(bytes[offset + $1]) << (8 * UInt32($1)) }
        }

        func unsigned64(_ offset: Int) -> UInt64 {
            UInt64(unsigned32(offset)) | UInt64(unsigned32(offset + 4)) << 32
        }
    }
}

/// CRC-32C (Castagnoli), as PostgreSQL checks its control file and WAL.
enum CRC32C {
    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { value, _ in value & 1 == 1 ? value >> 1 ^ 0x82F6_3B78 : value >> 1 }
    }

    static func checksum(_ bytes: some Sequence<UInt8>) -> UInt32 {
        ~bytes.reduce(~0) { $0 >> 8 ^ table[Int(($0 ^ UInt32($1)) & 0xFF)] }
    }
}
