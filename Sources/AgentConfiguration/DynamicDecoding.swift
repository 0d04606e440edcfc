public import ClusterModel
public import ConfigurationTree

extension DynamicSettings {
    /// Checks a document of the store. A document with an error in it is refused as a whole: nil, and the complaints.
    ///
    /// `source` is what complaints call it, such as `key /service/demo/config`.
    public static func decode(
        _ document: JSONValue, source: String
    ) -> (settings: DynamicSettings?, complaints: [ConfigurationComplaint]) {
        decode(ConfigurationNode(document, at: SourceMark(source: source)))
    }

    /// Checks a document with places, such as `bootstrap.dcs` of a file.
    public static func decode(
        _ node: ConfigurationNode, path: String = ""
    ) -> (settings: DynamicSettings?, complaints: [ConfigurationComplaint]) {
        let reader = ConfigurationReader(node, path: path)
        let settings = DynamicDecoding(reader: reader).settings()
        let complaints = reader.finish()
        return (complaints.containsError ? nil : settings, complaints)
    }
}

/// Decodes the dynamic configuration.
///
/// What decides about safety and cannot be read makes the whole document an error, and the previous one stays; where
/// every peer falls back to a default, so do we, with a warning.
private struct DynamicDecoding {
    let reader: ConfigurationReader

    /// Nobody means more: a year.
    private static let longest = 31_536_000

    func settings() -> DynamicSettings {
        var settings = DynamicSettings()
        settings.node = reader.node.isMap ? reader.node : ConfigurationNode(.map([]), at: reader.node.mark)
        settings.pathPrefix = reader.path
        settings.document = settings.node.json.object ?? JSONObject()
        settings.ttl = reader.int("ttl", in: .min...Self.longest, default: 30)
        settings.loopWait = reader.int("loop_wait", in: .min...Self.longest, default: 10)
        settings.retryTimeout = reader.int("retry_timeout", in: .min...Self.longest, default: 10)
        settings.maximumLagOnFailover = Int64(lenientInt("maximum_lag_on_failover", unit: .bytes, default: 1_048_576))
        settings.maximumLagOnSyncnode = Int64(lenientInt("maximum_lag_on_syncnode", unit: .bytes, default: -1))
        settings.checksTimeline = reader.bool("check_timeline", default: false)
        settings.maximumTimelinesHistory = lenientInt("max_timelines_history", in: 0 ... .max, default: 0)
        settings.primaryStartTimeout = lenientDuration(
            "primary_start_timeout", old: "master_start_timeout", default: .seconds(300))
        settings.primaryStopTimeout = lenientDuration(
            "primary_stop_timeout", old: "master_stop_timeout", default: .zero)
        settings.primaryRaceBackoff = lenientDuration("primary_race_backoff", default: .zero)
        settings.memberSlotsTTL = lenientDuration("member_slots_ttl", default: .seconds(1800))
        settings.synchronousMode =
            reader.choice(
                "synchronous_mode",
                [
                    "on": .on, "off": .off, "quorum": .quorum, "true": .on, "false": .off, "yes": .on, "no": .off,
                    "1": .on, "0": .off,
                ]) ?? .off
        settings.synchronousModeStrict = reader.bool("synchronous_mode_strict", default: false)
        settings.synchronousNodeCount = max(
            lenientInt("synchronous_node_count", in: 0...10_000, default: 1), settings.synchronousModeStrict ? 1 : 0)
        settings.failsafeMode = reader.bool("failsafe_mode", default: false)
        settings.pause = reader.bool("pause", default: false)
        settings.slots = slots()
        settings.ignoreSlots = reader.list("ignore_slots")?.map(\.json) ?? []
        settings.standbyCluster = standbyCluster()
        if let postgresql = reader.reader(for: "postgresql") {
            settings.usesSlots = PostgresDecoding.decode(postgresql, .dynamic).usesSlots
        }
        return settings
    }

    private func slots() -> JSONObject {
        let names = ["slots", "permanent_slots", "permanent_replication_slots"]
        reader.allow(names)
        guard let key = names.first(where: reader.has), let pairs = reader.map(key) else { return JSONObject() }
        return JSONObject(pairs.map { (key: $0.key, value: $0.value.json) })
    }

    private func standbyCluster() -> StandbyClusterSettings? {
        guard reader.has("standby_cluster"), let section = reader.reader(for: "standby_cluster") else {
            reader.allow("standby_cluster")
            return nil
        }
        var result = StandbyClusterSettings()
        result.host = section.string("host", allowEmpty: true)
        result.port = section.string("port", allowEmpty: true)
        result.primarySlotName = section.string("primary_slot_name", allowEmpty: true)
        result.createReplicaMethods = section.stringList("create_replica_methods")
        result.restoreCommand = section.string("restore_command", allowEmpty: true)
        result.archiveCleanupCommand = section.string("archive_cleanup_command", allowEmpty: true)
        result.recoveryMinApplyDelay = section.string("recovery_min_apply_delay", allowEmpty: true)
        return result
    }

    /// A number that all peers replace by its default when it cannot be read.
    private func lenientInt(
        _ key: String, in range: ClosedRange<Int> = .min ... .max, unit: PostgresUnit? = nil, default value: Int
    ) -> Int {
        guard let node = reader.node(key) else { return value }
        if let text = node.text, let number = unit.map({ ValueText.integer(text, in: $0) }) ?? ValueText.integer(text),
            range.contains(number)
        {
            return number
        }
        reader.warn(key, "\(shown(node)) is not a whole number that fits; the default \(value) is used")
        return value
    }

    private func lenientDuration(_ key: String, old: String? = nil, default value: Duration) -> Duration {
        if let old { reader.allow(old) }
        let key = old.map { !reader.has(key) && reader.has($0) ? $0 : key } ?? key
        guard let node = reader.node(key) else { return value }
        if let text = node.text, let duration = ValueText.duration(text), duration >= .zero,
            duration <= .seconds(Self.longest)
        {
            return duration
        }
        reader.warn(
            key,
            "\(shown(node)) is not a length of time (seconds, or with a unit: 30s, 5min); the default "
                + "\(value.components.seconds)s is used")
        return value
    }

    private func shown(_ node: ConfigurationNode) -> String {
        node.text.map { "'\($0.prefix(40))'" } ?? node.kind
    }
}
