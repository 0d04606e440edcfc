public import ClusterModel

/// Where a WAL record ends: what tells whether a shut-down primary wrote its last record before or after a switchpoint.
public enum WALRecord {
    /// The end of the record at a position, read from the data directory's own WAL; nil when that segment is not there.
    public static func end(
        of position: LSN, timeline: Timeline, dataDirectory: String, geometry: ControlFile.Geometry
    ) -> LSN? {
        let segment = UInt64(geometry.walSegmentSize)
        guard segment >= 1 << 20, geometry.walBlockSize >= 1024 else { return nil }
        let path = "\(dataDirectory)/pg_wal/\(segmentName(position, timeline, segmentSize: segment))"
        guard let bytes = Files.read(path, at: Int64(position.bytes % segment), count: 4) else { return nil }
        let length = bytes.enumerated().reduce(UInt64(0)) { $0 | UInt64($1.element) << (8 * UInt64($1.offset)) }
        // A record has a header of 24 bytes; one longer than a segment is none that ends an orderly shutdown.
        guard length >= 24, length < segment else { return nil }
        return end(from: position, length: length, blockSize: UInt64(geometry.walBlockSize), segmentSize: segment)
    }

    /// Steps over a record's bytes, and over the header of each page that begins within it.
    static func end(from position: LSN, length: UInt64, blockSize: UInt64, segmentSize: UInt64) -> LSN {
        var place = position.bytes
        var left = length
        // A damaged control file may name a position at the end of all log: nothing is beyond that.
        func step(_ bytes: UInt64) {
            let (sum, isBeyond) = place.addingReportingOverflow(bytes)
            place = isBeyond ? .max : sum
        }
        while true {
            let room = blockSize - place % blockSize
            if left <= room {
                step((left + 7) / 8 * 8)
                return LSN(place)
            }
            left -= room
            step(room)
            if place == .max { return LSN(place) }
            // The first page of a segment has a long header.
            step(place % segmentSize == 0 ? 40 : 24)
        }
    }

    static func segmentName(_ position: LSN, _ timeline: Timeline, segmentSize: UInt64) -> String {
        let perID = (UInt64(1) << 32) / segmentSize
        let number = position.bytes / segmentSize
        func padded(_ value: UInt64) -> String {
            let digits = String(value, radix: 16, uppercase: true)
            return String(repeating: "0", count: max(0, 8 - digits.count)) + digits
        }
        return padded(UInt64(timeline.number)) + padded(number / perID) + padded(number % perID)
    }
}
