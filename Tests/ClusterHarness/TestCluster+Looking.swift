package import ClusterModel
import Glibc

extension TestCluster {
    /// One leader that is writable, everybody else streaming from it.
    package func waitUntilHealthy(within seconds: Double = 60) throws {
        try waitUntil("one member leads and \(members.count - 1) stream", within: seconds, every: 0.1) {
            let rows = try list()
            let leaders = rows.filter { $0["role"]?.string == "leader" }
            let streaming = rows.count { $0["state"]?.string == "streaming" }
            guard leaders.count == 1, streaming == members.count - 1, let leader = try? leader() else {
                throw SystemFailure(rows.map { $0.summary }.joined(separator: ", "))
            }
            return try isWritable(leader)
        }
    }

    /// The rows of `GET /cluster` of whichever member answers.
    package func list() throws -> [ClusterRow] {
        var trouble: [String] = []
        for member in members {
            do {
                let answer = try LocalHTTP.call("GET", host: member.host, port: member.restPort, "/cluster", within: 2)
                if answer.status == 200, let rows = answer.json?["members"]?.array {
                    return rows.compactMap { $0.object.map(ClusterRow.init) }
                }
                trouble.append("\(member.name): \(answer.status)")
            } catch {
                trouble.append("\(member.name): \(error)")
            }
        }
        throw SystemFailure("no member answers: \(trouble.joined(separator: "; "))")
    }

    /// The member that says of itself that it leads (`GET /primary` is 200).
    package func leader() throws -> Member {
        let leaders = members.filter {
            (try? LocalHTTP.call("GET", host: $0.host, port: $0.restPort, "/primary", within: 2))?.status == 200
        }
        guard leaders.count == 1, let leader = leaders.first else {
            throw SystemFailure("leaders: \(leaders.map(\.name))")
        }
        return leader
    }

    /// Another leader than this member.
    package func waitForLeader(otherThan old: Member, within seconds: Double) throws -> Member {
        try waitUntil("another member than \(old.name) leads and takes writes", within: seconds, every: 0.02) {
            let leader = try leader()
            guard leader !== old else { throw SystemFailure("\(old.name) leads still") }
            return try isWritable(leader) ? leader : nil
        }
    }

    package func isWritable(_ member: Member) throws -> Bool {
        try query(member, "select not pg_is_in_recovery()") == "t"
    }

    /// Waits until a member streams from the leader.
    package func waitUntilStreams(_ member: Member, within seconds: Double = 60) throws {
        try waitUntil("\(member.name) streams", within: seconds, every: 0.1) {
            try query(member, "select count(*) from pg_stat_wal_receiver where status = 'streaming'") == "1"
        }
    }

    /// One value of one row.
    package func query(_ member: Member, _ text: String) throws -> String {
        let session = try Session(connectionString(member))
        return try session.value(text)
    }

    // MARK: The program

    /// Runs `matriarch` as an operator does; the first living member's file names the cluster.
    package func matriarch(_ arguments: [String], within seconds: Double = 60) throws -> CommandResult {
        let urls = members.map { "http://\($0.host.address):\($0.restPort)" }.joined(separator: ",")
        return try CommandResult.run(
            ["\(environment.programs)/matriarch"] + arguments + ["--url", urls], account: environment.account,
            directory: directory, within: seconds)
    }

    /// What the members decided, oldest first, as `matriarch explain` tells it.
    package func explain(since: WallTime? = nil) throws -> [ExplainedDecision] {
        let result = try matriarch(["explain", "--all", "--last", "100000", "--format", "json"])
        try check(result.status == 0, "matriarch explain: \(result.output)")
        // What is said on the error stream (a member that does not answer) stands before the document.
        guard let start = result.output.firstIndex(of: "["),
            let rows = try? JSONValue.parse(String(result.output[start...])).array
        else { throw SystemFailure("matriarch explain: no JSON: \(result.output)") }
        return rows.compactMap(ExplainedDecision.init).filter { decision in since.map { decision.at >= $0 } ?? true }
    }

    /// Requires that a member gave one of these rules as its reason, with these facts.
    @discardableResult
    package func requireExplained(
        _ member: Member, _ rules: [String], facts: [String] = [], since: WallTime
    ) throws -> ExplainedDecision {
        try waitUntil(
            "\(member.name) explains itself by \(rules.joined(separator: " or ")) with the facts \(facts)", within: 15,
            every: 0.3
        ) {
            let own = try explain(since: since).filter { $0.member == member.name }
            if let found = own.last(where: { decision in
                rules.contains(decision.rule) && facts.allSatisfy { decision.facts[$0] != nil }
            }) {
                return found
            }
            throw SystemFailure("it tells: \(own.suffix(25).map(\.summary).joined(separator: "; "))")
        }
    }

    /// For a failed test: the table, and the ends of the logs.
    package func lastWords() -> String {
        var text = (try? list().map(\.summary).joined(separator: ", ")) ?? "nobody answers GET /cluster"
        for member in members {
            let lines = (readText(member.log) ?? "").split(separator: "\n")
            text += "\n--- \(member.name) (agent \(member.agentPid ?? 0), guard \(member.guardPid ?? 0), postmaster "
            text += "\(member.postmasterPid ?? 0)), its last lines:\n" + lines.suffix(25).joined(separator: "\n")
            let server = (readText("\(member.dataDirectory).matriarch/postgres.log") ?? "").split(separator: "\n")
            // Clients that are refused fill it.
            let telling = server.filter { !$0.contains("read-only transaction") && !$0.contains("STATEMENT:") }
            text += "\n--- \(member.name), the server's last lines:\n" + telling.suffix(30).joined(separator: "\n")
            // A crash is told with the stack of the thread that crashed, above the registers.
            let crash = lines.filter { $0.contains("Fatal error") || $0.contains("Program crashed") }
            let stack = lines.drop { !($0.hasPrefix("Thread ") && $0.contains("crashed")) }.prefix(25)
            if !crash.isEmpty { text += "\n--- it crashed:\n" + (crash + stack).joined(separator: "\n") }
        }
        if let told = try? matriarch(["explain", "--all", "--last", "30"], within: 10).output {
            text += "\n--- matriarch explain --all --last 30:\n\(told)"
        }
        if environment.keeps { text += "\nkept: \(directory)" }
        return text
    }
}

/// A row of `GET /cluster`.
package struct ClusterRow {
    package var object: JSONObject

    package subscript(key: String) -> JSONValue? { object[key] }

    package var summary: String {
        "\(object["name"]?.string ?? "?"): \(object["role"]?.string ?? "?"), \(object["state"]?.string ?? "?")"
    }
}

/// A decision as `matriarch explain --format json` tells it.
package struct ExplainedDecision {
    package var member: String
    package var at: WallTime
    package var rule: String
    package var text: String
    package var facts: JSONObject

    package init?(_ value: JSONValue) {
        guard let member = value["member"]?.string, let rule = value["rule"]?.string,
            let at = value["at"]?.string.flatMap(WallTime.parse)
        else { return nil }
        self.member = member
        self.rule = rule
        self.at = at.time
        text = value["text"]?.string ?? ""
        facts = value["facts"]?.object ?? JSONObject()
    }

    package var summary: String { "\(at.iso8601(fractionDigits: 3)) \(rule) \(JSONValue.object(facts).serialized())" }
}

package func wallNow() -> WallTime {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return WallTime(microseconds: Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000)
}
