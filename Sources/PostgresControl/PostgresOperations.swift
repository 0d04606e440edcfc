public import ClusterModel
import Glibc
public import Logging
import PluginInterfaces

/// Statements that the agent runs on its own server, each on a connection of its own and with a deadline.
public struct PostgresOperations: Sendable {
    public var layout: PostgresLayout
    public var scope: ListeningScope
    public var logger: Logger

    public init(layout: PostgresLayout, scope: ListeningScope = .configured, logger: Logger) {
        self.layout = layout
        self.scope = scope
        self.logger = logger
    }

    /// One replication slot.
    public struct Slot: Hashable, Sendable {
        public var name: String
        public var isPhysical: Bool
        public var isActive: Bool
        public var isTemporary: Bool
        public var restartLSN: LSN?
        public var confirmedFlushLSN: LSN?
        public var xmin: String?
        public var database: String?
        public var plugin: String?
        public var walStatus: String?

        public init(name: String, isPhysical: Bool = true, isActive: Bool = false, restartLSN: LSN? = nil) {
            self.name = name
            self.isPhysical = isPhysical
            self.isActive = isActive
            self.isTemporary = false
            self.restartLSN = restartLSN
        }
    }

    /// Creates or alters the superuser, the replication role and (where distinct) the rewind role with its grants.
    ///
    /// Passwords leave this process only as verifiers, nothing of it is logged by the server, and no statement waits
    /// for a synchronous standby.
    public func createRoles(within time: Duration) async throws(PostgresError) {
        let until = SystemClock.now() + time
        try await onConnection(until: until, timeout: nil) { connection throws(PostgresError) in
            for setting in Self.quietly { try await run(connection, setting, until) }
            let algorithm = try await run(connection, "SHOW password_encryption", until).value ?? "scram-sha-256"
            func clause(_ login: RoleLogin) async throws(PostgresError) -> String {
                guard let password = login.password else { return "" }
                // 13 still knows `on` for md5.
                let name = algorithm == "scram-sha-256" ? "scram-sha-256" : "md5"
                guard let verifier = await connection.encrypted(password, user: login.user, algorithm: name) else {
                    throw PostgresError(.refused, "the password of \(login.user) cannot be encrypted by \(name)")
                }
                return " PASSWORD \(Quoting.literal(verifier))"
            }
            func ensure(_ login: RoleLogin, _ attributes: String) async throws(PostgresError) {
                let exists =
                    try await connection.query(
                        "SELECT 1 FROM pg_roles WHERE rolname = $1", [login.user], within: until - SystemClock.now()
                    ).value != nil
                let verb = exists ? "ALTER" : "CREATE"
                let statement =
                    try await "\(verb) ROLE \(Quoting.identifier(login.user)) WITH LOGIN\(attributes)\(clause(login))"
                try await run(connection, statement, until)
            }
            try await ensure(layout.superuser, " SUPERUSER")
            if layout.replication.user != layout.superuser.user {
                try await ensure(layout.replication, " REPLICATION")
            }
            if let rewind = layout.rewind, rewind.user != layout.superuser.user {
                if rewind.user != layout.replication.user { try await ensure(rewind, "") }
                for function in [
                    "pg_ls_dir(text, boolean, boolean)", "pg_stat_file(text, boolean)", "pg_read_binary_file(text)",
                    "pg_read_binary_file(text, bigint, bigint, boolean)",
                ] {
                    try await run(
                        connection,
                        "GRANT EXECUTE ON FUNCTION pg_catalog.\(function) TO \(Quoting.identifier(rewind.user))", until)
                }
            }
        }
    }

    /// Writes a checkpoint; takes as long as it takes, up to the time given.
    public func checkpoint(within time: Duration) async throws(PostgresError) {
        let until = SystemClock.now() + time
        try await onConnection(until: until, timeout: nil) { connection throws(PostgresError) in
            try await run(connection, "CHECKPOINT", until)
        }
    }

    /// Ends the WAL receiver, so that the standby connects to its (new) upstream at once. False: there was none.
    @discardableResult
    public func kickReceiver(within time: Duration) async throws(PostgresError) -> Bool {
        let until = SystemClock.now() + time
        return try await onConnection(until: until) { connection throws(PostgresError) in
            let text = try await run(connection, "SELECT pid FROM pg_stat_wal_receiver", until).value
            // The receiver is no session: only a signal ends it.
            guard let number = text.flatMap({ Int32($0) }), number > 1 else { return false }
            return kill(number, SIGTERM) == 0
        }
    }

    /// Whether a WAL receiver runs, and up to where WAL was received and flushed.
    public func receiverState(within time: Duration) async throws(PostgresError) -> (isRunning: Bool, received: LSN?) {
        let until = SystemClock.now() + time
        return try await onConnection(until: until) { connection throws(PostgresError) in
            let result = try await run(connection, Self.receiverStatement, until)
            return (result["pid"] != nil, result["received"].flatMap { LSN(text: $0) })
        }
    }

    /// Waits until no WAL receiver runs (after its upstream was taken away and the server reloaded): from then on
    /// nothing more is received. Up to where it was; nil when one still runs after the time.
    public func waitUntilDetached(within time: Duration) async throws(PostgresError) -> LSN? {
        let until = SystemClock.now() + time
        return try await onConnection(until: until) { connection throws(PostgresError) in
            while true {
                let result = try await run(connection, Self.receiverStatement, until)
                if result["pid"] == nil { return result["received"].flatMap { LSN(text: $0) } ?? .zero }
                if SystemClock.now() + .milliseconds(5) >= until { return nil }
                try await Postmaster.pause(.milliseconds(3))
            }
        }
    }

