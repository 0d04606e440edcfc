import Glibc

/// Writes `postgresql.conf`, `pg_hba.conf`, `pg_ident.conf` and the signal files of one server.
///
/// Every file is replaced at once and durably, and only when its content changes.
public struct PostgresConfigurationFiles: Hashable, Sendable {
    /// What the server is to be when it reads the files.
    public enum Role: Hashable, Sendable {
        case primary
        case standby(StandbySettings)
    }

    /// What writing changed.
    public struct Outcome: Hashable, Sendable {
        /// The files that changed, by name.
        public var changed: [String]
        /// What was left out or moved, in words for the log.
        public var warnings: [String]

        public init(changed: [String] = [], warnings: [String] = []) {
            self.changed = changed
            self.warnings = warnings
        }
    }

    public var layout: PostgresLayout
    public var catalog: SettingsCatalog?

    /// Without a catalogue every setting passes unchecked.
    public init(layout: PostgresLayout, catalog: SettingsCatalog?) {
        self.layout = layout
        self.catalog = catalog
    }

    /// Writes all configuration files for a role, while the server runs or before it starts. Leaves signal files alone.
    public func write(_ role: Role, synchronousStandbyNames: String? = nil) async throws(PostgresError) -> Outcome {
        try await Blocking.run { () throws(PostgresError) in
            try writeNow(role, synchronousStandbyNames: synchronousStandbyNames)
        }
    }

    /// Writes everything for a start in a role: configuration and signal files, and strips recovery settings from
    /// `postgresql.auto.conf`. A standby's signal file is durable when this returns.
    public func prepareStart(
        as role: Role, synchronousStandbyNames: String? = nil
    ) async throws(PostgresError) -> Outcome {
        try await Blocking.run { () throws(PostgresError) in
            // First of all: whatever fails after this, the next start begins in recovery.
            if case .standby = role { try signalStandby() }
            var outcome = try writeNow(role, synchronousStandbyNames: synchronousStandbyNames)
            if try stripAutomaticSettings() { outcome.changed.append("postgresql.auto.conf") }
            if case .primary = role {
                try Files.remove(layout.dataDirectory + "/standby.signal")
                try Files.remove(layout.dataDirectory + "/recovery.signal")
            }
            try Files.remove(layout.dataDirectory + "/promote")
            return outcome
        }
    }

    /// Makes the next start of this data directory one in recovery; durable when this returns.
    public func markStandby() async throws(PostgresError) {
        try await Blocking.run { () throws(PostgresError) in try signalStandby() }
    }

    /// Removes the signal files, for single-user recovery, which cannot be a standby.
    public func unmarkStandby() async throws(PostgresError) {
        try await Blocking.run { () throws(PostgresError) in
            try Files.remove(layout.dataDirectory + "/standby.signal")
            try Files.remove(layout.dataDirectory + "/recovery.signal")
        }
    }

    /// Whether the next start begins in recovery.
    public var isMarkedStandby: Bool { Files.exists(layout.dataDirectory + "/standby.signal") }

    /// Adds lines at the end of `pg_hba.conf`, once (for `bootstrap.pg_hba`).
    public func appendHBA(_ lines: [String]) async throws(PostgresError) {
        try await Blocking.run { () throws(PostgresError) in
            let path = layout.configDirectory + "/pg_hba.conf"
            var text = try Files.readText(path) ?? ""
            if !text.isEmpty, !text.hasSuffix("\n") { text += "\n" }
            let added = lines.joined(separator: "\n") + "\n"
            if text.hasSuffix(added) { return }
            try Files.replace(path, with: Array((text + added).utf8), mode: 0o600)
        }
    }

    /// Keeps copies of the configuration files in the data directory (after a successful start).
    public func saveCopies() async throws(PostgresError) {
        try await Blocking.run { () throws(PostgresError) in
            for (path, copy) in copies {
                guard let bytes = try Files.read(path) else { continue }
                try Files.replaceIfChanged(copy, with: bytes, mode: 0o600)
            }
        }
    }

