import ClusterHarness
import ClusterModel
import Glibc

/// The report of a campaign: a page for people, a picture for each run, and JSON for machines; written anew after each
/// run, so that an interrupted campaign has one as well.
final class Report {
    let directory: String
    private(set) var records: [RunRecord] = []
    /// What was wrong besides single runs.
    private(set) var complaints: [String] = []
    private let environment: [(String, String)]

    init(directory: String, environment: [(String, String)]) throws {
        self.directory = directory
        self.environment = environment
        try makeDirectory(directory, mode: 0o755, account: nil)
        try write()
    }

    func add(_ record: RunRecord, lastWords: String? = nil) throws {
        if record.outcome != .notRun, record.leaseLength > 0 {
            try put(Picture(record).svg, "\(record.fileName).svg")
        }
        // Every single acknowledgement, where somebody will want to look.
        if record.outcome == .failed || !record.judgement.doubles.isEmpty {
            try put(listing(record), "\(record.fileName).tsv")
        }
        if let lastWords { try put(lastWords + "\n", "\(record.fileName).log") }
        records.append(record)
        try write()
    }

    func complain(_ text: String) {
        complaints.append(text)
        try? write()
    }

    var failed: Int { records.count { $0.outcome == .failed } + complaints.count }

    var closingLine: String {
        let passed = records.count { $0.outcome == .passed }
        let measured = records.count { $0.outcome == .measured }
        let doubles = records.filter { $0.outcome != .measured }.reduce(0) { $0 + $1.judgement.doubles.count }
        let notRun = records.count { $0.outcome == .notRun }
        return "\(passed) passed, \(failed) failed, \(measured) measured only, \(notRun) not run; "
            + "\(doubles) double acknowledgements where none is promised"
    }

    // MARK: Files

    private func put(_ text: String, _ name: String) throws {
        let path = "\(directory)/\(name)"
        try writePrivate(text, to: path + ".new", account: nil)
        chmod(path + ".new", 0o644)
        guard rename(path + ".new", path) == 0 else { throw SystemFailure("cannot write \(path)") }
    }

    private func write() throws {
        var object = JSONObject()
        for (key, value) in environment { object[key] = .string(value) }
        object["complaints"] = .array(complaints.map { .string($0) })
        object["runs"] = .array(records.map(\.json))
        try put(JSONValue.object(object).serialized() + "\n", "report.json")
        try put(page, "report.html")
    }

    private func listing(_ record: RunRecord) -> String {
        let late = Set(record.judgement.doubles.map(\.acknowledgement))
        let lost = Set(record.lost)
        var text = "sent\texecuted\tacknowledged\tmember\tclient\ttimeline\twriter\tnumber\tremark\n"
        for one in record.acknowledgements {
            let times = [one.sent, one.executed, one.acknowledged].map { milliseconds($0 - record.origin) }
            var remarks: [String] = []
            if late.contains(one) { remarks.append("double") }
            if lost.contains(one) { remarks.append("lost") }
            if one.crossedCut { remarks.append("crossed a cut") }
            text += times.map { "\($0)\t" }.joined()
            text += "\(one.member)\t\(one.place)\t\(one.timeline)\t\(one.writer)\t\(one.number)\t"
            text += remarks.joined(separator: ", ") + "\n"
        }
        return text
    }

    // MARK: The page

    private var page: String {
        var text = """
            <!doctype html>
            <html lang="en"><head><meta charset="utf-8"><title>Matriarch: faults</title>
            <style>
            body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1180px; color: #111827 }
            table { border-collapse: collapse; width: 100%; margin: 0.6rem 0 1.6rem }
            th, td { text-align: left; padding: 3px 8px; border-bottom: 1px solid #e5e7eb; vertical-align: top }
            td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
            .failed { color: #b91c1c; font-weight: 600 } .passed { color: #15803d } .measured, .notrun { color: #6b7280 }
            details { margin: 0.4rem 0; border: 1px solid #e5e7eb; border-radius: 6px; padding: 0.4rem 0.7rem }
            summary { cursor: pointer } svg { max-width: 100%; height: auto } code { font-size: 12px }
            </style></head><body>
            <h1>Matriarch: faults on real clusters</h1>

            """
        text += "<p><b class=\"\(failed > 0 ? "failed" : "passed")\">\(xml(closingLine))</b></p>\n<p>"
        text += environment.map { "\(xml($0.0)): \(xml($0.1))" }.joined(separator: " · ") + "</p>\n"
        for complaint in complaints { text += "<p class=\"failed\">\(xml(complaint))</p>\n" }
        text += Self.legend
        for group in Fault.Group.allCases {
            let own = records.filter { $0.fault.group == group }
            if !own.isEmpty { text += table(group, own) }
        }
        text += "<h2>Time lines</h2>\n"
        for record in records where record.outcome != .notRun { text += details(record) }
        return text + "</body></html>\n"
    }

