import ClusterModel
import PluginInterfaces

/// One transaction on the store's tables. Lives on the engine's queue, between BEGIN and COMMIT.
struct EmbeddedTransaction {
    /// Which of our own sessions (and by which token) the transaction may act for.
    typealias Tokens = [SessionID: String]

    let connection: SQLiteConnection
    /// Prefix of the cluster's keys; several clusters may share one file.
    let root: String
    let bootID: String
    let tokens: Tokens
    /// Read after the lock was got: what expired while we waited for it is gone.
    let now: Instant
    /// The revision before this transaction.
    let revision: StoreRevision
    private(set) var hasChanges = false

    init(
        connection: SQLiteConnection, root: String, bootID: String, tokens: Tokens, now: Instant
    ) throws(SQLiteFailure) {
        self.connection = connection
        self.root = root
        self.bootID = bootID
        self.tokens = tokens
        self.now = now
        guard let row = try connection.rows("SELECT revision, era FROM meta").first, let number = row[0].unsigned,
            let era = row[1].integer
        else { throw SQLiteFailure(code: 11, message: "the table meta is empty or unreadable") }
        revision = StoreRevision(era: UInt32(clamping: era), number: number)
    }

    /// The revision that this transaction's changes get.
    var next: StoreRevision { StoreRevision(era: revision.era, number: revision.number + 1) }
    /// The revision that holds once this transaction is committed.
    var resulting: StoreRevision { hasChanges ? next : revision }

    // MARK: Sessions

    /// How many sessions are dead: expired, or of another boot (whose clock says nothing about this one's).
    func countDead() throws(SQLiteFailure) -> Int64 {
        try connection.rows(
            "SELECT count(*) FROM sessions WHERE boot_id <> ? OR expires <= ?",
            [.text(bootID), .integer(now.nanoseconds)]
        ).first?.first?.integer ?? 0
    }

    /// When the next session expires, as far as is known now.
    func nextExpiry() throws(SQLiteFailure) -> Instant? {
        try connection.rows("SELECT min(expires) FROM sessions WHERE boot_id = ?", [.text(bootID)])
            .first?.first?.integer.map { Instant(nanoseconds: $0) }
    }

    /// Removes the dead sessions and what hung on them.
    mutating func purge() throws(SQLiteFailure) {
        guard try countDead() > 0 else { return }
        try connection.execute(
            "DELETE FROM sessions WHERE boot_id <> ? OR expires <= ?", [.text(bootID), .integer(now.nanoseconds)])
        try removeOrphans()
    }

    /// Entries live exactly as long as the session they hang on.
    private mutating func removeOrphans() throws(SQLiteFailure) {
        let removed = try connection.execute(
            "DELETE FROM entries WHERE owner IS NOT NULL AND owner NOT IN (SELECT id FROM sessions)")
        if removed > 0 { hasChanges = true }
    }

    /// Whether the session lives and this instance is the one that has it.
    func isOurs(_ session: SessionID) throws(SQLiteFailure) -> Bool {
        guard let token = tokens[session] else { return false }
        return try storedToken(session) == token
    }

    func storedToken(_ session: SessionID) throws(SQLiteFailure) -> String? {
        try connection.rows("SELECT token FROM sessions WHERE id = ?", [.text(session.text)]).first?.first?.text
    }

    func putSession(
        _ session: SessionID, token: String, name: String, lifetime: Duration, expires: Instant
    ) throws(SQLiteFailure) {
        // An earlier instance's renewal may have promised more than ours: what was promised stands.
        try connection.execute(
            """
            INSERT INTO sessions (id, boot_id, expires, lifetime, name, token) VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (id) DO UPDATE SET expires = max(expires, excluded.expires), lifetime = excluded.lifetime,
                name = excluded.name, token = excluded.token
            """,
            [
                .text(session.text), .text(bootID), .integer(expires.nanoseconds), .integer(lifetime.milliseconds),
                .text(name), .text(token),
            ])
    }

    /// Moves the expiry, never back; the expiry that is stored then.
    func extend(_ session: SessionID, to expires: Instant) throws(SQLiteFailure) -> Instant? {
        try connection.execute(
            "UPDATE sessions SET expires = max(expires, ?) WHERE id = ?",
            [.integer(expires.nanoseconds), .text(session.text)])
        return try connection.rows("SELECT expires FROM sessions WHERE id = ?", [.text(session.text)])
            .first?.first?.integer.map { Instant(nanoseconds: $0) }
    }

    mutating func removeSession(_ session: SessionID) throws(SQLiteFailure) {
        try connection.execute("DELETE FROM sessions WHERE id = ?", [.text(session.text)])
        try removeOrphans()
    }

    // MARK: Entries

    private static let columns = "SELECT key, value, created, version, owner FROM entries"