    /// Restores missing configuration files from the copies (after a clone); tells which.
    @discardableResult
    public func restoreCopies() async throws(PostgresError) -> [String] {
        try await Blocking.run { () throws(PostgresError) in
            var restored: [String] = []
            for (path, copy) in copies where !Files.exists(path) {
                guard let bytes = try Files.read(copy) else { continue }
                try Files.replace(path, with: bytes, mode: 0o600)
                restored.append(path)
            }
            return restored
        }
    }

    // MARK: - Texts

    static let header = "# Written by Matriarch. Do not edit: changes are lost at the next write.\n"

    /// The text of `postgresql.conf`.
    func mainText(_ role: Role, synchronousStandbyNames: String?) -> (text: String, warnings: [String]) {
        var settings: [ServerSetting] = []
        var moved: [ServerSetting] = []
        var warnings: [String] = []
        func put(_ setting: ServerSetting) {
            settings.removeAll { $0.name.lowercased() == setting.name.lowercased() }
            settings.append(setting)
        }
        for setting in layout.parameters {
            if StandbySettings.recoverySettingNames.contains(setting.name.lowercased()) {
                moved.append(setting)
            } else {
                put(setting)
            }
        }
        if !layout.parameters.contains(where: { $0.name.lowercased() == "wal_retrieve_retry_interval" }) {
            put(ServerSetting("wal_retrieve_retry_interval", StandbySettings.retryInterval))
        }
        if let synchronousStandbyNames {
            put(ServerSetting("synchronous_standby_names", synchronousStandbyNames))
        }
        for setting in layout.controlledParameters { put(setting) }
        put(ServerSetting("listen_addresses", layout.listenAddresses))
        put(ServerSetting("port", String(layout.port)))
        put(ServerSetting("cluster_name", layout.clusterName))
        for (name, file) in [("hba_file", "pg_hba.conf"), ("ident_file", "pg_ident.conf")] {
            if let given = layout.parameter(name) {
                put(ServerSetting(name, given.hasPrefix("/") ? given : layout.configDirectory + "/" + given))
            } else {
                put(ServerSetting(name, layout.configDirectory + "/" + file))
            }
        }
        if let catalog {
            let checked = catalog.admitted(settings)
            settings = checked.settings
            warnings = checked.warnings
        }
        var text = Self.header
        text += "include \(Quoting.configuration(layout.customConf ?? layout.configBaseName + ".base.conf"))\n\n"
        for setting in settings.sorted(by: { $0.name < $1.name }) {
            text += "\(setting.name) = \(Quoting.configuration(setting.value))\n"
        }
        if case .standby(var standby) = role {
            var layout = layout
            // The user's recovery settings among the parameters count as if they stood in `recovery_conf`.
            layout.recoveryConf = moved + layout.recoveryConf
            if standby.restoreCommand?.isEmpty == true { standby.restoreCommand = nil }
            var recovery = standby.settings(layout)
            if let catalog {
                let checked = catalog.admitted(recovery)
                recovery = checked.settings
                warnings += checked.warnings
            }
            text += "\n# recovery\n"
            for setting in recovery.sorted(by: { $0.name < $1.name }) {
                text += "\(setting.name) = \(Quoting.configuration(setting.value))\n"
            }
        }
        return (text, warnings)
    }

    // MARK: - On a thread that may block

