public import PluginInterfaces

/// The settings that an installed PostgreSQL knows, as `postgres --describe-config` lists them.
public struct SettingsCatalog: Hashable, Sendable {
    public enum Kind: String, Hashable, Sendable {
        case bool = "BOOLEAN"
        case integer = "INTEGER"
        case real = "REAL"
        case text = "STRING"
        case choice = "ENUM"
    }

    /// One setting.
    public struct Entry: Hashable, Sendable {
        public var kind: Kind
        public var context: String
        public var minimum: Double?
        public var maximum: Double?

        public init(kind: Kind, context: String, minimum: Double? = nil, maximum: Double? = nil) {
            self.kind = kind
            self.context = context
            self.minimum = minimum
            self.maximum = maximum
        }
    }

    public var entries: [String: Entry]
    public var majorVersion: Int

    public init(entries: [String: Entry], majorVersion: Int) {
        self.entries = entries
        self.majorVersion = majorVersion
    }

    /// Asks the installed server program for its version and its settings. Takes some tens of milliseconds: keep it.
    public static func load(
        layout: PostgresLayout,
        run: @Sendable (PluginCommand, (@Sendable (String) -> Void)?) async -> CommandEnd
    ) async throws(PostgresError) -> SettingsCatalog {
        let program = layout.program("postgres")
        let version = LineCollector()
        var end = await run(
            PluginCommand(program, ["--version"], deadline: .seconds(10)), { version.append($0) })
        guard end.isSuccess, let major = version.lines.first.flatMap(DataDirectory.majorVersion(fromVersionText:))
        else {
            throw PostgresError(.program, "\(program) --version \(end.explanation): \(version.ending)")
        }
        let report = LineCollector(limit: 5000)
        end = await run(
            PluginCommand(program, ["--describe-config"], environment: ["LC_ALL": "C"], deadline: .seconds(10)),
            { report.append($0) })
        guard end.isSuccess else {
            throw PostgresError(.program, "\(program) --describe-config \(end.explanation): \(report.ending)")
        }
        return SettingsCatalog(entries: parse(report.lines), majorVersion: major)
    }

    /// Reads the report: name, context, group, type, default, minimum, maximum, texts, apart by tabs.
    static func parse(_ lines: [String]) -> [String: Entry] {
        var entries: [String: Entry] = [:]
        for line in lines {
            let fields = line.split(separator: "\t", omittingEmptySubsequences: false)
            guard fields.count >= 7, let kind = Kind(rawValue: String(fields[3])) else { continue }
            entries[fields[0].lowercased()] = Entry(
                kind: kind, context: String(fields[1]), minimum: Double(fields[5]), maximum: Double(fields[6]))
        }
        return entries
    }

    /// The settings that this PostgreSQL takes, and what was left out or changed, in words for the log.
    ///
    /// A setting that it does not know would keep the server from starting: it is dropped, as is a value that cannot be
    /// read. A plain number beyond the bounds is moved to the nearer one. Names with a dot belong to extensions and pass.
    public func admitted(_ settings: [ServerSetting]) -> (settings: [ServerSetting], warnings: [String]) {
        var admitted: [ServerSetting] = []
        var warnings: [String] = []
        for var setting in settings {
            let name = setting.name.lowercased()
            if name.contains(".") {
                admitted.append(setting)
                continue
            }
            // A setting under its earlier name.
            if name == "promote_trigger_file" || name == "trigger_file" {
                if majorVersion >= 16 {
                    warnings.append("\(setting.name) is left out: PostgreSQL \(majorVersion) has no trigger file")
                    continue
                }
                setting.name = "promote_trigger_file"
            }
            // Hidden from --describe-config, yet settable in the file.
            let isHidden = Self.hiddenNames.contains(name)
            guard let entry = entries[setting.name.lowercased()] else {
                if isHidden {
                    admitted.append(setting)
                } else {
                    warnings.append("\(setting.name) is left out: PostgreSQL \(majorVersion) does not know it")
                }
                continue
            }
            switch entry.kind {
            case .bool:
                guard SettingText.bool(setting.value) != nil else {
                    warnings.append("\(setting.name) is left out: '\(setting.value)' is neither on nor off")
                    continue
                }
            case .integer, .real:
                guard let first = setting.value.trimmed.first, first.isNumber || "+-.".contains(first) else {
                    warnings.append("\(setting.name) is left out: '\(setting.value)' is no number")
                    continue
                }
                if let number = Double(setting.value.trimmed) {
                    func text(_ bound: Double) -> String {
                        let whole = entry.kind == .integer ? Int64(exactly: bound.rounded(.towardZero)) : nil
                        return whole.map(String.init) ?? String(bound)
                    }
                    var bound: Double?
                    if let minimum = entry.minimum, number < minimum { bound = minimum }
                    if let maximum = entry.maximum, number > maximum { bound = maximum }
                    if let bound {
                        warnings.append("\(setting.name) = \(setting.value) is out of range: \(text(bound)) is used")
                        setting.value = text(bound)
                    }
                }
            case .text, .choice: break
            }
            admitted.append(setting)
        }
        return (admitted, warnings)
    }

    private static let hiddenNames: Set<String> = [
        "lc_collate", "lc_ctype", "default_with_oids", "allow_system_table_mods", "ignore_system_indexes",
        "post_auth_delay", "pre_auth_delay", "trace_notify", "trace_sort", "zero_damaged_pages",
        "ignore_checksum_failure", "ignore_invalid_pages", "jit_debugging_support", "jit_dump_bitcode",
        "jit_expressions", "jit_profiling_support", "jit_tuple_deforming", "wal_consistency_checking",
        "backtrace_functions", "remove_temp_files_after_crash", "debug_discard_caches", "data_directory",
        "config_file", "hba_file", "ident_file", "is_superuser", "log_parser_stats", "recovery_target",
        "debug_io_direct", "debug_parallel_query", "force_parallel_mode", "optimize_bounded_sort",
        "synchronize_seqscans", "lo_compat_privileges", "wal_init_zero", "wal_recycle",
    ]
}

/// How PostgreSQL reads the texts of settings.
enum SettingText {
    static func bool(_ text: String) -> Bool? {
        let word = text.trimmed.lowercased()
        guard !word.isEmpty else { return nil }
        // Unique beginnings of the words count, as in the server.
        if "true".hasPrefix(word) || "yes".hasPrefix(word) || word == "on" || word == "1" { return true }
        if "false".hasPrefix(word) || "no".hasPrefix(word) || (word.count >= 2 && "off".hasPrefix(word)) || word == "0"
        {
            return false
        }
        return nil
    }

    /// Whether two texts are one value of a setting without unit.
    static func same(_ left: String, _ right: String) -> Bool {
        if left == right || left.lowercased() == right.lowercased() { return true }
        if let left = Double(left), let right = Double(right) { return left == right }
        if let left = bool(left), let right = bool(right) { return left == right }
        return false
    }
}
