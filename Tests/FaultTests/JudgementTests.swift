import ClusterHarness
import Testing

/// The judge of all tests on real clusters: one that sees nothing passes everything.
@Suite struct JudgementTests {
    private func write(
        _ member: String, _ timeline: Int, _ time: Double, executed: Double? = nil, crossedCut: Bool = false
    ) -> Acknowledgement {
        Acknowledgement(
            member: member, writer: member, number: Int(time * 1000), timeline: timeline, sent: time - 0.001,
            acknowledged: time, executed: executed, crossedCut: crossedCut)
    }

    @Test func oneWriterAfterAnotherIsRight() {
        #expect(Judgement([]).complaint == nil)
        let writes = [write("a", 1, 1), write("a", 1, 2), write("b", 2, 3), write("a", 3, 4)]
        #expect(Judgement(writes).complaint == nil)
        // A crash in place keeps the timeline and the member.
        #expect(Judgement([write("a", 1, 1), write("a", 1, 9)]).complaint == nil)
        // A server that was promoted again is one server, which cannot overlap with itself.
        #expect(Judgement([write("a", 1, 1), write("a", 2, 2), write("a", 1, 2.1)]).complaint == nil)
    }

    @Test func anAcknowledgementAfterTheSuccessorsFirstIsFound() {
        let late = [write("a", 1, 1), write("b", 2, 2), write("a", 1, 2.1), write("a", 1, 2.2), write("b", 2, 3)]
        let judgement = Judgement(late)
        #expect(judgement.doubles.count == 2)
        #expect(judgement.doubles.map(\.successor) == ["b", "b"])
        #expect(abs((judgement.doubles.map(\.late).max() ?? 0) - 0.2) < 1e-9)
        #expect(judgement.complaint?.contains("200 ms after b") == true)
        // An instant that both share is an overlap.
        #expect(Judgement([write("a", 1, 2), write("b", 2, 2)]).doubles.count == 1)
    }

    @Test func aTimelineThatWasSkippedHidesNothing() {
        let writes = [write("a", 1, 1), write("b", 2, 2), write("b", 3, 3), write("c", 4, 4), write("a", 1, 4.5)]
        #expect(Judgement(writes).doubles.map(\.acknowledgement.acknowledged) == [4.5])
    }

    @Test func twoMembersOnOneTimelineAreFound() {
        let inTurn = Judgement([write("a", 2, 1), write("b", 2, 2)])
        #expect(inTurn.sharedTimelines == [2: ["a", "b"]])
        #expect(inTurn.doubles.isEmpty && inTurn.complaint == "timeline 2 was made by a and then by b")
        let together = Judgement([write("a", 2, 1), write("b", 2, 2), write("a", 2, 3), write("b", 2, 4)])
        #expect(together.doubles.map(\.acknowledgement.acknowledged) == [3])
        #expect(Judgement([write("a", 0, 1)]).unjudged == 1)
        #expect(throws: SystemFailure.self) { try Writers.requireOneWriter([write("a", 2, 1), write("b", 2, 2)]) }
    }

    @Test func anAnswerThatLayInACutNetworkIsJudgedByItsExecution() {
        let inTime = [write("a", 1, 1), write("b", 2, 5), write("a", 1, 9, executed: 1.01, crossedCut: true)]
        #expect(Judgement(inTime).complaint == nil)
        #expect(Judgement(inTime).deliveredLate == 1)
        let tooLate = [write("a", 1, 1), write("b", 2, 5), write("a", 1, 9, executed: 5.5, crossedCut: true)]
        #expect(Judgement(tooLate).doubles.count == 1)
        // Without a cut between them, nothing excuses it.
        #expect(Judgement([write("b", 2, 5), write("a", 1, 9, executed: 1.01)]).doubles.count == 1)
    }

    @Test func theGapIsTheLongestSilenceAfterTheFault() {
        let writes = [1.0, 1.5, 2.0, 4.0, 4.1].map { write("a", 1, $0) }
        #expect(abs(Judgement.gap(writes, around: 2.0) - 2.0) < 1e-9)
        #expect(abs(Judgement.gap(writes, around: 4.0) - 0.1) < 1e-9)
        #expect(Judgement.gaps(writes, around: 0, longerThan: 0.2).map(\.lowerBound) == [1.0, 1.5, 2.0])
    }
}
