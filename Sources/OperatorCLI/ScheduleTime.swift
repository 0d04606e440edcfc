import ClusterModel

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// A time that a person gives for something to happen.
enum ScheduleTime {
    /// Reads ISO 8601 or `now` (nil); a time without zone is this machine's local time. The result names its zone.
    static func parse(_ text: String) throws -> String? {
        let text = text.trimmed
        if text.isEmpty || text.lowercased() == "now" { return nil }
        guard let (time, hasZone) = WallTime.parse(text) else {
            throw CommandFailure(
                "'\(text)' is no time: write 2026-01-31T10:00 (local time), 2026-01-31T10:00+02:00, or now", status: 2)
        }
        if hasZone { return time.iso8601(fractionDigits: 0) }
        return WallTime(seconds: time.seconds - offset(atLocal: time.seconds)).iso8601(fractionDigits: 0)
    }

    /// How far local time is ahead of UTC, in seconds, when the local clock shows a time.
    private static func offset(atLocal seconds: Int64) -> Int64 {
        // The offset may change close by: look once more with the first guess applied.
        let first = offset(at: seconds)
        return offset(at: seconds - first)
    }

    private static func offset(at seconds: Int64) -> Int64 {
        var time = time_t(seconds)
        var parts = tm()
        guard localtime_r(&time, &parts) != nil else { return 0 }
        return Int64(parts.tm_gmtoff)
    }
}
