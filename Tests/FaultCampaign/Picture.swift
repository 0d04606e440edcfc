import ClusterHarness

/// The time line of a run as SVG: who acknowledged when, to whom, around the fault.
///
/// A row for the service as clients outside saw it, then two rows for each member: what it acknowledged to clients
/// outside, and to those on its own host. The fault's time is shaded, on the rows of those it hit more strongly.
/// Numbered marks are decisions, which the list under the picture names.
struct Picture {
    private let record: RunRecord
    private let begin: Double
    private let end: Double

    private static let left = 128.0
    private static let width = 1000.0
    private static let lane = 15.0
    private static let serviceTop = 54.0
    private static let membersTop = 96.0
    private static let outsideColour = "#1d4ed8"
    private static let insideColour = "#0f766e"
    private static let doubleColour = "#dc2626"

    init(_ record: RunRecord) {
        self.record = record
        let last = record.acknowledgements.map { $0.acknowledged - record.origin }.max() ?? 0
        begin = -max(1.5, min(4, record.lastsUntil * 0.25))
        end = max(record.lastsUntil, record.wholeAfter ?? 0, last, 1) + 0.5
    }

    private var hasInside: Bool { record.acknowledgements.contains { $0.place == .inside && !isLong($0) } }
    private var memberHeight: Double { (hasInside ? 2 : 1) * (Self.lane + 3) + 26 }
    private var bottom: Double { Self.membersTop + Double(record.members.count) * memberHeight }

    private func isLong(_ one: Acknowledgement) -> Bool { one.writer.hasPrefix("long-") }

    private func x(_ time: Double) -> Double {
        Self.left + (min(max(time, begin), end) - begin) / (end - begin) * Self.width
    }

    // MARK: The whole

    /// Decisions that say something about a change of leadership, the first of each kind of a member.
    var marks: [RunRecord.Mark] {
        let telling = [
            "lease.acquired", "lease.deadline", "lease.lost", "lease.tooLate", "lease.over", "lease.released",
            "lease.resumed", "guard.", "promote.begin", "promote.done", "promote.failed", "promote.stuck",
            "postgres.exited", "leader.none", "leader.suspected", "race.livePrimary", "rejoin.", "clone.begin",
            "follow.diverged", "switchover.begin", "switchover.release", "stop.begin", "stop.handover", "store.unreachable",
            "store.reachable", "store.noSession", "job.failed",
        ]
        var seen: [String: Int] = [:]
        var result: [RunRecord.Mark] = []
        for mark in record.marks where mark.at >= begin && mark.at <= end {
            guard telling.contains(where: { $0.hasSuffix(".") ? mark.rule.hasPrefix($0) : mark.rule == $0 }) else {
                continue
            }
            let key = "\(mark.member) \(mark.rule)"
            seen[key, default: 0] += 1
            if seen[key, default: 0] <= 2, result.count < 40 { result.append(mark) }
        }
        return result
    }

    var svg: String {
        let marks = marks
        let total = bottom + 34
        var text = """
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(n(Self.left + Self.width + 24)) \(n(total))" \
            width="\(n(Self.left + Self.width + 24))" height="\(n(total))" font-family="system-ui, 'DejaVu Sans', sans-serif" font-size="11">
            <rect width="100%" height="100%" fill="#ffffff"/>
            <text x="12" y="20" font-size="14" font-weight="600">\(xml(record.fault.title))</text>
            <text x="12" y="37" fill="#6b7280">\(xml(summary))</text>

            """
        text += shades + axis + service
        for (index, member) in record.members.enumerated() { text += row(member, index, marks) }
        return text + "</svg>\n"
    }

    private var summary: String {
        var parts = [
            record.store == .zooKeeper ? "ZooKeeper" : "embedded store", "lease \(n(record.leaseLength)) s",
            "\(milliseconds(record.longestGap)) ms without writes", "\(record.judgement.doubles.count) double",
            "\(record.lost.count) lost of \(record.acknowledgements.count) acknowledged", "leader \(record.leadership)",
        ]
        if let whole = record.wholeAfter { parts.append("everybody back \(n(whole)) s after the fault began") }
        return parts.joined(separator: " · ")
    }

    // MARK: Background

