import ClusterHarness
import ClusterModel
import Testing

@testable import fault_campaign

/// What the report tells of a run, from a run that never was.
@Suite struct ReportTests {
    private func record(doubles: Bool) throws -> RunRecord {
        let fault = try #require(Catalogue.all.first { $0.name == "isolate-primary-3.0" })
        var record = RunRecord(fault, store: .zooKeeper, round: 1)
        record.members = ["pg1", "pg2"]
        record.victims = ["pg1"]
        record.leaderBefore = "pg1"
        record.leaderAfter = "pg2"
        record.origin = 100
        record.lastsUntil = 12
        record.leaseLength = 4
        record.wholeAfter = 14
        func write(_ member: String, _ timeline: Int, _ time: Double, _ place: Acknowledgement.Place) -> Acknowledgement
        {
            Acknowledgement(
                member: member, writer: "\(member) <&>", number: Int(time * 1000), timeline: timeline, place: place,
                sent: time, acknowledged: time)
        }
        for step in 0..<200 {
            record.acknowledgements.append(write("pg1", 1, 98 + Double(step) / 100, .outside))
            record.acknowledgements.append(write("pg2", 2, 105 + Double(step) / 100, .outside))
        }
        if doubles { record.acknowledgements.append(write("pg1", 1, 106, .inside)) }
        record.judgement = Judgement(record.acknowledgements)
        record.gaps = Judgement.gaps(record.acknowledgements, around: 100, longerThan: 0.2)
        record.longestGap = Judgement.gap(record.acknowledgements, around: 100)
        record.marks = [
            .init(at: 5, member: "pg2", rule: "lease.acquired", text: "the lease is ours", facts: "{\"fence\":\"<1>\"}")
        ]
        return record
    }

    @Test func thePictureShowsMembersFaultGapAndDecision() throws {
        let svg = Picture(try record(doubles: false)).svg
        for part in ["pg1", "pg2", "fault", "1 lease", "5010 ms", "TL 1", "TL 2", "writes taken"] {
            #expect(svg.contains(part), "\(part)")
        }
        #expect(!svg.contains("#dc2626"))
        #expect(svg.hasSuffix("</svg>\n"))
    }

    @Test func aDoubleAcknowledgementIsRed() throws {
        #expect(Picture(try record(doubles: true)).svg.contains("#dc2626"))
    }

    @Test func theReportsFilesAreWrittenAndTold() async throws {
        let records = [try record(doubles: false), try record(doubles: true)]
        try await onThread {
            let directory = "\(SystemEnvironment.workPlace)/report-test.\(UInt32.random(in: .min ... .max))"
            defer { removeTree(directory) }
            let report = try Report(directory: directory, environment: [("lease", "4 s")])
            try report.add(records[0])
            var failed = records[1]
            failed.outcome = .failed
            failed.failures = ["two writers: <told>"]
            try report.add(failed, lastWords: "nobody answers")
            try check(report.failed == 1, "one failed")
            try check(
                report.closingLine.hasPrefix("1 passed, 1 failed, 0 measured only, 0 not run; 1 double"), "closing")
            let page = readText("\(directory)/report.html") ?? ""
            try check(page.contains("two writers: &lt;told&gt;") && page.contains("<svg"), "the page")
            let json = try JSONValue.parse(readText("\(directory)/report.json") ?? "")
            let runs = json["runs"]?.array ?? []
            try check(runs.map { $0["double_acknowledgements"]?.integer } == [0, 1], "the figures")
            try check(runs.first?["longest_without_writes_ms"]?.integer == 5010, "the gap")
            let listing = readText("\(directory)/\(failed.fileName).tsv") ?? ""
            try check(listing.contains("\tdouble\n"), "the listing")
        }
    }

    @Test func numbersAreShort() {
        #expect([0, 1, 1.25, -0.5, 12.04, 3.96].map(n) == ["0", "1", "1.3", "-0.5", "12", "4"])
        #expect(xml("<a & \"b\">") == "&lt;a &amp; &quot;b&quot;&gt;")
    }
}
