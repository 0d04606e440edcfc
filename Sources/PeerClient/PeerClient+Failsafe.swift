import AsyncHTTPClient
public import ClusterModel
import NIOCore
import NIOHTTP1
import PluginInterfaces

/// What a member answers to `POST /failsafe`.
public struct FailsafeReply: Hashable, Sendable {
    public var status: Int
    public var body: String
    /// The header `lsn`: how far it has received.
    public var position: LSN?
    /// How long it grants, by a header of ours; nil from other agents: as long as its `ttl`.
    public var lasts: Duration?

    public init(status: Int, body: String, position: LSN? = nil, lasts: Duration? = nil) {
        self.status = status
        self.body = body
        self.position = position
        self.lasts = lasts
    }
}

extension PeerClient {
    /// The header of ours that tells how long a grant lasts, in milliseconds.
    public static let grantHeader = "matriarch-granted-ms"

    /// Asks a member for its grant. A connection that was just being closed is tried once more: asking twice does no harm.
    public func postFailsafe(
        _ body: JSONValue, to apiURL: String, within limit: Duration
    ) async -> Result<FailsafeReply, PeerError> {
        let deadline = SystemClock.now() + limit
        for attempt in 0..<2 {
            do throws(PeerError) {
                var request = request("POST", try PeerURL(apiURL).with(path: "/failsafe"))
                request.headers.replaceOrAdd(name: "content-type", value: "application/json")
                request.body = .bytes(ByteBuffer(string: body.serialized()))
                let answer = try await execute(request, within: max(deadline - SystemClock.now(), .milliseconds(1)))
                return .success(
                    FailsafeReply(
                        status: answer.status, body: String(decoding: answer.body, as: UTF8.self),
                        position: answer.headers.first(name: "lsn").flatMap { UInt64($0) }.map { LSN($0) },
                        lasts: answer.headers.first(name: Self.grantHeader).flatMap { Int64($0) }
                            .flatMap { $0 >= 0 ? .milliseconds($0) : nil }))
            } catch {
                if case .unreachable = error, attempt == 0, SystemClock.now() < deadline { continue }
                return .failure(error)
            }
        }
        return .failure(.timedOut(limit))
    }
}
