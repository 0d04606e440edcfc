import ClusterModel

/// A cluster that a command works on: asks whichever member answers, and knows how to name who did not.
struct ClusterAccess: Sendable {
    var configuration: ControlConfiguration
    var api: any ClusterAPI

    /// How long a member may take for a question.
    static let patience = Duration.seconds(5)

    /// Runs the body with access to the cluster that the options name.
    static func with<Result>(
        _ options: ConnectionOptions, _ body: (ClusterAccess) async throws -> Result
    ) async throws -> Result {
        let configuration = try options.resolve()
        let api = try CommandEnvironment.current.makeAPI(configuration)
        do {
            let result = try await body(ClusterAccess(configuration: configuration, api: api))
            await api.close()
            return result
        } catch {
            await api.close()
            throw error
        }
    }

    /// Asks the known addresses at once; the first good `GET /cluster` counts.
    func report() async throws -> ClusterReport {
        enum Heard: Sendable {
            case report(ClusterReport)
            case nothing(String)
        }
        let heard = await withTaskGroup(of: Heard.self) { group in
            for base in configuration.bases {
                group.addTask {
                    switch await api.call("GET", base: base, path: "/cluster", body: nil, within: Self.patience) {
                    case .unreachable(let why):
                        return .nothing("\(base): \(why)")
                    case .answer(let answer):
                        guard answer.status == 200, let report = answer.json.flatMap(ClusterReport.init) else {
                            return .nothing("\(base): \(answer.message)")
                        }
                        return .report(report)
                    }
                }
            }
            var complaints: [String] = []
            for await heard in group {
                switch heard {
                case .report(let report):
                    group.cancelAll()
                    return Result<ClusterReport, CommandFailure>.success(report)
                case .nothing(let complaint): complaints.append(complaint)
                }
            }
            return .failure(
                CommandFailure(
                    "no member's REST API answered (\(complaints.sorted().joined(separator: "; "))); "
                        + "name another member's with --url http://host:port"))
        }
        let report = try heard.get()
        if let wanted = configuration.scope, let scope = report.scope, wanted != scope {
            throw CommandFailure(
                "the member that answered belongs to the cluster '\(scope)', not to '\(wanted)' as the configuration says"
            )
        }
        return report
    }

    /// The report with every member's own status, asked all at once; who does not answer is left without.
    func fullReport(within: Duration = .seconds(2)) async throws -> ClusterReport {
        var report = try await report()
        let bases = report.members.map(\.base)
        let answers = await each(bases) { base in
            await api.call("GET", base: base, path: "/patroni", body: nil, within: within).answer?.json?.object
        }
        for index in report.members.indices { report.members[index].status = answers[index] ?? nil }
        return report
    }

    /// Runs one question for each address there is, all at once; the answers in the order of the addresses.
    func each<Answer: Sendable>(
        _ bases: [String?], _ question: @escaping @Sendable (String) async -> Answer
    ) async -> [Answer?] {
        await withTaskGroup(of: (Int, Answer).self) { group in
            for (index, base) in bases.enumerated() {
                guard let base else { continue }
                group.addTask { (index, await question(base)) }
            }
            var answers = [Answer?](repeating: nil, count: bases.count)
            for await (index, answer) in group { answers[index] = answer }
            return answers
        }
    }

    /// Asks the addresses one after another until one answers.
    func first(
        _ method: String, of members: [ClusterReport.Member], path: String, body: JSONValue? = nil,
        within: Duration = patience
    ) async throws -> APIAnswer {
        var complaints: [String] = []
        for member in members {
            guard let base = member.base else {
                complaints.append("\(member.name): has published no API address")
                continue
            }
            switch await api.call(method, base: base, path: path, body: body, within: within) {
            case .answer(let answer): return answer
            case .unreachable(let why): complaints.append("\(member.name) (\(base)): \(why)")
            }
        }
        throw CommandFailure(
            complaints.isEmpty
                ? "the cluster has no member" : "no member answered: \(complaints.joined(separator: "; "))")
    }
}

extension ClusterReport {
    /// The members with the leader first: who asks the leader first needs one question in most cases.
    var leaderFirst: [Member] { members.filter(\.isLeader) + members.filter { !$0.isLeader } }
}
