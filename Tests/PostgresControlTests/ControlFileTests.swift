import ClusterModel
import Testing

@testable import PostgresControl

struct ControlFileTests {
    /// The first 296 bytes of a file that initdb of PostgreSQL 15 wrote.
    static let fifteen: [UInt8] = hexadecimal(
        """
        e531cfd1a864046b140500002577 0d0c 01000000 00000000 a964046b00000000
        881a510100000000 881a510100000000 01000000 01000000 01000000 00000000
        d402000000000000 0535000001000000 00000000cc020000 0100000001000000
        0100000000000000 a964046b00000000 0000000000000000 0000000000000000
        e803000000000000 0000000000000000 0000000000000000 0000000000000000
        0000000000000000 0000000001000000 0000000064000000 080000000a000000
        0000000040000000 0000000008000000 0000000087d63241 0020000000000200
        0020000000000001 4000000020000000 cc07000000080000 0100000000000000
        560268a9758cc7897f9601473b5d3f4ef73b3f43f745cee2e0803cbf064a995c
        2703c28c00000000
        """)

    static func hexadecimal(_ text: String) -> [UInt8] {
        let digits = text.filter { $0.isHexDigit }
        var bytes: [UInt8] = []
        var index = digits.startIndex
        while index < digits.endIndex {
            let next = digits.index(index, offsetBy: 2)
            bytes.append(UInt8(digits[index..<next], radix: 16) ?? 0)
            index = next
        }
        return bytes
    }

    @Test func readsWhatInitdbOfPostgreSQL15Wrote() throws {
        let (data, geometry) = try ControlFile.decode(Self.fifteen)
        #expect(data.systemIdentifier == "7711399138202431973")
        #expect(data.state == .shutDown)
        #expect(data.timeline == Timeline(1))
        #expect(data.checkpoint == LSN(text: "0/1511A88"))
        #expect(data.minimumRecoveryEnd == .zero && data.minimumRecoveryTimeline == Timeline(0))
        #expect(!data.hasChecksums && !data.walLogHints)
        #expect(
            data.settings == [
                "max_connections": 100, "max_worker_processes": 8, "max_wal_senders": 10,
                "max_prepared_transactions": 0, "max_locks_per_transaction": 64,
            ])
        #expect(geometry.walSegmentSize == 16 << 20 && geometry.walBlockSize == 8192)
        #expect(geometry.catalogVersion == 202_209_061)
    }

    /// A file of the given format with recognizable values, checksummed.
    static func synthetic(version: UInt32, state: UInt32) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 8192)
        func put(_ value: UInt64, _ offset: Int, _ width: Int) {
            for index in 0..<width { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * UInt64(index))) }
        }
        put(7_000_000_000_000_000_001, 0, 8)
        put(UInt64(version), 8, 4)
        put(UInt64(state), 16, 4)
        put(0x5_0000_0028, 32, 8)
        put(9, 48, 4)
        put(0x5_0000_1000, 136, 8)
        put(10, 144, 4)
        put(1, 176, 1)
        put(321, 180, 4)
        put(8192, 224, 4)
        put(16 << 20, 228, 4)
        put(1, 252, 4)
        let offset = version == 1800 ? 292 : 288
        if version == 1800 { put(1, 256, 1) }
        put(UInt64(CRC32C.checksum(bytes[0..<offset])), offset, 4)
        return bytes
    }

    @Test(arguments: [1300, 1700, 1800] as [UInt32]) func readsEachKnownFormat(_ version: UInt32) throws {
        let states: [ControlData.State] = [
            .startingUp, .shutDown, .shutDownInRecovery, .shuttingDown, .inCrashRecovery, .inArchiveRecovery,
            .inProduction, .unrecognized,
        ]
        for (number, state) in states.enumerated() {
            let (data, _) = try ControlFile.decode(Self.synthetic(version: version, state: UInt32(number)))
            #expect(data.state == state)
            #expect(data.systemIdentifier == "7000000000000000001")
            #expect(data.timeline == Timeline(9) && data.minimumRecoveryTimeline == Timeline(10))
            #expect(data.checkpoint == LSN(0x5_0000_0028) && data.minimumRecoveryEnd == LSN(0x5_0000_1000))
            #expect(data.hasChecksums && data.walLogHints && data.settings["max_connections"] == 321)
        }
    }

    @Test func refusesWhatItDoesNotKnowOrCannotTrust() {
        #expect(throws: PostgresError.self) { try ControlFile.decode([]) }
        #expect(throws: PostgresError.self) { try ControlFile.decode(Self.synthetic(version: 1201, state: 1)) }
        #expect(throws: PostgresError.self) { try ControlFile.decode(Self.synthetic(version: 1900, state: 1)) }
        for index in stride(from: 0, to: 292, by: 7) where !(8..<12).contains(index) {
            var torn = Self.fifteen
            torn[index] ^= 0x40
            #expect(throws: PostgresError.self) { try ControlFile.decode(torn) }
        }
    }

    @Test func readsTheReportOfPgControldata() throws {
        let report = """
            pg_control version number:            1900
            Database system identifier:           7711399138202431973
            Database cluster state:               in archive recovery
            Latest checkpoint location:           A/1511A88
            Latest checkpoint's TimeLineID:       3
            Minimum recovery ending location:     A/2000000
            Min recovery ending loc's timeline:   4
            wal_log_hints setting:                on
            max_connections setting:              100
            max_prepared_xacts setting:           7
            Data page checksum version:           1
            """
        let data = try #require(ControlFile.parseReport(report.split(separator: "\n").map(String.init)))
        #expect(data.state == .inArchiveRecovery)
        #expect(data.checkpoint == LSN(text: "A/1511A88") && data.minimumRecoveryEnd == LSN(text: "A/2000000"))
        #expect(data.timeline == Timeline(3) && data.minimumRecoveryTimeline == Timeline(4))
        #expect(data.hasChecksums && data.walLogHints)
        #expect(data.settings == ["max_connections": 100, "max_prepared_transactions": 7])
        #expect(ControlFile.parseReport(["nothing: here"]) == nil)
    }

    @Test func theChecksumIsCastagnolis() {
        #expect(CRC32C.checksum(Array("123456789".utf8)) == 0xE306_9283)
    }
}
