import ConfigurationTree

/// PostgreSQL's parameters under the agent's control, checked, with defaults where nothing (good) was given.
public struct ControlledParameters: Sendable, Equatable {
    /// For the postmaster's command line as well as the file, in a fixed order: `listen_addresses`, `port`,
    /// `cluster_name`, `wal_level`, ...
    public var commandLine: ParameterList
    /// `wal_keep_size` in megabytes; in the file alone.
    public var walKeepSizeMegabytes: Int

    public init(commandLine: ParameterList, walKeepSizeMegabytes: Int) {
        self.commandLine = commandLine
        self.walKeepSizeMegabytes = walKeepSizeMegabytes
    }

    /// `wal_keep_size`, or `wal_keep_segments` before PostgreSQL 13.
    public func walKeep(majorVersion: Int) -> PostgresParameter {
        majorVersion >= 13
            ? PostgresParameter(name: "wal_keep_size", value: "\(walKeepSizeMegabytes)MB")
            : PostgresParameter(name: "wal_keep_segments", value: "\(max(1, (walKeepSizeMegabytes + 15) / 16))")
    }

    /// Which values one parameter takes.
    private enum Accepted {
        case integer(ClosedRange<Int>)
        case boolean
        case onlyOn
        case walLevel
    }

    private static let most = 262_143
    private static let table: [(name: String, default: String, accepted: Accepted)] = [
        ("wal_level", "replica", .walLevel),
        ("hot_standby", "on", .onlyOn),
        ("max_connections", "100", .integer(25...most)),
        ("max_wal_senders", "10", .integer(3...most)),
        ("max_prepared_transactions", "0", .integer(0...most)),
        ("max_locks_per_transaction", "64", .integer(32...2_147_483_647)),
        ("track_commit_timestamp", "off", .boolean),
        ("max_replication_slots", "10", .integer(4...most)),
        ("max_worker_processes", "8", .integer(2...most)),
        ("wal_log_hints", "on", .boolean),
    ]
    private static let derived = ["listen_addresses", "port", "cluster_name"]
    private static let walKeepNames = ["wal_keep_size", "wal_keep_segments"]
    private static let defaultWALKeepSize = 128

    /// All names, in any case, which a local file cannot set.
    public static func isControlled(_ name: String) -> Bool {
        let name = name.lowercased()
        return isDerived(name) || walKeepNames.contains(name) || table.contains { $0.name == name }
    }

    /// `listen_addresses`, `port`, `cluster_name`: nobody sets these, they follow from `listen` and `scope`.
    public static func isDerived(_ name: String) -> Bool {
        derived.contains(name.lowercased())
    }

    /// The values by the dynamic configuration's `postgresql.parameters`; each rejected one is a warning.
    static func make(
        scope: String, postgresql: PostgresSettings, dynamic: ConfigurationNode?
    ) -> (ControlledParameters, [ConfigurationComplaint]) {
        var complaints: [ConfigurationComplaint] = []
        let pairs = dynamic?["parameters"]?.pairs.filter { !$0.value.isNull } ?? []
        func given(_ name: String) -> ConfigurationNode.Pair? { pairs.last { $0.key.lowercased() == name } }
        func warn(_ pair: ConfigurationNode.Pair, _ message: String) {
            complaints.append(
                ConfigurationComplaint(
                    .warning, at: pair.value.mark, path: "postgresql.parameters.\(pair.key)", message))
        }
        for name in derived {
            if let pair = given(name) { warn(pair, "is set by the agent from listen and scope; ignored here") }
        }
        var list = ParameterList()
        list["listen_addresses"] = postgresql.listenAddresses.joined(separator: ",")
        list["port"] = String(postgresql.port)
        list["cluster_name"] = scope
        for (name, fallback, accepted) in table {
            list[name] = fallback
            guard let pair = given(name) else { continue }
            let text = PostgresValue.text(of: pair.value) ?? ""
            switch checked(text, accepted) {
            case .success(let value): list[name] = value
            case .failure(let refusal):
                warn(pair, "'\(text)' \(refusal.reason); the default \(fallback) is used")
            }
        }
        var keep = defaultWALKeepSize
        if let pair = given("wal_keep_size") {
            let text = PostgresValue.text(of: pair.value) ?? ""
            if let size = ValueText.integer(text, in: .megabytes), (16...2_147_483_647).contains(size) {
                keep = size
            } else {
                warn(pair, "'\(text)' is not a size of 16MB or more; the default \(keep)MB is used")
            }
        } else if let pair = given("wal_keep_segments") {
            let text = PostgresValue.text(of: pair.value) ?? ""
            if let segments = ValueText.integer(text), (1...134_217_727).contains(segments) {
                keep = segments * 16
            } else {
                warn(pair, "'\(text)' is not a number of segments, 1 or more; the default \(keep / 16) is used")
            }
        }
        return (ControlledParameters(commandLine: list, walKeepSizeMegabytes: keep), complaints)
    }

    private struct Refusal: Error {
        var reason: String
    }

    private static func checked(_ text: String, _ accepted: Accepted) -> Result<String, Refusal> {
        switch accepted {
        case .integer(let range):
            guard let value = ValueText.integer(text) else { return .failure(.init(reason: "is not a whole number")) }
            guard value >= range.lowerBound else {
                return .failure(.init(reason: "is below the minimum of \(range.lowerBound)"))
            }
            guard value <= range.upperBound else {
                return .failure(.init(reason: "is above PostgreSQL's maximum of \(range.upperBound)"))
            }
            return .success(String(value))
        case .boolean:
            guard let value = ValueText.boolean(text) else { return .failure(.init(reason: "is not a Boolean")) }
            return .success(value ? "on" : "off")
        case .onlyOn:
            guard ValueText.boolean(text) == true else { return .failure(.init(reason: "is not possible, only on is")) }
            return .success("on")
        case .walLevel:
            switch text.lowercased() {
            case "hot_standby", "replica": return .success("replica")
            case "logical": return .success("logical")
            default: return .failure(.init(reason: "is not one of replica, logical"))
            }
        }
    }
}