    func entry(_ key: StoreKey) throws(SQLiteFailure) -> StoreEntry? {
        try connection.rows(Self.columns + " WHERE key = ?", [.text(root + key)]).first.flatMap(decode)
    }

    func entries(_ selection: KeySelection) throws(SQLiteFailure) -> [StoreEntry] {
        switch selection {
        case .all:
            // `0` is the character after `/`, with which the root ends.
            let end = root.dropLast() + "0"
            return try connection.rows(
                Self.columns + " WHERE key >= ? AND key < ? ORDER BY key", [.text(root), .text(String(end))]
            ).compactMap(decode)
        case .keys(let keys):
            var result: [StoreEntry] = []
            for key in keys {
                if let entry = try entry(key) { result.append(entry) }
            }
            return result
        }
    }

    /// A row; nil for one that no writer of ours can have put there.
    private func decode(_ row: [SQLiteValue]) -> StoreEntry? {
        guard let key = row[0].text, key.utf8.count > root.utf8.count, let value = row[1].bytes,
            let created = row[2].unsigned, let version = row[3].unsigned
        else { return nil }
        return StoreEntry(
            key: String(key.utf8.dropFirst(root.utf8.count)) ?? "", value: value,
            version: EntryVersion(created: created, number: version), created: created,
            owner: row[4].text.map { SessionID($0) })
    }

    /// The first compare that does not hold.
    func failing(_ compares: [StoreCompare]) throws(SQLiteFailure) -> StoreCompare? {
        for compare in compares {
            let holds: Bool
            switch compare {
            case .absent(let key): holds = try entry(key) == nil
            case .version(let key, let version): holds = try entry(key)?.version == version
            case .value(let key, let value): holds = try entry(key)?.value == value
            case .owner(let key, let session):
                // A session of ours that another instance has taken over is ours no more, whatever its number.
                let isOtherInstances = tokens[session] != nil ? try !isOurs(session) : false
                let owner = try entry(key)?.owner
                holds = !isOtherInstances && owner == session
            }
            if !holds { return compare }
        }
        return nil
    }

    /// Makes the writes if all compares hold, or none of them; then the compare that did not hold.
    mutating func apply(_ compares: [StoreCompare], _ writes: [StoreWrite]) throws(SQLiteFailure) -> StoreCompare? {
        if let refusal = try failing(compares) { return refusal }
        // The expired sessions stay removed when the writes are undone.
        let hadChanges = hasChanges
        try connection.execute("SAVEPOINT writes")
        for write in writes {
            guard let refusal = try apply(write) else { continue }
            try connection.execute("ROLLBACK TO writes")
            try connection.execute("RELEASE writes")
            hasChanges = hadChanges
            return refusal
        }
        try connection.execute("RELEASE writes")
        return nil
    }

    private mutating func apply(_ write: StoreWrite) throws(SQLiteFailure) -> StoreCompare? {
        switch write {
        case .create(let key, let value, let lifetime):
            guard try entry(key) == nil else { return .absent(key) }
            return try put(key, value, lifetime)
        case .put(let key, let value, let lifetime):
            return try put(key, value, lifetime)
        case .delete(let key):
            if try connection.execute("DELETE FROM entries WHERE key = ?", [.text(root + key)]) > 0 {
                hasChanges = true
            }
            return nil
        }
    }

    private mutating func put(
        _ key: StoreKey, _ value: [UInt8], _ lifetime: StoreLifetime
    ) throws(SQLiteFailure) -> StoreCompare? {
        var owner = SQLiteValue.null
        if case .session(let session) = lifetime {
            guard try isOurs(session) else { return .owner(key, session) }
            owner = .text(session.text)
        }
        let number = SQLiteValue.unsigned(next.number)
        try connection.execute(
            """
            INSERT INTO entries (key, value, created, version, modified, owner) VALUES (?, ?, ?, 1, ?, ?)
            ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = version + 1,
                modified = excluded.modified, owner = excluded.owner
            """,
            [.text(root + key), .blob(value), number, number, owner])
        hasChanges = true
        return nil
    }

    /// The versions of the entries written, for the answer to a commit.
    func versions(after writes: [StoreWrite]) throws(SQLiteFailure) -> [StoreKey: EntryVersion] {
        var result: [StoreKey: EntryVersion] = [:]
        for write in writes {
            switch write {
            case .create(let key, _, _), .put(let key, _, _): result[key] = try entry(key)?.version
            case .delete(let key): result[key] = nil
            }
        }
        return result
    }

    /// Written at the end of a transaction that changed entries.
    func writeRevision() throws(SQLiteFailure) {
        try connection.execute("UPDATE meta SET revision = ?", [.unsigned(resulting.number)])
    }
}
