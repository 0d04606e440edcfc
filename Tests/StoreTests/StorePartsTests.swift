import ClusterModel
import Testing

@testable import PluginInterfaces

/// What `PluginInterfaces` has for the authors of stores.
@Suite struct StorePartsTests {
    @Test(arguments: [
        ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"), ("user:pässword", "dXNlcjpww6Rzc3dvcmQ="),
    ]) func base64(_ plain: String, _ encoded: String) {
        #expect(Base64.encode(plain.utf8) == encoded)
        #expect(Base64.decode(encoded) == Array(plain.utf8))
    }

    @Test func base64OfEverything() {
        let all = (0...255).map { UInt8($0) }
        for start in 0..<4 { #expect(Base64.decode(Base64.encode(all[start...])) == Array(all[start...])) }
        #expect(Base64.encode([0xFB, 0xFF]) == "+/8=")
        for wrong in ["Z", "Zg", "Zg=", "Z===", "Zm9v!", "Zm 9", "====", "Zg==Zg==", "größe===", "ab=c"] {
            #expect(Base64.decode(wrong) == nil, "\(wrong)")
        }
    }

    @Test func signalsAreMerged() {
        func merged(_ signals: [StoreSignal]) -> [StoreSignal] {
            var waiting: [StoreSignal] = []
            for signal in signals { SignalMailbox.merge(signal, into: &waiting) }
            return waiting
        }
        let later = StoreSignal.changed(StoreRevision(number: 7))
        #expect(merged([.changed(nil), .changed(nil)]) == [.changed(nil)])
        #expect(merged([.changed(StoreRevision(number: 5)), later]) == [later])
        #expect(merged([.disconnected("x"), .connected, .changed(nil)]) == [.connected, .changed(nil)])
        #expect(merged([.connected, .changed(nil), .disconnected("x")]) == [.changed(nil), .disconnected("x")])
        #expect(merged([.sessionLost, .connected, .sessionLost]) == [.connected, .sessionLost])
    }

    @Test(.timeLimit(.minutes(1))) func aMailboxHandsOverEndsAndLeavesTheRest() async {
        let mailbox = SignalMailbox(waiting: [.connected])
        #expect(await mailbox.next() == .connected)
        async let next = mailbox.next()
        mailbox.post(.sessionLost)
        #expect(await next == .sessionLost)
        mailbox.post(.changed(nil))
        #expect(mailbox.close() == [.changed(nil)])
        mailbox.post(.connected)
        #expect(await mailbox.next() == nil)
    }

    @Test(.timeLimit(.minutes(1))) func aCancelledReaderEnds() async {
        let mailbox = SignalMailbox()
        let reader = Task { await mailbox.next() }
        reader.cancel()
        #expect(await reader.value == nil)
    }
}
