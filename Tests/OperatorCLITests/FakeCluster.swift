import ArgumentParser
import ClusterModel
import ConfigurationTree
import Synchronization

@testable import OperatorCLI

/// A cluster that exists in a dictionary of answers, and the terminal of somebody who uses it.
final class FakeCluster: ClusterAPI, Sendable {
    struct Call: Hashable, Sendable {
        var method: String
        var base: String
        var path: String
        var body: JSONValue?

        var line: String { "\(method) \(base)\(path)" + (body.map { " \($0.serialized())" } ?? "") }
    }

    private struct State: Sendable {
        var answers: [String: [APIOutcome]] = [:]
        var calls: [Call] = []
        var output = ""
        var complaints = ""
        var replies: [String] = []
        var sleeps = 0
        var facts: DoctorFacts?
    }

    private let state = Mutex(State())
    let width: Int?
    let files: [String: String]
    let nodes: [String: ConfigurationNode]
    let complaintsOfFiles: [String: [ConfigurationComplaint]]
    let variables: [String: String]

    init(
        width: Int? = nil, files: [String: String] = [:], nodes: [String: ConfigurationNode] = [:],
        complaints: [String: [ConfigurationComplaint]] = [:], variables: [String: String] = [:]
    ) {
        self.width = width
        self.files = files
        self.nodes = nodes
        self.complaintsOfFiles = complaints
        self.variables = variables
    }

    /// Three members; pg1 leads.
    static func three(width: Int? = nil, variables: [String: String] = [:]) -> FakeCluster {
        let fake = FakeCluster(width: width, variables: variables)
        fake.answer("GET /cluster", JSONValue.object(cluster()).serialized())
        for number in 1...3 {
            let fence = number == 3 ? "adopted" : "guarded"
            fake.answer(
                "GET http://10.0.0.\(number):8008/patroni",
                #"{"state":"running","database_system_identifier":"7277","server_version":150018,"#
                    + #""patroni":{"version":"4.1.5","scope":"demo","name":"pg\#(number)"},"#
                    + #""x_matriarch":{"fence":"\#(fence)","version":"0.1.0"}}"#)
        }
        return fake
    }

    static func cluster() -> JSONObject {
        func member(_ number: Int, _ role: JSONValue, _ state: JSONValue) -> JSONValue {
            var object: JSONObject = [
                "name": .string("pg\(number)"), "role": role, "state": state,
                "api_url": .string("http://10.0.0.\(number):8008/patroni"), "host": .string("10.0.0.\(number)"),
                "port": 5432, "timeline": 5,
            ]
            if role != "leader" {
                object["receive_lag"] = 0
                object["receive_lsn"] = "0/4000060"
                object["replay_lag"] = .integer(Int64(number) << 20)
                object["replay_lsn"] = "0/4000060"
            }
            return .object(object)
        }
        return [
            "members": [
                member(1, "leader", "running"), member(2, "replica", "streaming"),
                member(3, "sync_standby", "streaming"),
            ],
            "scope": "demo",
        ]
    }

    /// Sets what is answered to `METHOD base/path` or, for any member, `METHOD /path`. Several in turn; the last stays.
    func answer(_ request: String, status: Int = 200, _ bodies: String...) {
        state.withLock { $0.answers[request] = bodies.map { .answer(APIAnswer(status: status, body: $0)) } }
    }

    func silence(_ request: String) {
        state.withLock { $0.answers[request] = [.unreachable("connection refused")] }
    }

    func reply(_ lines: String...) { state.withLock { $0.replies = lines } }

    /// What `doctor` sees of any file.
    var facts: DoctorFacts? {
        get { state.withLock { $0.facts } }
        set { state.withLock { $0.facts = newValue } }
    }

    var output: String { state.withLock { $0.output } }
    var complaints: String { state.withLock { $0.complaints } }
    var calls: [Call] { state.withLock { $0.calls } }
    /// What was asked to change something.
    var changes: [String] { calls.filter { $0.method != "GET" }.map(\.line) }

    func call(_ method: String, base: String, path: String, body: JSONValue?, within: Duration) async -> APIOutcome {
        state.withLock { state in
            state.calls.append(Call(method: method, base: base, path: path, body: body))
            for key in ["\(method) \(base)\(path)", "\(method) \(path)"] {
                guard var outcomes = state.answers[key], let first = outcomes.first else { continue }
                if outcomes.count > 1 {
                    outcomes.removeFirst()
                    state.answers[key] = outcomes
                }
                return first
            }
            return .answer(APIAnswer(status: 404, body: "nothing is prepared for \(method) \(base)\(path)"))
        }
    }

    func close() async {}

    /// Runs the program with arguments; its status.
    @discardableResult
    func run(_ arguments: String...) async -> Int32 { await run(arguments) }

    @discardableResult
    func run(_ arguments: [String]) async -> Int32 {
        var environment = CommandEnvironment(
            write: { text in self.state.withLock { $0.output += text } },
            complain: { text in self.state.withLock { $0.complaints += text + "\n" } },
            ask: { question in
                self.state.withLock { state in
                    state.output += question + "\n"
                    return state.replies.isEmpty ? nil : state.replies.removeFirst()
                }
            },
            isTerminal: width != nil, width: { self.width }, variable: { self.variables[$0] },
            now: { WallTime(seconds: 1_769_853_600) },
            sleep: { _ in
                let count = self.state.withLock { state in
                    state.sleeps += 1
                    return state.sleeps
                }
                // Endless commands end here, as by Ctrl-C.
                if count > 3 { throw CancellationError() }
            },
            readConfiguration: { path in
                guard let node = self.nodes[path] else { throw CommandFailure("cannot read \(path)") }
                return node
            },
            readYAML: { text, source in
                // JSON is YAML; the real reader has tests of its own.
                guard let value = try? JSONValue.parse(text) else { return .string(text) }
                return value
            },
            readFile: { path in
                guard let text = self.files[path] else { throw CommandFailure("cannot read \(path)") }
                return text
            },
            fileExists: { self.files[$0] != nil || self.nodes[$0] != nil || self.complaintsOfFiles[$0] != nil },
            edit: { _ in nil }, makeAPI: { _ in self },
            validate: { path, _ in self.complaintsOfFiles[path] ?? [] },
            readStoreSection: { path in
                guard path == "new.yml" else { throw CommandFailure("cannot read \(path)") }
                return ("etcd3", ["hosts": ["10.0.0.9:2379"], "password": "hidden"])
            })
        environment.examine = { path, _ in
            guard let facts = self.facts else { throw CommandFailure("nothing is known of \(path)") }
            return facts
        }
        return await CommandEnvironment.$current.withValue(environment) {
            await CommandLineTool.run(Root.self, arguments: arguments)
        }
    }
}

/// A program with all commands.
struct Root: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "matriarch", abstract: "High availability for PostgreSQL.",
        subcommands: CommandLineTool.operatorCommands)
}

let url = "--url=http://10.0.0.1:8008"
