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

    @Test func theFirstWordIsTheStatusAndThenHeartbeats() {
        var pacer = PeerStreamPacer()
        #expect(pacer.word(for: document(), now: at(0)) == .status(document()))
        #expect(pacer.word(for: document(), now: at(400)) == nil)
        #expect(pacer.word(for: document(), now: at(1000)) == .heartbeat)
        #expect(pacer.word(for: document(), now: at(1500)) == nil)
        #expect(pacer.word(for: document(), now: at(2000)) == .heartbeat)
    }

    @Test func aPositionWaitsForItsSecond() {
        var pacer = PeerStreamPacer()
        _ = pacer.word(for: document(), now: at(0))
        let moved = document { $0.sample?.receiveLSN = LSN(0x500_0000) }
        #expect(pacer.word(for: moved, now: at(300)) == nil)
        #expect(pacer.word(for: moved, now: at(1000)) == .status(moved))
        #expect(pacer.word(for: moved, now: at(1100)) == nil)
    }

    @Test(arguments: [0, 1, 2, 3, 4, 5])
    func whatARaceHangsOnGoesAtOnce(_ index: Int) {
        let changes: [(inout AgentStatus) -> Void] = [
            { $0.sample?.receiver = nil }, { $0.state = .stopping }, { $0.isSilent = true }, { $0.sample = nil },
            { $0.sample?.isInRecovery = false }, { $0.term = Fence(era: 0, number: 10) },
        ]
        var pacer = PeerStreamPacer()
        _ = pacer.word(for: document(), now: at(0))
        let changed = document(changes[index])
        #expect(pacer.word(for: changed, now: at(10)) == .status(changed))
    }

    @Test func thePassingOfTimeIsNoNews() {
        var pacer = PeerStreamPacer()
        _ = pacer.word(for: document(), now: at(0))
        let later = document { $0.storeLastSeen = WallTime(seconds: 1_692_356_999) }
        #expect(pacer.word(for: later, now: at(1000)) == .heartbeat)
    }

    @Test func theStatusIsLookedAtOnlyForAReason() {
        var pacer = PeerStreamPacer()
        #expect(pacer.wantsLook(now: at(0)))
        _ = pacer.word(for: document(), now: at(0))
        #expect(!pacer.wantsLook(now: at(1000)))
        #expect(pacer.wordWithoutLook(now: at(1000)) == .heartbeat)
        // A change that waits for its second is not forgotten.
        let moved = document { $0.sample?.receiveLSN = LSN(0x500_0000) }
        #expect(pacer.word(for: document(), now: at(1100)) == nil)
        var early = PeerStreamPacer()
        _ = early.word(for: document(), now: at(0))
        #expect(early.word(for: moved, now: at(300)) == nil)
        #expect(early.wantsLook(now: at(1000)))
        // Time alone changes some things.
        #expect(pacer.wantsLook(now: at(6100)))
    }
}
