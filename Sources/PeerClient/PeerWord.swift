public import ClusterModel

/// What following a member tells.
public enum PeerWord: Hashable, Sendable {
    /// The member's status, at once and whenever it changed.
    case status(PeerStatus)
    /// Nothing new, but it is there. Only for who asked for heartbeats.
    case heartbeat
    /// The member has gone silent, cannot be reached, or closed the connection. Said once; it is tried again.
    case ended(reason: String)
    /// The member has no stream: it is no Matriarch. It is looked at again now and then.
    case unsupported
}
