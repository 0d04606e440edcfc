public import ClusterModel
public import HighAvailability

/// The status document: the body of `GET /patroni`, of health checks, and of the peers' stream.
public enum StatusDocument {
    public static func make(status: AgentStatus, now: Instant) -> JSONObject {
        make(LiveStatus(status, now: now))
    }

    static func make(_ live: LiveStatus) -> JSONObject {
        let status = live.status
        var document: JSONObject = ["state": .string(live.state.rawValue)]
        if let sample = live.sample, !sample.postmasterStartTime.isEmpty {
            document["postmaster_start_time"] = .string(sample.postmasterStartTime)
        }
        document["role"] = .string(live.role.rawValue)
        if let sample = live.sample { put(sample, live: live, into: &document) }
        if status.isPaused { document["pause"] = true }
        if live.isUnlocked { document["cluster_unlocked"] = true }
        if status.isFailsafeActive { document["failsafe_mode_is_active"] = true }
        if let seen = status.storeLastSeen { document["dcs_last_seen"] = .integer(seen.seconds) }
        let tags = status.tags.published
        if !tags.isEmpty { document["tags"] = .object(tags) }
        if let identifier = status.systemIdentifier ?? live.sample?.systemIdentifier {
            document["database_system_identifier"] = .string(identifier)
        }
        if let reason = live.pendingRestart {
            document["pending_restart"] = true
            if !reason.isEmpty { document["pending_restart_reason"] = .object(reason) }
        }
        document["patroni"] = .object([
            "version": .string(advertisedVersion), "scope": .string(status.scope), "name": .string(status.name),
        ])
        if var scheduled = status.scheduledRestart {
            scheduled["postmaster_start_time"] = nil
            document["scheduled_restart"] = .object(scheduled)
        }
        document[Member.ownField] = .object(own(live))
        return document
    }

    private static func put(_ sample: PostgresSample, live: LiveStatus, into document: inout JSONObject) {
        document["server_version"] = .integer(Int64(sample.serverVersion))
        if sample.isInRecovery {
            document["xlog"] = .object([
                "received_location": .integer(Int64(clamping: live.receivedPosition.bytes)),
                "replayed_location": .integer(Int64(clamping: live.replayedPosition.bytes)),
                "replayed_timestamp": sample.replayTimestamp.map(JSONValue.string) ?? .null,
                "paused": .bool(sample.isReplayPaused),
            ])
        } else {
            document["xlog"] = .object(["location": .integer(Int64(clamping: sample.position.bytes))])
        }
        if live.isSyncStandby { document["sync_standby"] = true }
        if live.isQuorumStandby { document["quorum_standby"] = true }
        document["timeline"] = sample.timeline.number == 0 ? .null : .integer(Int64(sample.timeline.number))
        if let state = sample.replicationState { document["replication_state"] = .string(state.rawValue) }
        guard !sample.senders.isEmpty else { return }
        document["replication"] = .array(
            sample.senders.map { sender in
                [
                    "usename": .string(sender.user), "application_name": .string(sender.applicationName),
                    "client_addr": sender.clientAddress.map(JSONValue.string) ?? .null,
                    "state": .string(sender.state), "sync_state": .string(sender.syncState),
                    "sync_priority": .integer(Int64(sender.syncPriority)),
                ]
            })
    }

    /// What only our members tell each other.
    private static func own(_ live: LiveStatus) -> JSONObject {
        let status = live.status
        var own: JSONObject = [
            "fence": .string(status.fenceState.rawValue), "silent": .bool(status.isSilent),
            "version": .string(matriarchVersion),
        ]
        if let term = status.term { own["term"] = .string(term.description) }
        if let timeline = status.timeline { own["timeline"] = .integer(Int64(timeline.number)) }
        if status.newestFence > .none { own["newest_term"] = .string(status.newestFence.description) }
        if let list = status.failsafeList { own["failsafe_list"] = .string(list.description) }
        if let grant = status.grant {
            own["failsafe_granted_to"] = .string(grant.holder)
            own["failsafe_grant_ms"] = .integer(grant.lasts.milliseconds)
        }
        if let sample = live.sample { own["position"] = .integer(Int64(clamping: sample.position.bytes)) }
        if let job = status.job { own["job"] = .string(job) }
        if let progress = status.progress { own["progress"] = .object(progress) }
        return own
    }
}
