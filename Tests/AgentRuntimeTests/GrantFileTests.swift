import ClusterModel
import Glibc
import HighAvailability
import PeerClient
import PluginInterfaces
import Testing

@testable import AgentRuntime

struct GrantFileTests {
    @Test func `a grant survives as it was, in a file that is its owner's alone`() throws {
        try withStateDirectory(["grants"]) { state in
            let record = GrantRecord(
                holder: "pg1", until: SystemClock.now() + .seconds(7), lasts: .seconds(10), round: .max, instance: 3,
                newestFence: Fence(era: 2, number: 99))
            try state.save(record)
            #expect(state.grants() == .record(record))
            var status = stat()
            #expect(stat("\(state.path)/grants", &status) == 0)
            #expect(status.st_mode & 0o777 == 0o600)
            try state.save(GrantRecord(newestFence: Fence(era: 0, number: 5)))
            #expect(state.grants() == .record(GrantRecord(newestFence: Fence(era: 0, number: 5))))
        }
    }

    @Test func `of an earlier boot nobody knows how much is left: all of it`() throws {
        try withStateDirectory(["grants"]) { state in
            let text = #"""
                {"boot":"another","machine":"x","holder":"pg1","until_ns":5,"lasts_ms":4000,"round":"1","instance":"2","newest_term":"0.7"}
                """#
            try state.write("grants", Array(text.utf8))
            let now = Instant(nanoseconds: 1_000_000_000)
            guard case .record(let record) = state.grants(at: now) else {
                Issue.record("no record")
                return
            }
            #expect(record.until == now + .seconds(4) && record.holder == "pg1")
            #expect(record.newestFence == Fence(era: 0, number: 7))
        }
    }

    @Test(arguments: [
        "", "{", "[]", "{}", #"{"holder":"pg1"}"#,
        #"{"holder":"pg1","until_ns":1,"lasts_ms":-1,"newest_term":"0.1"}"#,
        #"{"holder":"pg1","until_ns":1,"lasts_ms":1,"newest_term":"one"}"#,
    ])
    func `what is torn or missing is known to be unknown`(text: String) throws {
        try withStateDirectory(["grants"]) { state in
            func isUnreadable() -> Bool { if case .unreadable = state.grants() { true } else { false } }
            #expect(isUnreadable())
            try state.write("grants", Array(text.utf8))
            #expect(isUnreadable())
        }
    }

    @Test func `the exchange is Patroni's, and only its exact answer is a grant`() throws {
        let body = FailsafeExchange.body(
            of: GrantRequest(
                name: "pg1", connURL: "postgres://h/postgres", apiURL: "http://h/patroni", lasts: .seconds(4),
                fence: Fence(era: 1, number: 2), round: 3, instance: 4, slots: ["pg1": LSN(5)]))
        #expect(body["name"]?.string == "pg1" && body["slots"]?["pg1"]?.integer == 5)
        #expect(body["conn_url"]?.string == "postgres://h/postgres" && body["api_url"]?.string == "http://h/patroni")
        #expect(body[Member.ownField]?["lease_ms"]?.integer == 4000)
        #expect(
            FailsafeExchange.answer(.init(status: 200, body: "Accepted", position: LSN(7), lasts: nil))
                == .granted(nil, position: LSN(7)))
        #expect(FailsafeExchange.answer(.init(status: 502, body: "x")) == .off)
        for (status, text) in [(200, "accepted"), (200, "Accepted\n"), (200, ""), (503, "Accepted"), (500, "no")] {
            guard case .refused = FailsafeExchange.answer(.init(status: status, body: text)) else {
                Issue.record("\(status) \(text) counts as a grant")
                continue
            }
        }
    }
}