    private static let receiverStatement =
        "SELECT (SELECT pid FROM pg_stat_wal_receiver) AS pid, pg_last_wal_receive_lsn()::text AS received"

    /// Lets a paused replay go on.
    public func resumeReplay(within time: Duration) async throws(PostgresError) {
        let until = SystemClock.now() + time
        try await onConnection(until: until) { connection throws(PostgresError) in
            try await run(connection, "SELECT pg_wal_replay_resume()", until)
        }
    }

    /// The names of settings that wait for a restart.
    public func settingsPendingRestart(within time: Duration) async throws(PostgresError) -> [String] {
        let until = SystemClock.now() + time
        return try await onConnection(until: until) { connection throws(PostgresError) in
            try await run(connection, "SELECT name FROM pg_settings WHERE pending_restart ORDER BY name", until)
                .rows.compactMap { $0.first ?? nil }
        }
    }

    /// Switches to the next WAL segment; where the old one ended.
    @discardableResult
    public func switchWAL(within time: Duration) async throws(PostgresError) -> LSN? {
        let until = SystemClock.now() + time
        return try await onConnection(until: until) { connection throws(PostgresError) in
            try await run(connection, "SELECT pg_switch_wal()::text", until).value.flatMap { LSN(text: $0) }
        }
    }

    /// All replication slots.
    public func slots(within time: Duration) async throws(PostgresError) -> [Slot] {
        let until = SystemClock.now() + time
        return try await onConnection(until: until) { connection throws(PostgresError) in
            let result = try await run(
                connection,
                """
                SELECT slot_name, slot_type, active, temporary, restart_lsn::text, confirmed_flush_lsn::text,
                  xmin::text, database, plugin, wal_status FROM pg_replication_slots ORDER BY slot_name
                """, until)
            return result.rows.compactMap { row in
                guard row.count == 10, let name = row[0] else { return nil }
                var slot = Slot(
                    name: name, isPhysical: row[1] == "physical", isActive: row[2] == "t",
                    restartLSN: row[4].flatMap { LSN(text: $0) })
                slot.isTemporary = row[3] == "t"
                slot.confirmedFlushLSN = row[5].flatMap { LSN(text: $0) }
                slot.xmin = row[6]
                slot.database = row[7]
                slot.plugin = row[8]
                slot.walStatus = row[9]
                return slot
            }
        }
    }

    /// Creates a physical slot that reserves WAL at once; an existing one is left as it is. True: it is new.
    @discardableResult
    public func createPhysicalSlot(_ name: String, within time: Duration) async throws(PostgresError) -> Bool {
        let until = SystemClock.now() + time
        return try await onConnection(until: until) { connection throws(PostgresError) in
            try await connection.query(
                """
                SELECT pg_create_physical_replication_slot($1, true)
                WHERE NOT EXISTS (SELECT 1 FROM pg_replication_slots WHERE slot_name = $1)
                """, [name], within: until - SystemClock.now()
            ).value != nil
        }
    }

    /// Drops a slot; one in use is left alone and is an error. False: there is none of this name.
    @discardableResult
    public func dropSlot(_ name: String, within time: Duration) async throws(PostgresError) -> Bool {
        let until = SystemClock.now() + time
        return try await onConnection(until: until) { connection throws(PostgresError) in
            !(try await connection.query(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1", [name],
                within: until - SystemClock.now()
            ).rows.isEmpty)
        }
    }

    /// Moves an inactive physical slot forward.
    public func advanceSlot(_ name: String, to position: LSN, within time: Duration) async throws(PostgresError) {
        let until = SystemClock.now() + time
        try await onConnection(until: until) { connection throws(PostgresError) in
            _ = try await connection.query(
                """
                SELECT pg_replication_slot_advance(slot_name, $2::pg_lsn) FROM pg_replication_slots
                WHERE slot_name = $1 AND NOT active AND (restart_lsn IS NULL OR restart_lsn < $2::pg_lsn)
                """, [name, position.description], within: until - SystemClock.now())
        }
    }

    /// The connection string that `post_init` gets: key/value form, no password.
    public var superuserConnectionString: String {
        ConnectionTarget(
            endpoint: layout.endpoint(scope), database: layout.database, login: layout.superuser,
            applicationName: "Matriarch \(layout.memberName)"
        ).connectionString(passfile: nil)
    }

    /// Keeps role statements out of the server's log and away from synchronous standbys.
    private static let quietly = [
        "SET synchronous_commit TO local", "SET log_statement TO none", "SET log_min_duration_statement TO -1",
        "SET log_min_error_statement TO panic", "SET log_min_messages TO log", "SET statement_timeout TO 0",
        "SET log_min_duration_sample TO -1",
    ]

    @discardableResult
    private func onConnection<Value: Sendable>(
        until: Instant, timeout: Duration? = .seconds(30),
        _ body: (PostgresConnection) async throws(PostgresError) -> Value
    ) async throws(PostgresError) -> Value {
        let target = ConnectionTarget(local: layout, scope: scope, statementTimeout: timeout ?? .zero)
        let connection = try await PostgresConnection.connect(target, within: until - SystemClock.now())
        let result: Result<Value, PostgresError>
        do throws(PostgresError) {
            result = .success(try await body(connection))
        } catch {
            result = .failure(error)
        }
        await connection.close()
        return try result.get()
    }

    @discardableResult
    private func run(
        _ connection: PostgresConnection, _ statement: String, _ until: Instant
    ) async throws(PostgresError) -> QueryResult {
        try await connection.simpleQuery(statement, within: until - SystemClock.now())
    }
}
