import CLeaseGuard
import ClusterModel
import Glibc
import Synchronization

/// The agent's end of the page: what was offered last, so that no offer goes backwards, and the mapping itself.
final class GuardPage: Sendable {
    private struct Offered {
        var offer = mg_offer()
        var isFrozen = false
        var isClosed = false
    }

    // The mapping lives as long as this object; its writer's half is written under `offered` only, the guard's half and
    // the round counter are read with atomics.
    nonisolated(unsafe) let page: OpaquePointer
    private let event: Int32
    private let offered: Mutex<Offered>

    init(page: OpaquePointer, event: Int32, status: mg_status) {
        self.page = page
        self.event = event
        var offered = Offered()
        Self.adopt(status, into: &offered)
        self.offered = Mutex(offered)
    }

    deinit {
        mg_page_unmap(page)
        close(event)
    }

    private static func adopt(_ status: mg_status, into offered: inout Offered) {
        let isArmed = status.flags & MG_FLAG_ARMED != 0
        offered.offer.term = isArmed ? status.term : mg_term()
        offered.offer.quit = isArmed ? status.quit : 0
        offered.offer.kill = isArmed ? status.kill : 0
        offered.offer.end = isArmed ? status.end : 0
        offered.offer.granted = isArmed ? status.granted : 0
        if mg_term_compare(status.over, offered.offer.over) > 0 { offered.offer.over = status.over }
        offered.isFrozen = isArmed && status.flags & MG_FLAG_FROZEN != 0
        offered.offer.flags = offered.isFrozen ? MG_OFFER_FROZEN : 0
    }

    /// The guard did not accept the last offer: what it holds is the measure again, not what was offered.
    func wasRefused(_ status: mg_status) {
        offered.withLock { offered in
            // A newer offer may be on its way already; the guard judges it on its own.
            if !offered.isClosed { Self.adopt(status, into: &offered) }
        }
    }

    func arm(_ deadline: GuardDeadline, succeeds: Bool = false) -> Bool {
        let term = deadline.term.raw
        let taken = offered.withLock { offered in
            let last = offered.offer
            guard !offered.isClosed, !mg_term_is_none(term), deadline.quit < deadline.kill,
                deadline.kill <= deadline.end, mg_term_compare(term, last.over) > 0,
                mg_term_compare(term, last.term) >= 0
            else { return false }
            if mg_term_compare(term, last.term) == 0 {
                guard !offered.isFrozen, deadline.quit.nanoseconds >= last.quit,
                    deadline.kill.nanoseconds >= last.kill, deadline.end.nanoseconds >= last.end
                else { return false }
            }
            offered.isFrozen = false
            offered.offer.term = term
            offered.offer.quit = deadline.quit.nanoseconds
            offered.offer.kill = deadline.kill.nanoseconds
            offered.offer.end = deadline.end.nanoseconds
            offered.offer.granted = deadline.granted.nanosecondsClamped
            offered.offer.flags = succeeds ? MG_OFFER_SUCCEEDS : 0
            mg_page_offer(page, &offered.offer)
            return true
        }
        if taken { mg_eventfd_notify(event) }
        return taken
    }

    func freeze() {
        let written = offered.withLock { offered in
            if offered.isClosed || mg_term_is_none(offered.offer.term) { return false }
            offered.isFrozen = true
            offered.offer.flags = MG_OFFER_FROZEN
            mg_page_offer(page, &offered.offer)
            return true
        }
        if written { mg_eventfd_notify(event) }
    }

    func endTerm() {
        let written = offered.withLock { offered in
            if offered.isClosed || mg_term_is_none(offered.offer.term) { return false }
            offered.offer.over = offered.offer.term
            mg_page_offer(page, &offered.offer)
            return true
        }
        if written { mg_eventfd_notify(event) }
    }

    /// From here on nothing is written: the guard has another agent, or is gone.
    func invalidate() {
        offered.withLock { $0.isClosed = true }
    }

    var rounds: UInt64 { mg_page_rounds(page) }

    var published: mg_published? {
        var published = mg_published()
        return mg_page_read_published(page, &published) ? published : nil
    }
}
