import ClusterModel
import Logging
import PeerClient

/// The members' REST API over HTTP.
struct RESTClusterAPI: ClusterAPI {
    private let client: PeerClient

    init(_ configuration: ControlConfiguration) throws {
        var settings = PeerClientSettings(
            username: configuration.username, password: configuration.password,
            certificatePath: configuration.certificateFile, keyPath: configuration.keyFile,
            keyPassword: configuration.keyPassword, caPath: configuration.caFile)
        settings = settings.forOperator(insecure: configuration.isInsecure)
        // What a command has to say it says itself.
        client = try PeerClient(settings: settings, logger: Logger(label: "ctl") { _ in SwiftLogNoOpLogHandler() })
    }

    func call(_ method: String, base: String, path: String, body: JSONValue?, within: Duration) async -> APIOutcome {
        switch await client.call(method: method, base: base, path: path, body: body, within: within) {
        case .success(let answer): .answer(APIAnswer(status: answer.status, body: answer.body))
        case .failure(let error): .unreachable(error.description)
        }
    }

    func close() async {
        await client.shutdown()
    }
}
