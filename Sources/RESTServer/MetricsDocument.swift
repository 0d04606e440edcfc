public import ClusterModel
public import HighAvailability

/// The text of `GET /metrics`, in Prometheus' format. Our own metrics have a prefix of their own.
public enum MetricsDocument {
    public static func make(status: AgentStatus, now: Instant) -> String {
        let live = LiveStatus(status, now: now)
        var page = Page(labels: "{scope=\"\(escaped(status.scope))\",name=\"\(escaped(status.name))\"}")
        let sample = live.sample
        let isPrimary = live.role == .primary
        page.gauge("patroni_version", "Patroni version whose contract is kept, without periods.", paddedVersion)
        page.flag("patroni_postgres_running", "1 if PostgreSQL runs.", live.state == .running)
        page.gauge(
            "patroni_postmaster_start_time", "Epoch seconds since PostgreSQL started.",
            epoch(sample?.postmasterStartTime))
        page.flag("patroni_primary", "1 if this member is the primary.", isPrimary)
        page.counter(
            "patroni_xlog_location", "Position of the primary's WAL, 0 on a standby.",
            sample?.isInRecovery == false ? sample?.position : nil)
        page.flag("patroni_standby_leader", "1 if this member is the standby leader.", live.role == .standbyLeader)
        page.flag("patroni_replica", "1 if this member is a replica.", live.role == .replica)
        page.flag("patroni_sync_standby", "1 if this member is a synchronous standby.", live.isSyncStandby)
        page.flag("patroni_quorum_standby", "1 if this member is a quorum standby.", live.isQuorumStandby)
        let isStandby = sample?.isInRecovery == true
        page.counter(
            "patroni_xlog_received_location", "Position of the WAL received, 0 on a primary.",
            isStandby ? live.receivedPosition : nil)
        page.counter(
            "patroni_xlog_replayed_location", "Position of the WAL replayed, 0 on a primary.",
            isStandby ? live.replayedPosition : nil)
        page.gauge(
            "patroni_xlog_replayed_timestamp", "Epoch seconds of the last transaction replayed, 0 if none.",
            isStandby ? epoch(sample?.replayTimestamp) : "0")
        page.flag("patroni_xlog_paused", "1 if replay is paused.", isStandby && sample?.isReplayPaused == true)
        if sample != nil {
            page.flag(
                "patroni_postgres_streaming", "1 if the standby streams.", live.replicationState == .streaming)
            page.flag(
                "patroni_postgres_in_archive_recovery", "1 if the standby reads its WAL from the archive.",
                live.replicationState == .inArchiveRecovery)
        }
        page.gauge(
            "patroni_postgres_server_version", "Version of PostgreSQL, 0 if it does not answer.",
            String(sample?.serverVersion ?? 0))
        page.flag("patroni_cluster_unlocked", "1 if the cluster has no leader.", live.isUnlocked)
        page.flag(
            "patroni_failsafe_mode_is_active", "1 if the failsafe mode is active.", status.isFailsafeActive)
        page.flag("patroni_failsafe_mode_enabled", "1 if the failsafe mode is configured.", live.mode.isFailsafe)
        page.flag(
            "patroni_failsafe_member", "1 if this member is in the failsafe key.",
            live.view?.failsafe?[status.name] != nil)
        page.gauge(
            "patroni_postgres_timeline", "PostgreSQL's timeline, 0 if unknown.",
            String(sample?.timeline.number ?? 0))
        page.gauge(
            "patroni_dcs_last_seen", "Epoch seconds of the last answer of the store.",
            String(status.storeLastSeen?.seconds ?? 0))
        page.flag("patroni_pending_restart", "1 if PostgreSQL has to be restarted.", live.pendingRestart != nil)
        page.flag("patroni_is_paused", "1 if the cluster is paused.", status.isPaused)
        page.gauge(
            "patroni_postgres_state",
            "State of PostgreSQL as a number: " + stateCodes.map { "\($0.code) \($0.state)" }.joined(separator: ", ")
                + ".",
            String(stateCodes.first { $0.state == live.state.rawValue }?.code ?? -1))
        page.gauge(
            "patroni_failover_priority", "Failover priority of this member, 0 if it may not lead.",
            String(status.tags.failoverPriority))
        page.flag("matriarch_guarded", "1 if a guard enforces the lease.", status.fenceState == .guarded)
        page.flag("matriarch_silent", "1 if no process can acknowledge a write.", status.isSilent)
        page.flag("matriarch_holds_lease", "1 if the leader entry is provably this member's.", live.holdsLease)
        page.gauge(
            "matriarch_last_decision", "Sequence number of the last decision.",
            String(status.decisions.last?.sequence ?? 0))
        return page.text
    }

    /// `4.1.5` becomes `040105`.
    static var paddedVersion: String {
        advertisedVersion.split(separator: ".").map { $0.utf8.count < 2 ? "0" + $0 : String($0) }.joined()
    }

    static let stateCodes: [(state: String, code: Int)] =
        [
            "initializing new cluster", "initdb failed", "running custom bootstrap script", "custom bootstrap failed",
            "creating replica", "running", "starting", "starting after custom bootstrap", "start failed", "restarting",
            "restart failed", "stopping", "stopped", "stop failed", "crashed",
        ].enumerated().map { (state: $0.element, code: $0.offset) } + [(state: "unknown", code: -1)]

    private static func epoch(_ text: String?) -> String {
        guard let text, let (time, _) = WallTime.parse(text) else { return "0" }
        return time.microseconds % 1_000_000 == 0
            ? String(time.seconds) : "\(Double(time.microseconds) / 1_000_000)"
    }

    private static func escaped(_ text: String) -> String {
        var result = ""
        for character in text.unicodeScalars {
            switch character {
            case "\\": result += "\\\\"
            case "\"": result += "\\\""
            case "\n": result += "\\n"
            default: result.unicodeScalars.append(character)
            }
        }
        return result
    }

    private struct Page {
        var labels: String
        var text = ""

        mutating func put(_ name: String, _ type: String, _ help: String, _ value: String) {
            text += "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n\(name)\(labels) \(value)\n"
        }

        mutating func gauge(_ name: String, _ help: String, _ value: String) { put(name, "gauge", help, value) }

        mutating func flag(_ name: String, _ help: String, _ value: Bool) {
            put(name, "gauge", help, value ? "1" : "0")
        }

        mutating func counter(_ name: String, _ help: String, _ value: LSN?) {
            put(name, "counter", help, String(value?.bytes ?? 0))
        }
    }
}