    private func writeNow(_ role: Role, synchronousStandbyNames: String?) throws(PostgresError) -> Outcome {
        var outcome = Outcome()
        if let warning = try keepOriginal() { outcome.warnings.append(warning) }
        let (text, warnings) = mainText(role, synchronousStandbyNames: synchronousStandbyNames)
        outcome.warnings += warnings
        // The passfile first: a standby reads it as soon as it knows the new upstream.
        let entries = Passfile.entries(layout)
        if !entries.isEmpty, try Passfile.write(layout.passfile, entries) { outcome.changed.append("pgpass") }
        if let lines = layout.hbaLines, managesFile("hba_file"),
            try Files.replaceIfChanged(
                layout.configDirectory + "/pg_hba.conf", with: Self.header + lines.joined(separator: "\n") + "\n",
                mode: 0o600)
        {
            outcome.changed.append("pg_hba.conf")
        }
        if let lines = layout.identLines, managesFile("ident_file"),
            try Files.replaceIfChanged(
                layout.configDirectory + "/pg_ident.conf", with: Self.header + lines.joined(separator: "\n") + "\n",
                mode: 0o600)
        {
            outcome.changed.append("pg_ident.conf")
        }
        for file in ["pg_hba.conf", "pg_ident.conf"] {
            let path = layout.configDirectory + "/" + file
            if Files.exists(path) { continue }
            // A separate configuration directory begins empty; initdb wrote its files into the data directory.
            var bytes = try Files.read(layout.dataDirectory + "/" + file)
            if bytes == nil { bytes = try Files.read(layout.dataDirectory + "/" + file + ".backup") }
            if bytes == nil, file == "pg_hba.conf" {
                outcome.warnings.append("\(path) was not there: one that asks for passwords was written")
                bytes = Array((Self.header + strictHBA).utf8)
            }
            try Files.replace(path, with: bytes ?? [], mode: 0o600)
            outcome.changed.append(file)
        }
        if try Files.replaceIfChanged(layout.mainConfigFile, with: text, mode: 0o600) {
            outcome.changed.append(layout.configBaseName + ".conf")
        }
        return outcome
    }

    private func managesFile(_ parameter: String) -> Bool { layout.parameter(parameter) == nil }

    /// What is written where neither the configuration nor anybody else gave a `pg_hba.conf`.
    private var strictHBA: String {
        """
        local all all peer
        host all all all scram-sha-256
        host replication \(Quoting.identifier(layout.replication.user)) all scram-sha-256

        """
    }

    /// Renames the configuration that was there before ours, once, so that ours can include it. Returns a warning.
    private func keepOriginal() throws(PostgresError) -> String? {
        if !Files.exists(layout.configDirectory) { try Files.makeDirectory(layout.configDirectory, mode: 0o700) }
        guard layout.customConf == nil, !Files.exists(layout.baseConfigFile) else { return nil }
        if let text = try Files.readText(layout.mainConfigFile), !text.hasPrefix(Self.header) {
            try Files.move(layout.mainConfigFile, to: layout.baseConfigFile)
            return nil
        }
        // The copy of an earlier base, or what initdb or a clone left in the data directory.
        for source in ["\(layout.configBaseName).base.conf.backup", "postgresql.base.conf", "postgresql.conf"] {
            guard let bytes = try Files.read(layout.dataDirectory + "/" + source),
                !bytes.starts(with: Self.header.utf8)
            else { continue }
            try Files.replace(layout.baseConfigFile, with: bytes, mode: 0o600)
            return nil
        }
        try Files.replace(layout.baseConfigFile, with: [], mode: 0o600)
        return "\(layout.baseConfigFile) was not there: an empty one was written, and PostgreSQL's defaults apply"
    }

    private func signalStandby() throws(PostgresError) {
        let path = layout.dataDirectory + "/standby.signal"
        if !Files.exists(path) {
            try Files.replace(path, with: [], mode: 0o600)
        } else {
            try Files.syncDirectory(layout.dataDirectory)
        }
        try Files.remove(layout.dataDirectory + "/recovery.signal")
    }

    /// Takes recovery settings out of what `ALTER SYSTEM` wrote; tells whether there were any.
    func stripAutomaticSettings() throws(PostgresError) -> Bool {
        let path = layout.dataDirectory + "/postgresql.auto.conf"
        guard let text = try Files.readText(path) else { return false }
        let stripped = Self.strippingRecovery(text)
        guard stripped != text else { return false }
        try Files.replace(path, with: Array(stripped.utf8), mode: 0o600)
        return true
    }

    static func strippingRecovery(_ text: String) -> String {
        var lines: [Substring] = []
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            let name = line.trimmed.prefix { $0 == "_" || $0 == "." || $0.isLetter || $0.isNumber }
            if !StandbySettings.recoverySettingNames.contains(name.lowercased()) { lines.append(line) }
        }
        return lines.joined(separator: "\n")
    }

    private var copies: [(path: String, copy: String)] {
        [
            layout.configBaseName + ".conf", layout.configBaseName + ".base.conf", "pg_hba.conf", "pg_ident.conf",
        ].map { ("\(layout.configDirectory)/\($0)", "\(layout.dataDirectory)/\($0).backup") }
    }
}
