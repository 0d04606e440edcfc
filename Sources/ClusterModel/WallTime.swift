/// A point in calendar time, for schedules, history rows and what people read. Never used for a lease.
public struct WallTime: Hashable, Sendable, Comparable {
    /// Microseconds since 1970-01-01T00:00:00Z.
    public var microseconds: Int64

    public init(microseconds: Int64) {
        self.microseconds = microseconds
    }

    public init(seconds: Int64) {
        self.microseconds = seconds &* 1_000_000
    }

    public static func < (left: WallTime, right: WallTime) -> Bool {
        left.microseconds < right.microseconds
    }

    public static func - (left: WallTime, right: WallTime) -> Duration {
        .microseconds(left.microseconds &- right.microseconds)
    }

    public static func + (time: WallTime, duration: Duration) -> WallTime {
        WallTime(microseconds: time.microseconds &+ duration.nanosecondsClamped / 1000)
    }

    /// Whole seconds since 1970.
    public var seconds: Int64 { floorDivide(microseconds, 1_000_000) }

    /// ISO 8601 in UTC with the given number of fractional digits (0...6): `2026-01-31T10:00:00.123456+00:00`.
    public func iso8601(fractionDigits: Int = 6, separator: Character = "T", zone: String = "+00:00") -> String {
        let total = seconds
        let days = floorDivide(total, 86_400)
        let ofDay = total - days * 86_400
        let (year, month, day) = civil(fromDays: days)
        var text = padded(year, 4) + "-" + padded(month, 2) + "-" + padded(day, 2)
        text.append(separator)
        text += padded(ofDay / 3600, 2) + ":" + padded(ofDay / 60 % 60, 2) + ":" + padded(ofDay % 60, 2)
        if fractionDigits > 0 {
            let fraction = padded(microseconds - total * 1_000_000, 6)
            text += "." + fraction.prefix(fractionDigits)
        }
        return text + zone
    }

    /// Reads ISO 8601 with date and time; `hasZone` tells whether the text named its zone (without one UTC is assumed).
    public static func parse(_ text: String) -> (time: WallTime, hasZone: Bool)? {
        var bytes = Array(text.utf8)[...]
        func digits(_ count: Int) -> Int64? {
            guard bytes.count >= count else { return nil }
            var value: Int64 = 0
            for byte in bytes.prefix(count) {
                guard byte >= 48, byte <= 57 else { return nil }
                value = value * 10 + Int64(byte - 48)
            }
            bytes = bytes.dropFirst(count)
            return value
        }
        func take(_ accepted: String) -> Bool {
            guard let byte = bytes.first, accepted.utf8.contains(byte) else { return false }
            bytes = bytes.dropFirst()
            return true
        }
        guard let year = digits(4), take("-"), let month = digits(2), take("-"), let day = digits(2),
            take("Tt "), let hour = digits(2), take(":"), let minute = digits(2)
        else { return nil }
        var second: Int64 = 0
        var micro: Int64 = 0
        if take(":") {
            guard let value = digits(2) else { return nil }
            second = value
            if take(".,") {
                var scale: Int64 = 100_000
                var any = false
                while let byte = bytes.first, byte >= 48, byte <= 57 {
                    micro += Int64(byte - 48) * scale
                    scale /= 10
                    any = true
                    bytes = bytes.dropFirst()
                }
                if !any { return nil }
            }
        }
        // A day that its month does not have is refused, not moved into the next one.
        guard (1...12).contains(month), (1...daysIn(month, of: year)).contains(day), hour < 24, minute < 60,
            second < 61
        else { return nil }
        var offset: Int64 = 0
        var hasZone = false
        if take("Zz") {
            hasZone = true
        } else if let sign = bytes.first, sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-") {
            bytes = bytes.dropFirst()
            guard let hours = digits(2) else { return nil }
            _ = take(":")
            let minutes = bytes.isEmpty ? 0 : digits(2)
            guard let minutes, hours < 24, minutes < 60 else { return nil }
            offset = (hours * 3600 + minutes * 60) * (sign == UInt8(ascii: "-") ? -1 : 1)
            hasZone = true
        }
        guard bytes.isEmpty else { return nil }
        let total = days(fromCivil: year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset
        // By its zone a time of the first or last year can leave the years that can be written.
        guard total >= days(fromCivil: 1, 1, 1) * 86_400, total < days(fromCivil: 10_000, 1, 1) * 86_400 else {
            return nil
        }
        return (WallTime(microseconds: total * 1_000_000 + micro), hasZone)
    }
}

private func floorDivide(_ value: Int64, _ by: Int64) -> Int64 {
    let quotient = value / by
    return value % by < 0 ? quotient - 1 : quotient
}

private func padded(_ value: Int64, _ width: Int) -> String {
    let digits = String(value)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
}

/// Days since 1970-01-01 to the proleptic Gregorian calendar, by eras of 400 years (146,097 days each).
private func civil(fromDays days: Int64) -> (Int64, Int64, Int64) {
    let shifted = days + 719_468
    let era = floorDivide(shifted, 146_097)
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let monthFromMarch = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
    let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
}

private func daysIn(_ month: Int64, of year: Int64) -> Int64 {
    switch month {
    case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
    case 4, 6, 9, 11: 30
    default: 31
    }
}

private func days(fromCivil year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
    let shiftedYear = month <= 2 ? year - 1 : year
    let era = floorDivide(shiftedYear, 400)
    let yearOfEra = shiftedYear - era * 400
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    return era * 146_097 + dayOfEra - 719_468
}
