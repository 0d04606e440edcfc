/// What a standby replicates from and how.
public struct StandbySettings: Hashable, Sendable {
    /// Where to stream from; nil: not streaming (`nostream`, or detached).
    public var upstream: ServerEndpoint?
    /// Own slot on the upstream.
    public var slotName: String?
    /// From `standby_cluster`, over the user's `recovery_conf`; empty texts count as absent.
    public var restoreCommand: String?
    public var archiveCleanupCommand: String?
    public var recoveryMinApplyDelay: String?
    /// Several hosts are given: stream from the one that takes writes.
    public var requiresWritableUpstream: Bool

    public init(
        upstream: ServerEndpoint?, slotName: String? = nil, restoreCommand: String? = nil,
        archiveCleanupCommand: String? = nil, recoveryMinApplyDelay: String? = nil,
        requiresWritableUpstream: Bool = false
    ) {
        self.upstream = upstream
        self.slotName = slotName
        self.restoreCommand = restoreCommand
        self.archiveCleanupCommand = archiveCleanupCommand
        self.recoveryMinApplyDelay = recoveryMinApplyDelay
        self.requiresWritableUpstream = requiresWritableUpstream
    }

    /// The name of a member's slot on another: as Patroni spells it.
    public static func slotName(forMember name: String) -> String {
        var text = ""
        for scalar in name.lowercased().unicodeScalars {
            switch scalar {
            case "a"..."z", "0"..."9", "_": text.unicodeScalars.append(scalar)
            case "-", ".": text += "_"
            default:
                let digits = String(scalar.value, radix: 16)
                text += "u" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits
            }
        }
        return String(text.prefix(63))
    }

    /// How soon a standby tries again after its receiver ended. PostgreSQL's own 5 s would be the longest wait of a failover.
    public static let retryInterval = "200ms"

    /// Settings that steer recovery; these alone are stripped from `postgresql.auto.conf`.
    public static let recoverySettingNames: Set<String> = [
        "archive_cleanup_command", "primary_conninfo", "primary_slot_name", "promote_trigger_file", "trigger_file",
        "recovery_end_command", "recovery_min_apply_delay", "recovery_target", "recovery_target_action",
        "recovery_target_inclusive", "recovery_target_lsn", "recovery_target_name", "recovery_target_time",
        "recovery_target_timeline", "recovery_target_xid", "restore_command", "standby_mode",
    ]

    /// The `primary_conninfo` for an upstream; never with the role's password, which is in the passfile.
    public func primaryConnInfo(_ layout: PostgresLayout) -> String? {
        guard let upstream else { return nil }
        var login = layout.replication
        if requiresWritableUpstream { login.options.append(ServerSetting("target_session_attrs", "read-write")) }
        let text = ConnectionTarget(
            endpoint: upstream, database: layout.database, login: login, applicationName: layout.memberName,
            isReplication: true
        ).connectionString(passfile: layout.replication.password == nil ? nil : layout.passfile)
        // The key's own password has no file of its own; the configuration file is 0600.
        guard let password = login.sslPassword else { return text }
        return text + " sslpassword=" + Quoting.connectionValue(password.reveal())
    }

    /// The recovery section of `postgresql.conf`.
    public func settings(_ layout: PostgresLayout) -> [ServerSetting] {
        var settings: [ServerSetting] = []
        func put(_ name: String, _ value: String) {
            settings.removeAll { $0.name == name }
            settings.append(ServerSetting(name, value))
        }
        // What an earlier recovery or a cloned configuration targeted must not stop this one.
        for name in ["", "_name", "_time", "_xid", "_lsn"] { put("recovery_target" + name, "") }
        for setting in layout.recoveryConf {
            let name = setting.name.lowercased()
            if name == "recovery_target_timeline" || name.hasPrefix("recovery_target") { continue }
            if ["primary_conninfo", "primary_slot_name", "standby_mode"].contains(name) { continue }
            put(name == "trigger_file" ? "promote_trigger_file" : name, setting.value)
        }
        if let restoreCommand, !restoreCommand.isEmpty { put("restore_command", restoreCommand) }
        if let archiveCleanupCommand, !archiveCleanupCommand.isEmpty {
            put("archive_cleanup_command", archiveCleanupCommand)
        }
        if let recoveryMinApplyDelay, !recoveryMinApplyDelay.isEmpty {
            put("recovery_min_apply_delay", recoveryMinApplyDelay)
        }
        put("recovery_target_timeline", "latest")
        put("primary_conninfo", primaryConnInfo(layout) ?? "")
        put("primary_slot_name", upstream == nil ? "" : slotName ?? "")
        return settings
    }
}
