public import ClusterModel
public import Logging
import PluginInterfaces

/// Looks at the running server: one connection kept open, one query for everything.
///
/// It shares its executor with the connection, so that a look is one piece of work on one thread.
public actor PostgresMonitor {
    private nonisolated let executor: any SerialExecutor
    public nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    private var layout: PostgresLayout
    private var scope: ListeningScope
    private let logger: Logger
    private var connection: PostgresConnection?
    private var target: ConnectionTarget?
    /// The last answer and what it was read as: an idle server gives the same again and again.
    private var last: (answer: QueryResult, version: Int, sample: PostgresSample)?
    /// The furthest timeline that this run of the server was seen on.
    private var furthest: (start: String, timeline: Timeline)?

    /// - Parameter executor: where it waits for the server; nil: on a Dispatch queue of its own.
    public init(
        layout: PostgresLayout, scope: ListeningScope = .configured, executor: (any SerialExecutor)? = nil,
        logger: Logger
    ) {
        self.executor = executor ?? QueueExecutor(label: "matriarch.postgres.monitor")
        self.layout = layout
        self.scope = scope
        self.logger = logger
    }

    /// Takes over a new configuration, or another way to reach the server; reconnects when that differs.
    public func use(_ layout: PostgresLayout, scope: ListeningScope) {
        self.layout = layout
        self.scope = scope
        // What waits for a restart is judged by the layout.
        last = nil
    }

    /// Closes the connection: before a start, after an exit.
    public func disconnect() async {
        let old = connection
        connection = nil
        await old?.close()
    }

    /// Whether the local server takes connections, without logging in.
    public func readiness(within time: Duration) async -> Readiness {
        await ReadinessProbe.ask(layout.endpoint(scope), user: layout.superuser.user, within: time)
    }

    /// One look at the server, connecting first if need be.
    ///
    /// A connection that broke since the last look is made anew once. A server that is asked while it changes its role
    /// may refuse the query; it is asked again.
    public func sample(within time: Duration) async -> Result<PostgresSample, PostgresError> {
        let until = SystemClock.now() + time
        var failure = PostgresError(.timedOut, "no time was left to look at PostgreSQL")
        for _ in 0..<3 {
            let now = SystemClock.now()
            guard now < until else { break }
            do throws(PostgresError) {
                let (connection, isFresh) = try await connected(until: until)
                let version = await connection.serverVersion
                let takenAt = SystemClock.now()
                do throws(PostgresError) {
                    let result = try await connection.query(
                        Self.statement, [Self.arrayText(layout.controlledParameters.map(\.name))],
                        within: until - takenAt)
                    if var sample = last?.sample, last?.version == version, last?.answer == result {
                        sample.takenAt = takenAt
                        return .success(sample)
                    }
                    var sample = try Self.read(result, takenAt: takenAt, serverVersion: version)
                    sample.pendingRestart = pendingRestart(sample.pendingRestart, result["controlled"])
                    keepTimeline(&sample)
                    self.last = (result, version, sample)
                    return .success(sample)
                } catch {
                    failure = error
                    if await !connection.isOpen { await disconnect() }
                    // 55000: it left or entered recovery between two functions of one query.
                    if error.sqlState == "55000" { continue }
                    if error.kind == .connectionLost, !isFresh { continue }
                    return .failure(error)
                }
            } catch {
                return .failure(error)
            }
        }
        return .failure(failure)
    }

    private func connected(until: Instant) async throws(PostgresError) -> (PostgresConnection, isFresh: Bool) {
        let wanted = ConnectionTarget(local: layout, scope: scope, statementTimeout: .seconds(2))
        if let connection, target == wanted, await connection.isOpen { return (connection, false) }
        await disconnect()
        let made = try await PostgresConnection.connect(
            wanted, on: executor, within: until - SystemClock.now())
        connection = made
        target = wanted
        return (made, true)
    }

    /// A standby whose receiver has ended knows its timeline from its control file only, and that lags until the next
    /// restart point: just when the leader is gone it would look older than it is. No server goes back while it runs.
    private func keepTimeline(_ sample: inout PostgresSample) {
        if let furthest, furthest.start == sample.postmasterStartTime, furthest.timeline > sample.timeline {
            sample.timeline = furthest.timeline
        } else {
            furthest = (sample.postmasterStartTime, sample.timeline)
        }
    }

    /// Settings that wait for a restart: what the server says, and controlled ones whose running value differs from
    /// the configured one (the command line hides those from the server).
    private func pendingRestart(_ reported: JSONObject?, _ running: String?) -> JSONObject? {
        var pending = reported ?? JSONObject()
        if let running, let values = (try? JSONValue.parse(running))?.object {
            for setting in layout.controlledParameters where !setting.name.hasPrefix("wal_keep_") {
                guard let value = values[setting.name]?.string, !SettingText.same(value, setting.value) else {
                    continue
                }
                pending[setting.name] = .object(["old_value": .string(value), "new_value": .string(setting.value)])
            }
        }
        return pending.members.isEmpty ? nil : pending
    }

    static func arrayText(_ names: [String]) -> String {
        "{" + names.filter { $0.allSatisfy { $0.isLetter || $0.isNumber || $0 == "_" } }.joined(separator: ",") + "}"
    }

    /// Works on PostgreSQL 13 to 18. What exists only on one side of recovery is asked only there.
    static let statement = """
        WITH here AS (SELECT pg_is_in_recovery() AS recovering)
        SELECT recovering,
          to_char(pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || '+00:00' AS started,
          (SELECT system_identifier FROM pg_control_system())::text AS system,
          CASE WHEN NOT recovering THEN pg_current_wal_flush_lsn()::text END AS written,
          CASE WHEN recovering THEN pg_last_wal_receive_lsn()::text END AS received,
          CASE WHEN recovering THEN pg_last_wal_replay_lsn()::text END AS replayed,
          CASE WHEN recovering THEN to_char(pg_last_xact_replay_timestamp() AT TIME ZONE 'UTC',
            'YYYY-MM-DD HH24:MI:SS.US') || '+00:00' END AS replay_time,
          CASE WHEN recovering THEN pg_is_wal_replay_paused() END AS paused,
          CASE WHEN NOT recovering THEN substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END AS own_timeline,
          (SELECT timeline_id FROM pg_control_checkpoint()) AS checkpoint_timeline,
          CASE WHEN recovering THEN (SELECT min_recovery_end_timeline FROM pg_control_recovery()) END
            AS recovery_timeline,
          CASE WHEN recovering THEN (SELECT json_build_object('status', r.status, 'timeline', r.received_tli, 'host',
            r.sender_host, 'port', r.sender_port, 'slot', r.slot_name, 'end', r.latest_end_lsn, 'written',
            r.written_lsn, 'flushed', r.flushed_lsn) FROM pg_stat_wal_receiver r) END AS receiver,
          (SELECT json_agg(json_build_object('application', s.application_name, 'user', s.usename, 'address',
            host(s.client_addr), 'state', s.state, 'sync', s.sync_state, 'priority', s.sync_priority, 'sent', s.sent_lsn,
            'flushed', s.flush_lsn, 'replayed', s.replay_lsn)) FROM pg_stat_replication s) AS senders,
          CASE WHEN recovering THEN current_setting('restore_command', true) END AS restore_command,
          (SELECT json_object_agg(s.name, json_build_object('old_value', current_setting(s.name, true), 'new_value',
            coalesce((SELECT f.setting FROM pg_file_settings f WHERE f.name = s.name ORDER BY f.seqno DESC LIMIT 1), '?')))
            FROM pg_settings s WHERE s.pending_restart) AS pending,
          (SELECT json_object_agg(n, current_setting(n, true)) FROM unnest($1::text[]) AS n) AS controlled
        FROM here
        """

    /// Reads the one row.
    static func read(
        _ result: QueryResult, takenAt: Instant, serverVersion: Int
    ) throws(PostgresError) -> PostgresSample {
        guard let recovering = result["recovering"] else {
            throw PostgresError(.malformed, "PostgreSQL answered the monitoring query without a row")
        }
        func lsn(_ column: String) -> LSN? { result[column].flatMap { LSN(text: $0) } }
        func json(_ column: String) -> JSONValue? { result[column].flatMap { try? JSONValue.parse($0) } }
        var sample = PostgresSample(
            takenAt: takenAt, isInRecovery: recovering == "t", serverVersion: serverVersion, timeline: Timeline(0))
        sample.postmasterStartTime = result["started"] ?? ""
        sample.systemIdentifier = result["system"]
        sample.writeLSN = lsn("written")
        sample.replayLSN = lsn("replayed")
        sample.replayTimestamp = result["replay_time"]
        sample.isReplayPaused = result["paused"] == "t"
        sample.hasRestoreCommand = !(result["restore_command"] ?? "").isEmpty
        sample.pendingRestart = json("pending")?.object
        if sample.isInRecovery { sample.receiveLSN = lsn("received") }
        if let receiver = json("receiver")?.object {
            func position(_ key: String) -> LSN? { receiver[key]?.string.flatMap { LSN(text: $0) } }
            let timeline = receiver["timeline"]?.integer.flatMap { UInt32(exactly: $0) } ?? 0
            sample.receiver = PostgresSample.Receiver(
                status: receiver["status"]?.string ?? "", receivedTimeline: Timeline(timeline),
                host: receiver["host"]?.string, port: receiver["port"]?.integer.map { Int($0) },
                slotName: receiver["slot"]?.string, latestEndLSN: position("end"))
            sample.receiveLSN = [sample.receiveLSN, position("written"), position("flushed")].compactMap { $0 }.max()
        }
        sample.timeline = timeline(result, sample)
        sample.senders = (json("senders")?.array ?? []).compactMap { row in
            guard let row = row.object else { return nil }
            func position(_ key: String) -> LSN? { row[key]?.string.flatMap { LSN(text: $0) } }
            return PostgresSample.Sender(
                applicationName: row["application"]?.string ?? "", user: row["user"]?.string ?? "",
                clientAddress: row["address"]?.string, state: row["state"]?.string ?? "",
                syncState: row["sync"]?.string ?? "", syncPriority: Int(row["priority"]?.integer ?? 0),
                sentLSN: position("sent"), flushLSN: position("flushed"), replayLSN: position("replayed"))
        }
        return sample
    }

    /// A primary's from its WAL's name; a standby's from its receiver, else the furthest that its control file knows.
    private static func timeline(_ result: QueryResult, _ sample: PostgresSample) -> Timeline {
        if let own = result["own_timeline"].flatMap({ UInt32($0, radix: 16) }) { return Timeline(own) }
        if let receiver = sample.receiver, receiver.receivedTimeline.number > 0 { return receiver.receivedTimeline }
        let known = ["checkpoint_timeline", "recovery_timeline"].compactMap { result[$0].flatMap { UInt32($0) } }
        return Timeline(known.max() ?? 0)
    }
}
