import CLeaseGuard
import ClusterModel
import Glibc
import Testing

@testable import LeaseGuard

/// The rules by which the guard judges what is written into the page, as a table. Instants are in milliseconds.
@Suite("Rules of the page")
struct PageRulesTests {
    static let now: Int64 = 100_000
    static let millisecond: Int64 = 1_000_000

    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var expected: mg_verdict
        var mayChange = true
        var change: @Sendable (inout mg_lease, inout mg_offer) -> Void
    }

    static func term(_ number: UInt64, era: UInt32 = 1) -> mg_term { mg_term(era: era, reserved: 0, number: number) }

    /// Term 7 armed with Q, K, E' 1000, 1200, 1300 ms from now of T 2000; an offer 500 ms later each.
    static func base() -> (mg_lease, mg_offer) {
        var lease = mg_lease()
        lease.longest = 60_000 * millisecond
        lease.term = term(7)
        lease.over = term(6)
        lease.armed = true
        lease.granted = 2000 * millisecond
        (lease.quit, lease.kill, lease.end) = at(1000, 1200, 1300)
        var offer = mg_offer()
        offer.term = term(7)
        offer.granted = 2000 * millisecond
        (offer.quit, offer.kill, offer.end) = at(1500, 1700, 1800)
        return (lease, offer)
    }

    static func at(_ quit: Int64, _ kill: Int64, _ end: Int64) -> (Int64, Int64, Int64) {
        ((now + quit) * millisecond, (now + kill) * millisecond, (now + end) * millisecond)
    }

    static let cases: [Case] = [
        Case(testDescription: "later deadlines of the term", expected: MG_ACCEPTED) { _, _ in },
        Case(testDescription: "the same again", expected: MG_UNCHANGED) { lease, offer in
            (offer.quit, offer.kill, offer.end) = (lease.quit, lease.kill, lease.end)
        },
        Case(testDescription: "nothing was ever written", expected: MG_UNCHANGED) { _, offer in offer = mg_offer() },
        Case(
            testDescription: "the holding goes on in a later era while PostgreSQL runs", expected: MG_ACCEPTED,
            mayChange: false
        ) { _, offer in
            offer.term = term(3, era: 2)
            offer.flags = MG_OFFER_SUCCEEDS
        },
        Case(
            testDescription: "a succession that shortens the deadline", expected: MG_REFUSED_SHRINK, mayChange: false
        ) { _, offer in
            offer.term = term(3, era: 2)
            offer.flags = MG_OFFER_SUCCEEDS
            (offer.quit, offer.kill, offer.end) = at(900, 1150, 1250)
        },
        Case(
            testDescription: "a succession within an era", expected: MG_REFUSED_CHANGE, mayChange: false
        ) { _, offer in
            offer.term = term(9)
            offer.flags = MG_OFFER_SUCCEEDS
        },
        Case(
            testDescription: "a succession of what is over", expected: MG_REFUSED_CHANGE, mayChange: false
        ) { lease, offer in
            lease.armed = false
            offer.term = term(3, era: 2)
            offer.flags = MG_OFFER_SUCCEEDS
        },
        Case(testDescription: "an earlier Q", expected: MG_REFUSED_SHRINK) { _, offer in
            (offer.quit, offer.kill, offer.end) = at(999, 1700, 1800)
        },
        Case(testDescription: "an earlier K", expected: MG_REFUSED_SHRINK) { _, offer in
            (offer.quit, offer.kill, offer.end) = at(1100, 1199, 1800)
        },
        Case(testDescription: "an earlier E'", expected: MG_REFUSED_SHRINK) { _, offer in
            (offer.quit, offer.kill, offer.end) = at(1100, 1201, 1299)
        },
        Case(testDescription: "beyond now + T", expected: MG_REFUSED_FAR) { _, offer in
            (offer.quit, offer.kill, offer.end) = at(1500, 1700, 2001)
        },
        Case(testDescription: "exactly now + T", expected: MG_ACCEPTED) { _, offer in
            (offer.quit, offer.kill, offer.end) = at(1500, 1700, 2000)
        },
        Case(testDescription: "a T longer than the session's cap", expected: MG_REFUSED_FAR) { _, offer in
            offer.granted = 60_001 * millisecond
        },
        Case(testDescription: "no T", expected: MG_REFUSED_FAR) { _, offer in offer.granted = 0 },
        Case(testDescription: "K before Q", expected: MG_REFUSED_ORDER) { _, offer in
            (offer.quit, offer.kill, offer.end) = at(1500, 1500, 1800)
        },
        Case(testDescription: "K after E'", expected: MG_REFUSED_ORDER) { _, offer in
            (offer.quit, offer.kill, offer.end) = at(1500, 1801, 1800)
        },
        Case(testDescription: "negative instants", expected: MG_REFUSED_ORDER) { _, offer in offer.quit = -1 },
        Case(testDescription: "a term that is over", expected: MG_REFUSED_OVER) { _, offer in offer.term = term(6) },
        Case(testDescription: "a term below one that is over", expected: MG_REFUSED_OVER) { _, offer in
            offer.term = term(3)
        },
        Case(testDescription: "a term that the agent itself declares over", expected: MG_REFUSED_OVER) { _, offer in
            offer.over = term(7)
        },
        Case(testDescription: "a stop is not revoked: the stopped term comes again", expected: MG_REFUSED_OVER) {
            lease, _ in
            mg_lease_end(&lease, lease.term)
        },
        Case(testDescription: "an older term that is not over", expected: MG_REFUSED_OLDER) { lease, offer in
            lease.over = term(1)
            offer.term = term(5)
        },
        Case(testDescription: "an older era with a higher number", expected: MG_REFUSED_OVER) { _, offer in
            offer.term = term(100, era: 0)
        },
        Case(testDescription: "a newer term", expected: MG_ACCEPTED) { _, offer in offer.term = term(8) },
        Case(testDescription: "a newer era with a lower number", expected: MG_ACCEPTED) { _, offer in
            offer.term = term(1, era: 2)
        },
        Case(testDescription: "a newer term may end earlier than the old one", expected: MG_ACCEPTED) { _, offer in
            offer.term = term(8)
            (offer.quit, offer.kill, offer.end) = at(500, 600, 700)
        },
        Case(
            testDescription: "a newer term while PostgreSQL runs under the old one", expected: MG_REFUSED_CHANGE,
            mayChange: false
        ) { _, offer in offer.term = term(8) },
        Case(testDescription: "the same term while PostgreSQL runs under it", expected: MG_ACCEPTED, mayChange: false) {
            _, _ in
        },
        Case(testDescription: "growth of a frozen term", expected: MG_REFUSED_FROZEN) { lease, _ in lease.frozen = true
        },
        Case(testDescription: "a frozen term's own values", expected: MG_UNCHANGED) { lease, offer in
            lease.frozen = true
            (offer.quit, offer.kill, offer.end) = (lease.quit, lease.kill, lease.end)
        },
        Case(testDescription: "freezing as it stands", expected: MG_ACCEPTED) { lease, offer in
            (offer.quit, offer.kill, offer.end) = (lease.quit, lease.kill, lease.end)
            offer.flags = MG_OFFER_FROZEN
        },
        Case(testDescription: "a newer term after a frozen one", expected: MG_ACCEPTED) { lease, offer in
            lease.frozen = true
            offer.term = term(8)
        },
        Case(testDescription: "a new term whose Q has passed", expected: MG_REFUSED_PASSED) { _, offer in
            offer.term = term(8)
            (offer.quit, offer.kill, offer.end) = at(0, 600, 700)
        },
    ]

    @Test("An offer is judged", arguments: cases)
    func judge(_ each: Case) {
        var (lease, offer) = Self.base()
        each.change(&lease, &offer)
        let verdict = mg_lease_judge(&lease, &offer, Self.now * Self.millisecond, each.mayChange)
        #expect(verdict == each.expected, "\(String(cString: mg_verdict_text(verdict)))")
    }

    @Test("Ending a term disarms it and every lower one, and never goes back")
    func ending() {
        var (lease, _) = Self.base()
        mg_lease_end(&lease, Self.term(6))
        #expect(lease.armed)
        mg_lease_end(&lease, Self.term(9))
        #expect(!lease.armed)
        mg_lease_end(&lease, Self.term(2))
        #expect(Fence(lease.over) == Fence(era: 1, number: 9))
    }

    @Test("What one side writes into the page the other reads, whole")
    func page() throws {
        var mapped: OpaquePointer?
        let descriptor = mg_page_create(&mapped)
        defer { close(descriptor) }
        let guardSide = try #require(mapped)
        let agentSide = try #require(mg_page_map(descriptor))
        defer {
            mg_page_unmap(guardSide)
            mg_page_unmap(agentSide)
        }
        var (_, offer) = Self.base()
        var read = mg_offer()
        var sequence: UInt64 = 99
        #expect(mg_page_read_offer(guardSide, &read, &sequence))
        #expect(sequence == 0)
        mg_page_offer(agentSide, &offer)
        #expect(mg_page_read_offer(guardSide, &read, &sequence))
        #expect(sequence == 2 && read.quit == offer.quit && read.end == offer.end && read.term.number == 7)
        var published = mg_published()
        published.rounds = 41
        published.kill = 5
        mg_page_publish(guardSide, &published)
        #expect(mg_page_rounds(agentSide) == 41)
        var seen = mg_published()
        #expect(mg_page_read_published(agentSide, &seen))
        #expect(seen.kill == 5)
    }

    @Test("A packet whose directory has no end is none of a guard's", arguments: [false, true])
    func packetsAreChecked(hasEnd: Bool) {
        var message = mg_message()
        message.header = mg_header(
            magic: MG_MAGIC, version: UInt16(MG_PROTOCOL_VERSION), type: UInt16(MG_REPORT.rawValue), sequence: 1)
        withUnsafeMutableBytes(of: &message.status.directory) { bytes in
            for index in bytes.indices.dropLast(hasEnd ? 1 : 0) { bytes[index] = UInt8(ascii: "/") }
        }
        let packet = withUnsafeBytes(of: &message) { GuardPacket($0) }
        #expect((packet != nil) == hasEnd)
        if let packet { #expect(GuardStatus(packet.status).dataDirectory?.utf8.count == Int(MG_DIRECTORY_LIMIT) - 1) }
    }

    @Test("The page cannot be shrunk under the guard")
    func sealed() {
        var mapped: OpaquePointer?
        let descriptor = mg_page_create(&mapped)
        defer {
            close(descriptor)
            mg_page_unmap(mapped)
        }
        #expect(ftruncate(descriptor, 0) == -1)
    }
}
