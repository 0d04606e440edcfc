/// A write that PostgreSQL acknowledged to a client.
package struct Acknowledgement: Sendable, Hashable {
    /// Where the client sits.
    package enum Place: String, Sendable {
        /// On a host of its own, as an application's.
        case outside
        /// On the member's host: no cut of the network comes between the two.
        case inside
    }

    package var member: String
    package var writer: String
    package var number: Int
    /// The timeline it was written on.
    package var timeline: Int
    package var place: Place
    /// When it was sent and when the acknowledgement was read.
    package var sent: Double
    package var acknowledged: Double
    /// When the server executed it, by its own clock, which is this machine's.
    package var executed: Double
    /// Whether the way between client and server was cut at some time between `sent` and `acknowledged`. Then the
    /// answer may have lain in the network until the cut healed: it was given at `executed` at the earliest.
    package var crossedCut: Bool

    package init(
        member: String, writer: String, number: Int, timeline: Int, place: Place = .outside, sent: Double,
        acknowledged: Double, executed: Double? = nil, crossedCut: Bool = false
    ) {
        self.member = member
        self.writer = writer
        self.number = number
        self.timeline = timeline
        self.place = place
        self.sent = sent
        self.acknowledged = acknowledged
        self.executed = executed ?? sent
        self.crossedCut = crossedCut
    }

    /// The earliest instant at which it may have been given.
    var earliest: Double { crossedCut ? min(executed, acknowledged) : acknowledged }

    package var key: String { "\(writer):\(number)" }
}
