public import ArgumentParser
import ClusterModel

/// `matriarch explain`: why what happened happened.
public struct ExplainCommand: AsyncParsableCommand {
    public static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Show what the members decided, by which rule, and from which facts.",
        discussion: """
            The decisions of all members, merged by time: each line tells when, who, what, the rule's code in \
            brackets, and under it the facts. The codes are stable; `--rule` chooses by them.

            Members keep their recent decisions in memory; those of one that was killed are in its log only.

            Examples:
              matriarch explain -c /etc/matriarch.yml
              matriarch explain -c /etc/matriarch.yml pg2 --last 5
              matriarch explain -c /etc/matriarch.yml --follow
            """)

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: ArgumentHelp("Only this member's decisions.", valueName: "member"))
    var member: String?

    @Option(name: [.customShort("n"), .customLong("last")], help: "At most so many, the latest.")
    var last = 20

    @Option(name: .shortAndLong, help: "Only this rule, or those under it: `race` includes `race.won`.")
    var rule: String?

    @Flag(name: .customLong("all"), help: "Routine decisions as well, which changed nothing.")
    var all = false

    @Flag(name: .customLong("follow"), help: "Go on printing new ones, until Ctrl-C.")
    var follow = false

    @Option(name: .shortAndLong, help: "How to print: table (lines of text), json, yaml or tsv.")
    var format = OutputFormat.table

    public init() {}

    public func validate() throws {
        if last < 1 { throw ValidationError("--last takes a number above 0") }
    }

    public mutating func run() async throws {
        let options = self
        try await ClusterAccess.with(connection) { try await options.run($0) }
    }

    private func run(_ access: ClusterAccess) async throws {
        let environment = CommandEnvironment.current
        var seen: [String: MemberDecision] = [:]
        var isFirst = true
        while true {
            let (decisions, silent) = try await collect(access)
            if isFirst {
                for complaint in silent { environment.complain("(\(complaint))") }
            }
            // By time, not by number: an agent that was restarted counts from 1 again.
            var fresh = decisions.filter { decision in seen[decision.member].map { $0 < decision } ?? true }
            for decision in fresh { seen[decision.member] = decision }
            if isFirst { fresh = Array(fresh.suffix(last)) }
            environment.write(text(fresh, environment, isFirst: isFirst))
            guard follow else { return }
            isFirst = false
            try await environment.sleep(.seconds(1))
        }
    }

    /// The decisions that are wanted, oldest first, and who could not be asked.
    private func collect(_ access: ClusterAccess) async throws -> ([MemberDecision], [String]) {
        let report = try await access.report()
        // Patroni's own members have no decisions to tell; that is no failure.
        let chosen = try report.selected(member.map { [$0] } ?? [])
        let outcomes = await access.each(chosen.map(\.base)) { base in
            await access.api.call("GET", base: base, path: "/decisions", body: nil, within: ClusterAccess.patience)
        }
        var decisions: [MemberDecision] = []
        var silent: [String] = []
        for (member, outcome) in zip(chosen, outcomes) {
            switch outcome {
            case .answer(let answer)?:
                guard answer.status == 200, let rows = answer.json?.array ?? answer.json?["decisions"]?.array else {
                    silent.append("\(member.name) tells no decisions: \(answer.message)")
                    continue
                }
                decisions += rows.compactMap { MemberDecision(member: member.name, $0) }
            case .unreachable(let why)?: silent.append("\(member.name) did not answer: \(why)")
            case nil: silent.append("\(member.name) has published no API address")
            }
        }
        if decisions.isEmpty, chosen.count == silent.count, !follow {
            throw CommandFailure("no member told its decisions: \(silent.joined(separator: "; "))")
        }
        let wanted = decisions.filter { decision in
            (all || decision.weight != "routine")
                && (rule.map { decision.rule == $0 || decision.rule.hasPrefix($0 + ".") } ?? true)
        }
        return (wanted.sorted(), silent)
    }

    private func text(_ decisions: [MemberDecision], _ environment: CommandEnvironment, isFirst: Bool) -> String {
        switch format {
        case .table, .pretty:
            if decisions.isEmpty { return isFirst ? "No decision is known.\n" : "" }
            let name = decisions.map(\.member.count).max() ?? 0
            return decisions.map { $0.lines(nameWidth: name, width: environment.width()) + "\n" }.joined()
        case .json where follow:
            return decisions.map { $0.document.serialized() + "\n" }.joined()
        case .json:
            return JSONValue.array(decisions.map(\.document)).serializedPretty() + "\n"
        case .yaml, .yml:
            return decisions.isEmpty && !isFirst ? "" : YAMLText.write(.array(decisions.map(\.document)))
        case .tsv:
            let lines = decisions.map { decision in
                [decision.at, decision.member, decision.rule, decision.weight, decision.text, decision.factsText]
                    .map { $0.replacing("\t", with: " ").replacing("\n", with: " ") }.joined(separator: "\t") + "\n"
            }
            return (isFirst ? "at\tmember\trule\tweight\ttext\tfacts\n" : "") + lines.joined()
        }
    }
}

/// One decision of one member, as `GET /decisions` tells it.
struct MemberDecision: Sendable, Comparable {
    var member: String
    var sequence: Int64
    var at: String
    var rule: String
    var weight: String
    var text: String
    var facts: JSONObject
    private var time: WallTime

    init?(member: String, _ value: JSONValue) {
        guard let object = value.object, let rule = object["rule"]?.string else { return nil }
        self.member = member
        self.rule = rule
        sequence = object["sequence"]?.lenientInteger ?? 0
        at = object["at"]?.string ?? ""
        weight = object["weight"]?.string ?? "action"
        text = object["text"]?.string ?? ""
        facts = object["facts"]?.object ?? JSONObject()
        time = WallTime.parse(at)?.time ?? WallTime(microseconds: 0)
    }

    static func < (left: MemberDecision, right: MemberDecision) -> Bool {
        (left.time, left.member, left.sequence) < (right.time, right.member, right.sequence)
    }

    static func == (left: MemberDecision, right: MemberDecision) -> Bool {
        left.member == right.member && left.sequence == right.sequence && left.at == right.at
    }

    var document: JSONValue {
        .object([
            "at": .string(at), "member": .string(member), "sequence": .integer(sequence), "rule": .string(rule),
            "weight": .string(weight), "text": .string(text), "facts": .object(facts),
        ])
    }

    var factsText: String {
        facts.members.map { "\($0.key)=\($0.value.string ?? $0.value.serialized())" }.joined(separator: " ")
    }

    /// A line, its facts under it, wrapped to the terminal.
    func lines(nameWidth: Int, width: Int?) -> String {
        let name = member + String(repeating: " ", count: max(0, nameWidth - member.count))
        let mark = weight == "warning" ? "! " : ""
        let when =
            time.microseconds > 0
            ? time.iso8601(fractionDigits: 3, separator: " ", zone: "Z") : at
        let head = "\(when)  \(name)  "
        var lines = wrapped("\(mark)\(text) [\(rule)]", first: head, indent: head.count, width: width)
        if !facts.isEmpty {
            let indent = String(repeating: " ", count: head.count)
            lines += wrapped(factsText, first: indent, indent: head.count, width: width)
        }
        return lines.joined(separator: "\n")
    }

    private func wrapped(_ text: String, first: String, indent: Int, width: Int?) -> [String] {
        guard let width, width > indent + 20 else { return [first + text] }
        return TextTable.wrap(text, to: width - indent).enumerated().map { index, piece in
            (index == 0 ? first : String(repeating: " ", count: indent)) + piece
        }
    }
}
