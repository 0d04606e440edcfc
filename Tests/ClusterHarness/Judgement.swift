/// What the acknowledgements of a run prove about the number of writers.
package struct Judgement: Sendable {
    /// An acknowledgement given although another member had already acknowledged on a later timeline, or had begun later
    /// on the same.
    package struct Late: Sendable {
        package var acknowledgement: Acknowledgement
        /// Who had taken over, on which timeline, and how long before, in seconds.
        package var successor: String
        package var timeline: Int
        package var late: Double
    }

    package var doubles: [Late] = []
    /// Timelines on which two members acknowledged, one after the other or not: numbers that were given away twice.
    package var sharedTimelines: [Int: [String]] = [:]
    /// Acknowledgements without a timeline: the judge can say nothing about them, which is a failure of the test.
    package var unjudged = 0
    /// Answers that came after a cut had healed: given some time before, so no doubles unless executed late.
    package var deliveredLate = 0

    package init(_ acknowledgements: [Acknowledgement]) {
        /// By timeline and member: when it began to acknowledge for certain.
        var first: [Int: [String: Double]] = [:]
        for one in acknowledgements {
            first[one.timeline, default: [:]][one.member] = min(
                first[one.timeline]?[one.member] ?? .infinity, one.acknowledged)
        }
        let timelines = first.keys.sorted()
        for one in acknowledgements {
            if one.timeline == 0 { unjudged += 1 }
            var worst: Late?
            for timeline in timelines where timeline >= one.timeline {
                for (member, began) in first[timeline] ?? [:] where member != one.member {
                    // Of two on one timeline, the one who began later is the successor.
                    if timeline == one.timeline, let own = first[timeline]?[one.member], own > began { continue }
                    let late = one.earliest - began
                    guard late >= 0, late > worst?.late ?? -1 else { continue }
                    worst = Late(acknowledgement: one, successor: member, timeline: timeline, late: late)
                }
            }
            if let worst {
                doubles.append(worst)
            } else if one.crossedCut,
                acknowledgements.contains(where: {
                    $0.timeline > one.timeline && $0.member != one.member && $0.acknowledged <= one.acknowledged
                })
            {
                deliveredLate += 1
            }
        }
        for (timeline, members) in first where timeline != 0 && members.count > 1 {
            sharedTimelines[timeline] = members.sorted { $0.value < $1.value }.map(\.key)
        }
        doubles.sort { $0.acknowledgement.acknowledged < $1.acknowledgement.acknowledged }
    }

    /// What is wrong, in a sentence; nil when there was one writer at every instant and on every timeline.
    package var complaint: String? {
        if unjudged > 0 { return "\(unjudged) acknowledgements name no timeline" }
        guard let worst = doubles.max(by: { $0.late < $1.late }) else {
            return sharedTimelines.min { $0.key < $1.key }.map { timeline, members in
                "timeline \(timeline) was made by \(members.joined(separator: " and then by "))"
            }
        }
        let one = worst.acknowledgement
        return "\(one.member) acknowledged \(doubles.count) writes on timeline \(one.timeline) up to "
            + "\(milliseconds(worst.late)) ms after \(worst.successor) had acknowledged on timeline \(worst.timeline)"
    }

    /// The longest time without any acknowledgement whose end is after an instant, in seconds.
    package static func gap(_ acknowledgements: [Acknowledgement], around instant: Double) -> Double {
        gaps(acknowledgements, around: instant, longerThan: 0).map { $0.upperBound - $0.lowerBound }.max() ?? 0
    }

    /// The times without any acknowledgement that end after an instant.
    package static func gaps(
        _ acknowledgements: [Acknowledgement], around instant: Double, longerThan length: Double
    ) -> [Range<Double>] {
        let times = acknowledgements.map(\.acknowledged).sorted()
        return zip(times, times.dropFirst()).filter { $0.1 > instant && $0.1 - $0.0 > length }.map { $0.0..<$0.1 }
    }
}

package func milliseconds(_ seconds: Double) -> Int { Int((seconds * 1000).rounded()) }
