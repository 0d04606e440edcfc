import ClusterModel
import HighAvailability
import Testing

@testable import RESTServer

@Suite struct PeerStreamPacerTests {
    private func document(_ change: (inout AgentStatus) -> Void = { _ in }) -> JSONObject {
        var status = Sample.replica()
        change(&status)
        return StatusDocument.make(status: status, now: Sample.now)
    }

    private func at(_ milliseconds: Int) -> Instant { Sample.now + .milliseconds(milliseconds) }

    @Test func theFirstStatusIsSentAndThenOnlyChanges() {
        let pacer = Pacer()
        #expect(pacer.shallSend(document(), now: at(0)))
        #expect(!pacer.shallSend(document(), now: at(5000)))
        #expect(!pacer.isBehind)
    }

    @Test func aPositionWaitsForItsSecond() {
        let pacer = Pacer()
        _ = pacer.shallSend(document(), now: at(0))
        let moved = document { $0.sample?.receiveLSN = LSN(0x500_0000) }
        #expect(!pacer.shallSend(moved, now: at(300)))
        #expect(pacer.isBehind)
        #expect(pacer.shallSend(moved, now: at(1000)))
        #expect(!pacer.isBehind)
        // Back to what was sent last: nothing waits any more.
        #expect(!pacer.shallSend(document(), now: at(1100)))
        #expect(pacer.isBehind)
        #expect(!pacer.shallSend(moved, now: at(1200)))
        #expect(!pacer.isBehind)
    }

    @Test(arguments: [0, 1, 2, 3, 4, 5, 6])
    func whatARaceHangsOnGoesAtOnce(_ index: Int) {
        let changes: [(inout AgentStatus) -> Void] = [
            { $0.sample?.receiver = nil }, { $0.state = .stopping }, { $0.isSilent = true }, { $0.sample = nil },
            { $0.sample?.isInRecovery = false }, { $0.term = Fence(era: 0, number: 10) },
            { $0.grant = GrantRecord(holder: "pg1", lasts: .seconds(30)) },
        ]
        let pacer = Pacer()
        _ = pacer.shallSend(document(), now: at(0))
        #expect(pacer.shallSend(document(changes[index]), now: at(10)))
    }

    @Test func thePassingOfTimeIsNoNews() {
        let pacer = Pacer()
        _ = pacer.shallSend(document(), now: at(0))
        let later = document { $0.storeLastSeen = WallTime(seconds: 1_692_356_999) }
        #expect(!pacer.shallSend(later, now: at(2000)))
        #expect(!pacer.isBehind)
    }

    @Test func anIntervalWithoutAWordIsAHeartbeat() {
        let rules = Rules()
        #expect(rules.beat(now: at(0)) == .init())
        rules.statusWasLookedAt(isSent: true, now: at(100))
        #expect(rules.beat(now: at(900)) == .init())
        #expect(rules.beat(now: at(1900)) == .init(saysSo: true))
        #expect(rules.beat(now: at(2900)) == .init(saysSo: true))
        rules.end()
        #expect(rules.beat(now: at(3900)) == .init())
    }

    @Test func whatTimeAloneChangesIsLookedForNowAndThen() {
        let rules = Rules()
        rules.statusWasLookedAt(isSent: true, now: at(0))
        for second in 1...4 { #expect(rules.beat(now: at(second * 1000)) == .init(saysSo: true)) }
        #expect(rules.beat(now: at(5000)) == .init(saysSo: true, looks: true))
        #expect(rules.beat(now: at(6000)) == .init(saysSo: true))
    }

    @Test(arguments: [(2, 1000), (3, 1000), (6, 1000), (12, 2000), (20, 3333), (30, 5000), (300, 5000)])
    func longLeasesBeatSlower(_ ttl: Int, _ milliseconds: Int64) {
        #expect(PeerBeatRules.interval(ttl: .seconds(ttl), isLeading: true).milliseconds == milliseconds)
        // Whose silence makes nobody race.
        let following = PeerBeatRules.interval(ttl: .seconds(ttl), isLeading: false)
        #expect(following == PeerBeatRules.interval(ttl: .seconds(ttl), isLeading: true) * 3)
    }
}

/// Expectations see values as constants; these are references.
private final class Pacer {
    private var value = PeerStreamPacer()
    var isBehind: Bool { value.isBehind }

    func shallSend(_ document: JSONObject, now: Instant) -> Bool { value.shallSend(document, now: now) }
}

private final class Rules {
    private var value = PeerBeatRules()

    func beat(now: Instant) -> PeerBeatRules.Action { value.beat(now: now, interval: .seconds(1)) }

    func end() { value.end() }

    func statusWasLookedAt(isSent: Bool, now: Instant) { value.statusWasLookedAt(isSent: isSent, now: now) }
}