    private static let legend = """
        <p><b>Without writes</b>: the longest time in which no client outside the members' hosts had a write acknowledged,
        from the last acknowledgement before it to the first after it. <b>Double</b>: acknowledgements given although
        another member had already acknowledged on a later timeline. <b>Lost</b>: acknowledged writes that the primary at
        the end does not have; replication is asynchronous, so a move that nobody planned may lose what had not left the
        old primary. <b>Whole after</b>: from the fault's beginning until every member was back, the primary writable and
        the others fed by it. In the pictures blue is acknowledged to clients outside, green to clients on the member's
        own host, red is double, a circle is the end of a statement that was running when the fault began.</p>

        """

    private func table(_ group: Fault.Group, _ records: [RunRecord]) -> String {
        var text = "<h2>\(xml(group.rawValue.prefix(1).uppercased() + group.rawValue.dropFirst()))</h2>\n<table><tr>"
        text += "<th>Fault</th><th>Store</th><th></th><th class=\"number\">Without writes</th>"
        text += "<th class=\"number\">Double</th><th class=\"number\">Lost</th><th>Leader</th>"
        text += "<th class=\"number\">Whole after</th></tr>\n"
        for record in records {
            let ran = record.outcome != .notRun
            text += "<tr><td>" + (ran ? "<a href=\"#\(record.fileName)\">" : "") + xml(record.fault.title)
            text += (ran ? "</a>" : "") + (record.round > 1 ? " (\(record.round))" : "")
            for failure in record.failures { text += "<br><span class=\"failed\">\(xml(failure))</span>" }
            for note in record.notes { text += "<br>\(xml(note))" }
            let style = record.outcome == .notRun ? "notrun" : record.outcome.rawValue
            text += "</td><td>\(record.store.rawValue)</td><td class=\"\(style)\">\(record.outcome.rawValue)</td>"
            guard ran else {
                text += "<td></td><td></td><td></td><td></td><td></td></tr>\n"
                continue
            }
            text += "<td class=\"number\">\(milliseconds(record.longestGap)) ms</td>"
            text += "<td class=\"number\">\(record.judgement.doubles.count)</td>"
            text += "<td class=\"number\">\(record.lost.count) of \(record.acknowledgements.count)</td>"
            text += "<td>\(xml(record.leadership))</td><td class=\"number\">"
            text += (record.wholeAfter.map { "\(n($0)) s" } ?? "never") + "</td></tr>\n"
        }
        return text + "</table>\n"
    }

    private func details(_ record: RunRecord) -> String {
        let picture = Picture(record)
        let isOpen = record.outcome == .failed || !record.judgement.doubles.isEmpty
        var text = "<details id=\"\(record.fileName)\"\(isOpen ? " open" : "")><summary>\(xml(record.fault.name)), "
        text += "\(record.store.rawValue): \(xml(record.line))</summary>\n"
        if record.leaseLength > 0 { text += picture.svg }
        if record.judgement.deliveredLate > 0 {
            text +=
                "<p>\(record.judgement.deliveredLate) answers lay in the cut network and were read after it healed; "
            text += "they had been given before the successor's first.</p>\n"
        }
        if !record.lost.isEmpty {
            text += "<p>The \(record.lost.count) lost writes had been acknowledged within "
            text += "\(milliseconds(record.lostSpan)) ms.</p>\n"
        }
        text +=
            "<table><tr><th></th><th class=\"number\">s</th><th>Member</th><th>Rule</th><th>What it says</th></tr>\n"
        for (index, mark) in picture.marks.enumerated() {
            text += "<tr><td>\(index + 1)</td><td class=\"number\">\(milliseconds(mark.at) / 10 * 10) ms</td>"
            text += "<td>\(xml(mark.member))</td><td><code>\(xml(mark.rule))</code></td>"
            text += "<td>\(xml(mark.text)) <code>\(xml(mark.facts))</code></td></tr>\n"
        }
        return text + "</table></details>\n"
    }
}
