/// Why a peer could not be asked. Holds no credentials.
public enum PeerError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The member's `api_url` is no HTTP URL.
    case badURL(String)
    /// No connection, or it broke.
    case unreachable(String)
    /// No whole answer in time.
    case timedOut(Duration)
    /// An answer, but not the one expected.
    case badAnswer(String)
    case shutDown

    public var description: String {
        switch self {
        case .badURL(let text): "'\(text)' is no HTTP URL"
        case .unreachable(let text): text
        case .timedOut(let duration): "no answer within \(duration)"
        case .badAnswer(let text): text
        case .shutDown: "the client has been shut down"
        }
    }
}
