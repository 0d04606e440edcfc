import ClusterHarness
import ClusterModel

/// What one run of a fault brought: all that the report tells. Instants are in seconds from the fault's beginning.
struct RunRecord: Sendable {
    enum Outcome: String, Sendable {
        /// All that is promised held.
        case passed
        /// Something that is promised did not hold.
        case failed
        /// Nothing is promised: what happened was measured.
        case measured
        /// The machine does not allow it.
        case notRun = "not run"
    }

    struct Mark: Sendable {
        var at: Double
        var member: String
        var rule: String
        var text: String
        var facts: String
    }

    /// Acknowledgements in a row of the picture.
    struct Row: Sendable {
        var member: String
        var place: Acknowledgement.Place
        var acknowledgements: [Acknowledgement]
    }

    var fault: Fault
    var store: StoreKind
    var round: Int
    var outcome = Outcome.passed
    /// What did not hold.
    var failures: [String] = []
    var notes: [String] = []

    var members: [String] = []
    var victims: [String] = []
    var leaderBefore = ""
    var leaderAfter = ""
    /// The fault's beginning on the harness's clock.
    var origin = 0.0
    var lastsUntil = 0.0
    var leaseLength = 0.0
    /// From the fault's beginning to the moment at which everybody was back.
    var wholeAfter: Double?

    var acknowledgements: [Acknowledgement] = []
    var judgement = Judgement([])
    /// Times of more than 200 ms in which no client outside had a write acknowledged.
    var gaps: [Range<Double>] = []
    var longestGap = 0.0
    var lost: [Acknowledgement] = []
    var marks: [Mark] = []

    init(_ fault: Fault, store: StoreKind, round: Int) {
        self.fault = fault
        self.store = store
        self.round = round
    }

    /// The name of its files.
    var fileName: String { "\(store.rawValue)-\(fault.name)" + (round > 1 ? "-\(round)" : "") }

    var refused: Double { gaps.reduce(0) { $0 + ($1.upperBound - $1.lowerBound) } }

    /// The time over which lost writes had been acknowledged, in seconds.
    var lostSpan: Double {
        guard let first = lost.map(\.acknowledged).min(), let last = lost.map(\.acknowledged).max() else { return 0 }
        return last - first
    }

    var leadership: String {
        leaderBefore == leaderAfter ? leaderBefore : "\(leaderBefore) → \(leaderAfter.isEmpty ? "?" : leaderAfter)"
    }

    var json: JSONValue {
        var object = JSONObject()
        object["fault"] = .string(fault.name)
        object["title"] = .string(fault.title)
        object["group"] = .string(fault.group.rawValue)
        object["store"] = .string(store.rawValue)
        object["round"] = .integer(Int64(round))
        object["outcome"] = .string(outcome.rawValue)
        object["failures"] = .array(failures.map { .string($0) })
        object["notes"] = .array(notes.map { .string($0) })
        guard outcome != .notRun else { return .object(object) }
        object["victims"] = .array(victims.map { .string($0) })
        object["leader_before"] = .string(leaderBefore)
        object["leader_after"] = .string(leaderAfter)
        object["lease_ms"] = .integer(Int64(milliseconds(leaseLength)))
        object["fault_ms"] = .integer(Int64(milliseconds(lastsUntil)))
        object["whole_after_ms"] = wholeAfter.map { .integer(Int64(milliseconds($0))) } ?? .null
        object["acknowledged"] = .integer(Int64(acknowledgements.count))
        object["longest_without_writes_ms"] = .integer(Int64(milliseconds(longestGap)))
        object["without_writes_ms"] = .integer(Int64(milliseconds(refused)))
        object["double_acknowledgements"] = .integer(Int64(judgement.doubles.count))
        object["double_latest_ms"] = .integer(
            Int64(milliseconds(judgement.doubles.map(\.late).max() ?? 0)))
        object["timelines_made_twice"] = .array(judgement.sharedTimelines.keys.sorted().map { .integer(Int64($0)) })
        object["delivered_after_cut"] = .integer(Int64(judgement.deliveredLate))
        object["lost"] = .integer(Int64(lost.count))
        object["lost_span_ms"] = .integer(Int64(milliseconds(lostSpan)))
        object["decisions"] = .array(
            marks.map { mark in
                var one = JSONObject()
                one["at_ms"] = .integer(Int64(milliseconds(mark.at)))
                one["member"] = .string(mark.member)
                one["rule"] = .string(mark.rule)
                one["text"] = .string(mark.text)
                one["facts"] = .string(mark.facts)
                return .object(one)
            })
        return .object(object)
    }

    /// One line for the terminal.
    var line: String {
        var parts = ["\(outcome.rawValue.uppercased()) \(fault.name)"]
        if outcome != .notRun {
            parts.append("\(milliseconds(longestGap)) ms without writes")
            parts.append("\(judgement.doubles.count) double")
            parts.append("\(lost.count) lost of \(acknowledgements.count)")
            parts.append(leadership)
            parts.append(wholeAfter.map { "whole after \(milliseconds($0) / 100 * 100) ms" } ?? "not whole again")
        }
        return parts.joined(separator: ", ") + failures.map { "\n    \($0)" }.joined()
    }
}
