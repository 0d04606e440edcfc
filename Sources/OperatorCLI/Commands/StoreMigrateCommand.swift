import ArgumentParser
import ClusterModel
import PluginInterfaces
import Synchronization

/// `matriarch store migrate`.
struct StoreMigrateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate",
        abstract: "Move the living cluster to another store, while clients write.",
        discussion: """
            FILE is a YAML file whose store section (zookeeper, etcd3, consul, embedded) names the new store; the rest of \
            it is not looked at. Every member is told of it and tries to reach it, so all of them must run, and be \
            Matriarchs. Then the leader copies the cluster's keys, takes the leader entry in both stores, and changes \
            over in one step. PostgreSQL is not restarted and writes go on. What fails before that step is taken back; \
            the agents finish by themselves when this command is ended, and running it again shows how it went.

            Afterwards put the new section into every member's configuration: until then the agents use what they were \
            told and say so. The old store keeps its keys, marked as left, so that nobody leads there; \
            `matriarch store clear` removes them.

            Examples:
              matriarch store migrate -c /etc/matriarch/pg1.yml --to new.yml --dry-run
              matriarch store migrate -c /etc/matriarch/pg1.yml --to new.yml
            """)

    @OptionGroup var connection: ConnectionOptions

    @Option(help: ArgumentHelp("The YAML file with the new store's section.", valueName: "file")) var to: String

    @Option(help: ArgumentHelp("How long all of it may take, in seconds.", valueName: "s")) var timeout = 120

    @Flag(
        name: [.customShort("n"), .customLong("dry-run")], help: "Ask every member whether it could; change nothing.")
    var isDryRun = false

    @Flag(help: "Do not ask.") var force = false

    @Flag(
        name: .customLong("allow-plain-http"),
        help: "Send the section, passwords included, over HTTP without TLS to other hosts.")
    var allowsPlainHTTP = false

    @Option(name: [.customShort("f"), .customLong("format")], help: "table (lines for people) or json.")
    var format = OutputFormat.table

    func validate() throws {
        if timeout < 10 || timeout > 3600 { throw ValidationError("--timeout: 10 to 3600 seconds") }
        if format != .table && format != .json { throw ValidationError("--format: table or json") }
    }

    mutating func run() async throws {
        let options = self
        try await ClusterAccess.with(connection) { access in
            let progress = MigrationProgress(isJSON: options.format == .json)
            do {
                try await options.run(access, progress)
                progress.end("done", nil)
            } catch {
                progress.end("failed", "\(error)")
                throw error
            }
        }
    }

    private func run(_ access: ClusterAccess, _ progress: MigrationProgress) async throws {
        let environment = CommandEnvironment.current
        let deadline = SystemClock.now() + .seconds(timeout)
        let section = try environment.readStoreSection(to)
        let report = try await access.fullReport()
        guard let leader = report.leader, let leaderBase = leader.base else {
            throw CommandFailure("the cluster has no leader: it can only be moved by one")
        }
        if let running = await Self.status(access, leaderBase)?["running"]?.string {
            progress.say("a migration is under way already (\(running)): watching it")
            try await watchOther(access, leaderBase, running, deadline, progress)
            return
        }
        let members = try check(report)
        try await checkFailsafe(access, leaderBase)
        progress.say("the cluster '\(report.scope ?? "?")' is to move to the \(section.name) of \(to)")
        let id = Self.newID()
        var body: JSONObject = [
            "id": .string(id), "store": .string(section.name), "section": section.section, "dry_run": true,
        ]
        try await tell(members, body, access, progress, "can reach the new store, and its place there is free")
        if isDryRun {
            progress.say("a dry run: nothing was changed")
            return
        }
        if !force { try Prompt.confirm("Move \(members.count) members to \(section.name)?") }
        body["dry_run"] = nil
        do {
            try await tell(members, body, access, progress, "ready")
            try await move(access, leaderBase, id, deadline, progress)
        } catch {
            // What was told is forgotten again, unless the move is made, or still may be.
            await forget(members, id, access)
            throw error
        }
        try await verify(access, report, id, section.name, deadline, progress)
    }

    static func newID() -> String {
        "m" + String(UInt64.random(in: .min ... .max), radix: 36)
    }

    /// Everybody must be able to come along.
    private func check(_ report: ClusterReport) throws -> [(name: String, base: String)] {
        if report.isPaused { throw CommandFailure("the cluster is paused: resume it first") }
        var members: [(name: String, base: String)] = []
        for member in report.members {
            guard let base = member.base, let status = member.status else {
                throw CommandFailure("\(member.name) does not answer: every member must run, or it would stay behind")
            }
            guard status["x_matriarch"] != nil else {
                throw CommandFailure("\(member.name) is another agent than Matriarch: replace or stop it first")
            }
            if !allowsPlainHTTP, base.hasPrefix("http://"), !Self.isLoopback(base) {
                throw CommandFailure(
                    "\(member.name) is reached over HTTP without TLS (\(base)), and the section may hold passwords: "
                        + "give the REST API a certificate, or say --allow-plain-http")
            }
            members.append((member.name, base))
        }
        return members
    }

    /// The leader refuses as well; here it is said before anybody is told of the new store, and in a dry run.
    private func checkFailsafe(_ access: ClusterAccess, _ base: String) async throws {
        let answer = await access.api.call("GET", base: base, path: "/config", body: nil, within: .seconds(5)).answer
        guard answer?.status == 200, answer?.json?["failsafe_mode"]?.bool == true else { return }
        throw CommandFailure(
            "failsafe_mode is on: turn it off while the cluster moves (matriarch edit-config -s failsafe_mode=false), and "
                + "on again afterwards")
    }

    static func isLoopback(_ base: String) -> Bool {
        let authority = base.drop { $0 != ":" }.dropFirst(3)
        let host =
            authority.hasPrefix("[") ? authority.prefix { $0 != "]" }.dropFirst() : authority.prefix { $0 != ":" }
        return host == "localhost" || host == "::1" || host.hasPrefix("127.")
    }

    /// Hands the section to every member; all of them must take it.
    private func tell(
        _ members: [(name: String, base: String)], _ body: JSONObject, _ access: ClusterAccess,
        _ progress: MigrationProgress, _ success: String
    ) async throws {
        let answers = await access.each(members.map { $0.base }) { base in
            await access.api.call(
                "PUT", base: base, path: "/store/migration", body: .object(body), within: .seconds(20))
        }
        var complaints: [String] = []
        for (member, answer) in zip(members, answers) {
            switch answer {
            case .answer(let answer)? where answer.status == 200: progress.say("\(member.name): \(success)")
            case .answer(let answer)?:
                complaints.append("\(member.name): \(answer.message) (HTTP status \(answer.status))")
            case .unreachable(let why)?: complaints.append("\(member.name): \(why)")
            case nil: complaints.append("\(member.name): not asked")
            }
        }
        if !complaints.isEmpty {
            throw CommandFailure("not every member can move:\n" + complaints.joined(separator: "\n"))
        }
    }

    private func forget(_ members: [(name: String, base: String)], _ id: String, _ access: ClusterAccess) async {
        // Best effort: a member that knows of a store that nobody moved to does nothing with it.
        _ = await access.each(members.map { $0.base }) { base in
            await access.api.call(
                "DELETE", base: base, path: "/store/migration", body: ["id": .string(id)], within: .seconds(5))
        }
    }

    static func status(_ access: ClusterAccess, _ base: String) async -> JSONObject? {
        await access.api.call("GET", base: base, path: "/store/migration", body: nil, within: .seconds(3)).answer?.json?
            .object
    }

    /// The leader moves; its steps are shown meanwhile.
    private func move(
        _ access: ClusterAccess, _ base: String, _ id: String, _ deadline: Instant, _ progress: MigrationProgress
    ) async throws {
        let outcome = await withTaskGroup(of: APIOutcome?.self) { group in
            group.addTask {
                await access.api.call(
                    "POST", base: base, path: "/store/migration", body: ["id": .string(id)],
                    within: max(deadline - SystemClock.now(), .seconds(1)))
            }
            group.addTask {
                var last: String?
                while !Task.isCancelled {
                    if let step = await Self.status(access, base)?["step"]?.string, step != last {
                        last = step
                        progress.say("leader: \(step)")
                    }
                    try? await CommandEnvironment.current.sleep(.milliseconds(150))
                }
                return nil
            }
            var outcome: APIOutcome?
            for await one in group {
                if let one {
                    outcome = one
                    group.cancelAll()
                }
            }
            return outcome ?? .unreachable("not asked")
        }
        switch outcome {
        case .answer(let answer) where answer.status == 200: progress.say("leader: \(answer.message)")
        case .answer(let answer) where answer.status == 412: throw CommandFailure(answer.message)
        case .answer(let answer): try await findOut(access, id, "\(answer.message)", deadline, progress)
        case .unreachable(let why): try await findOut(access, id, why, deadline, progress)
        }
    }

    /// The leader gave no answer that tells: the members know in the end.
    private func findOut(
        _ access: ClusterAccess, _ id: String, _ why: String, _ deadline: Instant, _ progress: MigrationProgress
    ) async throws {
        progress.say("the leader did not say how it ended (\(why)): asking the members")
        while SystemClock.now() < deadline {
            if let report = try? await access.report(), let leader = report.leader?.base,
                let status = await Self.status(access, leader)
            {
                if status["moved"]?.string == id { return }
                if status["running"]?.isNull ?? true, status["leader"]?.string != nil, status["mark_id"]?.string != id {
                    throw CommandFailure("the migration was taken back: \(why)")
                }
            }
            try await CommandEnvironment.current.sleep(.milliseconds(300))
        }
        throw CommandFailure("it is not known how the migration ended (\(why)): run the command again to see")
    }

    /// Watches a migration that somebody else began.
    private func watchOther(
        _ access: ClusterAccess, _ base: String, _ id: String, _ deadline: Instant, _ progress: MigrationProgress
    ) async throws {
        var last: String?
        while SystemClock.now() < deadline {
            guard let status = await Self.status(access, base) else {
                return try await findOut(access, id, "it does not answer any more", deadline, progress)
            }
            if status["moved"]?.string == id {
                progress.say("the cluster has moved")
                return
            }
            guard status["running"]?.string == id else { throw CommandFailure("the migration \(id) was taken back") }
            if let step = status["step"]?.string, step != last {
                last = step
                progress.say("leader: \(step)")
            }
            try await CommandEnvironment.current.sleep(.milliseconds(150))
        }
        throw CommandFailure("the migration \(id) is still going on")
    }

    /// Led, everybody there, replicas streaming, the same dynamic configuration.
    private func verify(
        _ access: ClusterAccess, _ before: ClusterReport, _ id: String, _ store: String, _ deadline: Instant,
        _ progress: MigrationProgress
    ) async throws {
        var waits: [String] = []
        repeat {
            waits = []
            let bases = before.members.map(\.base)
            let statuses = await access.each(bases) { base in await Self.status(access, base) }
            for (member, status) in zip(before.members, statuses) where (status ?? nil)?["moved"]?.string != id {
                waits.append("\(member.name) has not come along yet")
            }
            do {
                let report = try await access.fullReport()
                if report.leader == nil { waits.append("nobody leads") }
                for member in before.members {
                    guard let now = report.member(member.name) else {
                        waits.append("\(member.name) is not in the new store yet")
                        continue
                    }
                    if !now.isLeader, member.state == "streaming", now.state != "streaming" {
                        waits.append("\(member.name) is \(now.state)")
                    }
                }
            } catch {
                waits.append("\(error)")
            }
            if waits.isEmpty {
                progress.say("verified: every member is in the new store, and the cluster is led")
                for member in before.members {
                    progress.say(
                        "\(member.name): put the section '\(store)' into its configuration in place of the old one")
                }
                progress.say("the old store keeps the old keys, marked as left: `matriarch store clear` removes them")
                return
            }
            try await CommandEnvironment.current.sleep(.milliseconds(300))
        } while SystemClock.now() < deadline
        throw CommandFailure(
            "the cluster has moved, but not everything is well yet: " + waits.joined(separator: "; "))
    }
}

/// What is told while a migration goes on: lines with the time since the start, or one document at the end.
final class MigrationProgress: Sendable {
    private let isJSON: Bool
    private let began = SystemClock.now()
    private let steps = Mutex<[JSONValue]>([])

    init(isJSON: Bool) {
        self.isJSON = isJSON
    }

    func say(_ text: String) {
        let elapsed = (SystemClock.now() - began).milliseconds
        steps.withLock { $0.append(["at_ms": .integer(elapsed), "text": .string(text)]) }
        if !isJSON { CommandEnvironment.current.writeLine("\(Self.seconds(elapsed))  \(text)") }
    }

    func end(_ outcome: String, _ failure: String?) {
        guard isJSON else { return }
        var document: JSONObject = ["outcome": .string(outcome), "steps": .array(steps.withLock { $0 })]
        if let failure { document["failure"] = .string(failure) }
        CommandEnvironment.current.writeLine(JSONValue.object(document).serializedPretty())
    }

    private static func seconds(_ milliseconds: Int64) -> String {
        let tenths = (milliseconds + 50) / 100
        let text = "\(tenths / 10).\(tenths % 10) s"
        return String(repeating: " ", count: max(0, 7 - text.utf8.count)) + text
    }
}
