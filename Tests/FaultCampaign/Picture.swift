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
    private let hasInside: Bool

    private static let left = 128.0
    private static let width = 1000.0
    private static let lane = 15.0
    private static let serviceTop = 64.0
    private static let membersTop = 106.0
    private static let outsideColour = "#1d4ed8"
    private static let insideColour = "#0f766e"
    private static let doubleColour = "#dc2626"
    private static let grey = "#6b7280"

    init(_ record: RunRecord) {
        self.record = record
        let times = record.acknowledgements.map { $0.acknowledged - record.origin }
        begin = max(-4, min(-0.5, (times.min() ?? 0) - 0.2))
        end = max(record.lastsUntil, record.wholeAfter ?? 0, times.max() ?? 0, 1) + 0.5
        hasInside = record.acknowledgements.contains { $0.place == .inside && !Self.isLong($0) }
    }

    private var places: [Acknowledgement.Place] { hasInside ? [.outside, .inside] : [.outside] }
    private var memberHeight: Double { Double(places.count) * (Self.lane + 3) + 26 }
    private var bottom: Double { Self.membersTop + Double(record.members.count) * memberHeight }

    private func top(_ index: Int) -> Double { Self.membersTop + Double(index) * memberHeight }

    private static func isLong(_ one: Acknowledgement) -> Bool { one.writer.hasPrefix("long-") }

    private func x(_ time: Double) -> Double {
        Self.left + (min(max(time, begin), end) - begin) / (end - begin) * Self.width
    }

    /// Decisions that say something about a change of leadership, the first of each kind of a member.
    var marks: [RunRecord.Mark] {
        let telling = [
            "lease.acquired", "lease.deadline", "lease.lost", "lease.tooLate", "lease.over", "lease.released",
            "lease.resumed", "guard.", "promote.begin", "promote.done", "promote.failed", "promote.stuck",
            "postgres.exited", "leader.none", "leader.suspected", "race.livePrimary", "rejoin.", "clone.begin",
            "follow.diverged", "switchover.begin", "switchover.release", "stop.begin", "stop.handover",
            "store.unreachable", "store.reachable", "store.noSession", "job.failed",
        ]
        var seen: [String: Int] = [:]
        var result: [RunRecord.Mark] = []
        for mark in record.marks where mark.at >= begin && mark.at <= end && result.count < 40 {
            guard telling.contains(where: { $0.hasSuffix(".") ? mark.rule.hasPrefix($0) : mark.rule == $0 }) else {
                continue
            }
            seen["\(mark.member) \(mark.rule)", default: 0] += 1
            if seen["\(mark.member) \(mark.rule)", default: 0] <= 2 { result.append(mark) }
        }
        return result
    }

    var svg: String {
        var drawing = Drawing()
        drawing.text(12, 20, record.fault.title, size: 14, isBold: true)
        drawing.text(12, 37, summary, Self.grey)
        drawShades(&drawing)
        drawAxis(&drawing)
        drawService(&drawing)
        let marks = marks
        for (index, member) in record.members.enumerated() { drawMember(&drawing, member, top(index), marks) }
        return drawing.svg(width: Self.left + Self.width + 24, height: bottom + 34)
    }

    private var summary: String {
        var parts = [
            record.store.title, "lease \(n(record.leaseLength)) s",
            "\(milliseconds(record.longestGap)) ms without writes", "\(record.judgement.doubles.count) double",
            "\(record.lost.count) lost of \(record.acknowledgements.count) acknowledged", "leader \(record.leadership)",
        ]
        if let whole = record.wholeAfter { parts.append("everybody back \(n(whole)) s after the fault began") }
        return parts.joined(separator: " · ")
    }

    // MARK: Background

    private func drawShades(_ drawing: inout Drawing) {
        let from = x(0)
        let width = max(1.5, x(record.lastsUntil) - from)
        drawing.rectangle(from, Self.serviceTop - 6, width, bottom - Self.serviceTop + 6, "#fef2f2")
        for (index, member) in record.members.enumerated() where record.victims.contains(member) {
            drawing.rectangle(from, top(index) - 4, width, memberHeight - 4, "#fecaca", opacity: 0.75)
        }
        drawing.text(from + 4, Self.serviceTop - 9, "fault", "#b91c1c", size: 10)
    }

    private func drawAxis(_ drawing: inout Drawing) {
        let step = [0.5, 1, 2, 5, 10, 20, 30, 60].first { (end - begin) / $0 <= 16 } ?? 120
        var time = (begin / step).rounded(.up) * step
        while time <= end {
            drawing.line(x(time), Self.serviceTop, x(time), bottom, "#e5e7eb")
            drawing.text(x(time), bottom + 14, n(time), Self.grey, anchor: .middle)
            time += step
        }
        drawing.text(Self.left + Self.width, bottom + 28, "seconds since the fault began", Self.grey, anchor: .end)
        // What the holder had proven before the fault lasts no longer than this.
        let lease = record.leaseLength
        if lease > 0, lease < end {
            drawing.line(x(lease), Self.serviceTop - 4, x(lease), bottom, "#7c3aed", width: 1, isDashed: true)
            drawing.text(x(lease) + 3, Self.serviceTop - 9, "1 lease", "#7c3aed", size: 10)
        }
    }

    private func drawService(_ drawing: inout Drawing) {
        let y = Self.serviceTop
        drawing.text(Self.left - 8, y + 12, "writes taken", anchor: .end, isBold: true)
        drawTicks(&drawing, record.acknowledgements.filter { $0.place == .outside }, y, "#16a34a")
        for gap in record.gaps {
            let from = x(gap.lowerBound - record.origin)
            let to = x(gap.upperBound - record.origin)
            drawing.rectangle(from, y + 2, max(1, to - from), Self.lane - 4, "#f59e0b", opacity: 0.28)
            drawing.text(
                (from + to) / 2, y + Self.lane + 12, "\(milliseconds(gap.upperBound - gap.lowerBound)) ms", "#b45309",
                size: 10, anchor: .middle)
        }
    }

    // MARK: A member

    private func drawMember(_ drawing: inout Drawing, _ member: String, _ top: Double, _ marks: [RunRecord.Mark]) {
        let own = record.acknowledgements.filter { $0.member == member }
        let late = Set(record.judgement.doubles.map(\.acknowledgement).filter { $0.member == member })
        drawing.text(12, top + 12, member, isBold: true)
        var y = top
        for place in places {
            drawing.text(
                Self.left - 8, y + 12, place == .outside ? "to outside" : "on its host", Self.grey, anchor: .end)
            drawing.rectangle(Self.left, y, Self.width, Self.lane, "#f3f4f6", opacity: 0.55)
            let there = own.filter { (!hasInside || $0.place == place) && !Self.isLong($0) }
            let colour = place == .outside ? Self.outsideColour : Self.insideColour
            drawTicks(&drawing, there.filter { !late.contains($0) }, y, colour)
            drawTicks(&drawing, there.filter(late.contains), y, Self.doubleColour)
            y += Self.lane + 3
        }
        for one in own where Self.isLong(one) {
            let colour = late.contains(one) ? Self.doubleColour : "#ffffff"
            drawing.circle(x(one.acknowledged - record.origin), top + Self.lane / 2, 4, colour)
        }
        if let first = late.map(\.acknowledged).min() {
            // A few of them are too thin to be seen.
            drawing.text(x(first - record.origin), top - 1, "▼ \(late.count) double", Self.doubleColour, isBold: true)
        }
        drawTimelines(&drawing, own, top)
        drawNumbers(&drawing, member, y, marks)
    }

    /// A bar wherever something was acknowledged, to the pixel.
    private func drawTicks(_ drawing: inout Drawing, _ writes: [Acknowledgement], _ y: Double, _ colour: String) {
        let times = writes.map { $0.acknowledged - record.origin }.filter { $0 >= begin && $0 <= end }
        let pixels = Set(times.map { Int(x($0)) }).sorted()
        guard var from = pixels.first else { return }
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
        drawing.path(path, colour)
    }

    /// Where a member begins to acknowledge on a timeline.
    private func drawTimelines(_ drawing: inout Drawing, _ own: [Acknowledgement], _ top: Double) {
        for (timeline, group) in Dictionary(grouping: own, by: \.timeline).sorted(by: { $0.key < $1.key }) {
            let times = group.map { x($0.acknowledged - record.origin) }
            guard let first = times.min(), let last = times.max() else { continue }
            // On the bar where it is long enough, else above it.
            let fits = last - first > 34
            drawing.text(
                first + (fits ? 3 : 0), fits ? top + 11 : top - 1, "TL \(timeline)", fits ? "#ffffff" : Self.grey,
                size: 9)
        }
    }

    private func drawNumbers(_ drawing: inout Drawing, _ member: String, _ y: Double, _ marks: [RunRecord.Mark]) {
        var occupied = -1000.0
        for (index, mark) in marks.enumerated() where mark.member == member {
            let at = x(mark.at)
            let label = max(at, occupied + 13)
            occupied = label
            drawing.line(at, y - 1, label, y + 6, "#374151")
            drawing.text(label, y + 15, "\(index + 1)", "#374151", size: 9.5, anchor: .middle)
        }
    }
}
