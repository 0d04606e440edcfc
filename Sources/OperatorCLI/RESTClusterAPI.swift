import ClusterModel

/// Stands in until the client is there.
struct RESTClusterAPI: ClusterAPI {
    init(_ configuration: ControlConfiguration) throws {}

    func call(_ method: String, base: String, path: String, body: JSONValue?, within: Duration) async -> APIOutcome {
        .unreachable("not yet")
    }

    func close() async {}
}