    private var shades: String {
        let from = x(0)
        let width = max(1.5, x(record.lastsUntil) - from)
        var text =
            "<rect x=\"\(n(from))\" y=\"\(n(Self.serviceTop - 6))\" width=\"\(n(width))\" height=\"\(n(bottom - Self.serviceTop + 6))\" fill=\"#fef2f2\"/>\n"
        for (index, member) in record.members.enumerated() where record.victims.contains(member) {
            text +=
                "<rect x=\"\(n(from))\" y=\"\(n(Self.membersTop + Double(index) * memberHeight - 4))\" width=\"\(n(width))\" height=\"\(n(memberHeight - 4))\" fill=\"#fecaca\" fill-opacity=\"0.75\"/>\n"
        }
        text +=
            "<text x=\"\(n(from + 4))\" y=\"\(n(Self.serviceTop - 9))\" fill=\"#b91c1c\" font-size=\"10\">fault</text>\n"
        return text
    }

    private var axis: String {
        let span = end - begin
        let step = [0.5, 1, 2, 5, 10, 20, 30, 60].first { span / $0 <= 16 } ?? 120
        var text = ""
        var time = (begin / step).rounded(.up) * step
        while time <= end {
            text +=
                "<line x1=\"\(n(x(time)))\" y1=\"\(n(Self.serviceTop))\" x2=\"\(n(x(time)))\" y2=\"\(n(bottom))\" stroke=\"#e5e7eb\" stroke-width=\"0.7\"/>\n"
            text +=
                "<text x=\"\(n(x(time)))\" y=\"\(n(bottom + 14))\" text-anchor=\"middle\" fill=\"#6b7280\">\(n(time))</text>\n"
            time += step
        }
        text +=
            "<text x=\"\(n(Self.left + Self.width))\" y=\"\(n(bottom + 28))\" text-anchor=\"end\" fill=\"#6b7280\">seconds since the fault began</text>\n"
        // One lease after the fault: what the holder had proven before may last no longer.
        let lease = record.leaseLength
        if lease > 0, lease < end {
            text +=
                "<line x1=\"\(n(x(lease)))\" y1=\"\(n(Self.serviceTop - 4))\" x2=\"\(n(x(lease)))\" y2=\"\(n(bottom))\" stroke=\"#7c3aed\" stroke-dasharray=\"3 3\"/>\n"
            text +=
                "<text x=\"\(n(x(lease) + 3))\" y=\"\(n(Self.serviceTop - 9))\" fill=\"#7c3aed\" font-size=\"10\">1 lease</text>\n"
        }
        return text
    }

    private var service: String {
        let outside = record.acknowledgements.filter { $0.place == .outside }
        var text =
            "<text x=\"\(n(Self.left - 8))\" y=\"\(n(Self.serviceTop + 12))\" text-anchor=\"end\" font-weight=\"600\">writes taken</text>\n"
        text += ticks(outside.map(\.acknowledged), Self.serviceTop, "#16a34a")
        for gap in record.gaps {
            let from = gap.lowerBound - record.origin
            let to = gap.upperBound - record.origin
            let middle = (x(from) + x(to)) / 2
            text +=
                "<rect x=\"\(n(x(from)))\" y=\"\(n(Self.serviceTop + 2))\" width=\"\(n(max(1, x(to) - x(from))))\" height=\"\(n(Self.lane - 4))\" fill=\"#f59e0b\" fill-opacity=\"0.28\"/>\n"
            text +=
                "<text x=\"\(n(middle))\" y=\"\(n(Self.serviceTop + Self.lane + 12))\" text-anchor=\"middle\" fill=\"#b45309\" font-size=\"10\">\(milliseconds(to - from)) ms</text>\n"
        }
        return text
    }

    // MARK: A member

