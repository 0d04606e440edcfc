public import ClusterModel

extension PeerStatus {
    /// Reads a status document, ours or Patroni's. Whatever is missing or of another kind is unknown; nothing is refused.
    public static func read(name: String, document: JSONObject, askedAt: Instant) -> PeerStatus {
        var status = PeerStatus(name: name, askedAt: askedAt)
        status.state = document["state"]?.string.flatMap(MemberState.init(rawValue:)) ?? .unknown
        status.role = document["role"]?.string.flatMap(MemberRole.init(stored:))
        // Without this object the peer's PostgreSQL did not answer. `wal` is what it may be called one day.
        if let log = document["xlog"]?.object ?? document["wal"]?.object {
            func position(_ key: String) -> UInt64 { UInt64(max(0, log[key]?.lenientInteger ?? 0)) }
            let location = position("location")
            let isPrimary = location > 0 || status.role == .primary
            status.isInRecovery = !isPrimary
            status.position = LSN(
                isPrimary ? location : max(position("received_location"), position("replayed_location")))
        }
        if let number = document["timeline"]?.lenientInteger, number > 0, number <= Int64(UInt32.max) {
            status.timeline = Timeline(UInt32(number))
        }
        status.tags = Tags(document["tags"]?.object ?? JSONObject())
        status.watchdogFailed = document["watchdog_failed"]?.bool ?? false
        status.isPaused = document["pause"]?.bool ?? false
        status.systemIdentifier = document["database_system_identifier"]?.string
        if let own = document[Member.ownField]?.object {
            status.fenceState = own["fence"]?.string.flatMap(FenceState.init(rawValue:))
            status.isSilent = own["silent"]?.bool ?? false
            if status.timeline == nil, let number = own["timeline"]?.integer, number > 0, number <= Int64(UInt32.max) {
                status.timeline = Timeline(UInt32(number))
            }
            status.newestFence = own["newest_term"]?.string.flatMap { Fence($0) }
            status.grantedTo = own["failsafe_granted_to"]?.string
            status.failsafeList = own["failsafe_list"]?.string
            if status.grantedTo != nil, let lasts = own["failsafe_grant_ms"]?.integer, lasts > 0 {
                status.grantLasts = .milliseconds(lasts)
            }
        }
        return status
    }
}