    private func row(_ member: String, _ index: Int, _ marks: [RunRecord.Mark]) -> String {
        let top = Self.membersTop + Double(index) * memberHeight
        let own = record.acknowledgements.filter { $0.member == member }
        let late = Set(record.judgement.doubles.map(\.acknowledgement).filter { $0.member == member })
        var text =
            "<text x=\"12\" y=\"\(n(top + 12))\" font-weight=\"600\">\(xml(member))</text>\n"
        let places: [Acknowledgement.Place] = hasInside ? [.outside, .inside] : [.outside]
        for (lane, place) in places.enumerated() {
            let y = top + Double(lane) * (Self.lane + 3)
            text +=
                "<text x=\"\(n(Self.left - 8))\" y=\"\(n(y + 12))\" text-anchor=\"end\" fill=\"#6b7280\">\(place == .outside ? "to outside" : "on its host")</text>\n"
            text +=
                "<rect x=\"\(n(Self.left))\" y=\"\(n(y))\" width=\"\(n(Self.width))\" height=\"\(n(Self.lane))\" fill=\"#f3f4f6\" fill-opacity=\"0.55\"/>\n"
            let there = own.filter { one in (hasInside ? one.place == place : true) && !isLong(one) }
            text += ticks(
                there.filter { !late.contains($0) }.map(\.acknowledged), y,
                place == .outside ? Self.outsideColour : Self.insideColour)
            text += ticks(there.filter(late.contains).map(\.acknowledged), y, Self.doubleColour)
        }
        let lanes = top + Double(places.count) * (Self.lane + 3)
        for one in own where isLong(one) {
            let at = x(one.acknowledged - record.origin)
            text +=
                "<circle cx=\"\(n(at))\" cy=\"\(n(top + Self.lane / 2))\" r=\"4\" fill=\"\(late.contains(one) ? Self.doubleColour : "#ffffff")\" stroke=\"#111827\"/>\n"
        }
        text += timelines(own, top) + numbers(member, lanes, marks)
        return text
    }

    /// One line for every pixel in which something was acknowledged.
    private func ticks(_ times: [Double], _ y: Double, _ colour: String) -> String {
        let pixels = Set(times.map { $0 - record.origin }.filter { $0 >= begin && $0 <= end }.map { Int(x($0)) }).sorted()
        guard var from = pixels.first else { return "" }
        var to = from
        var path = ""
        func close() { path += "M\(from) \(n(y))h\(to - from + 1)v\(n(Self.lane))h-\(to - from + 1)z" }
        for pixel in pixels.dropFirst() {
            if pixel > to + 1 {
                close()
                from = pixel
            }
            to = pixel
        }
        close()
        return "<path d=\"\(path)\" fill=\"\(colour)\"/>\n"
    }

    /// Where a member begins to acknowledge on a timeline.
    private func timelines(_ own: [Acknowledgement], _ top: Double) -> String {
        Dictionary(grouping: own, by: \.timeline).map { timeline, group in
            let first = (group.map(\.acknowledged).min() ?? 0) - record.origin
            return "<text x=\"\(n(x(first) + 3))\" y=\"\(n(top + 11))\" fill=\"#ffffff\" font-size=\"9\">TL \(timeline)</text>\n"
        }.sorted().joined()
    }

    private func numbers(_ member: String, _ y: Double, _ marks: [RunRecord.Mark]) -> String {
        var text = ""
        var occupied = -1000.0
        for (index, mark) in marks.enumerated() where mark.member == member {
            let at = x(mark.at)
            let label = max(at, occupied + 13)
            occupied = label
            text +=
                "<path d=\"M\(n(at)) \(n(y - 1))L\(n(label)) \(n(y + 6))\" stroke=\"#374151\" stroke-width=\"0.8\"/>"
            text +=
                "<text x=\"\(n(label))\" y=\"\(n(y + 15))\" text-anchor=\"middle\" font-size=\"9.5\" fill=\"#374151\">\(index + 1)</text>\n"
        }
        return text
    }
}

/// A number as short as it may be: one digit after the point, none when it is whole.
func n(_ value: Double) -> String {
    let tenths = Int((value * 10).rounded())
    let sign = tenths < 0 ? "-" : ""
    return tenths % 10 == 0 ? "\(tenths / 10)" : "\(sign)\(abs(tenths) / 10).\(abs(tenths) % 10)"
}

/// A text as XML and HTML want it.
func xml(_ text: String) -> String {
    var result = ""
    for character in text {
        switch character {
        case "&": result += "&amp;"
        case "<": result += "&lt;"
        case ">": result += "&gt;"
        case "\"": result += "&quot;"
        default: result.append(character)
        }
    }
    return result
}
