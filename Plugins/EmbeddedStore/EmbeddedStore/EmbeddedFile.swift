import CSQLite
import ClusterModel
import Glibc
import PluginInterfaces

/// The store's file: where it is, how it is made, and whether it is still the one that was opened.
struct EmbeddedFile: Sendable {
    /// Names one file on this host, however it is called.
    struct Identity: Hashable, Sendable {
        var device: UInt64
        var inode: UInt64
    }

    /// `ATRM` as a number: tells our databases from others' (`PRAGMA application_id`).
    static let applicationID: Int64 = 0x4154_524D
    static let format: Int64 = 1

    var path: String
    /// SQLite's log beside the file. Its timestamp is touched after each change, which wakes the other processes.
    var logPath: String { path + "-wal" }

    /// The file at the path now; nil when there is none.
    var identity: Identity? {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        return Identity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
    }

    /// Whether others than the owner can read the file, which holds what resumes a session.
    var isOpenToOthers: Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & 0o077 != 0
    }

    /// Tells the other processes that something changed; they look each second anyway, so failing is harmless.
    func touchLog() {
        _ = utimensat(AT_FDCWD, logPath, nil, 0)
    }

    /// Makes the directory (0700, the last part of its path only) and an empty file (0600) if they are not there.
    func create() throws(StoreError) {
        let directory = String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
        if !directory.isEmpty, mkdir(directory, 0o700) != 0, errno != EEXIST {
            throw StoreError(
                errno == EACCES ? .notAuthorized : .unreachable,
                "cannot make the directory \(directory) for the embedded store: \(Self.reason(errno))")
        }
        // Without opening it: closing any descriptor of the file would drop SQLite's locks of this whole process.
        if mknod(path, S_IFREG | 0o600, 0) != 0, errno != EEXIST {
            throw StoreError(
                errno == EACCES ? .notAuthorized : .unreachable, "cannot make \(path): \(Self.reason(errno))")
        }
        try refuseNetwork()
    }

    /// The write-ahead log needs memory shared by all processes, and so one host.
    private func refuseNetwork() throws(StoreError) {
        var status = statfs()
        guard statfs(path, &status) == 0 else { return }
        let names: [Int64: String] = [
            0x6969: "NFS", 0xFF53_4D42: "CIFS", 0xFE53_4D42: "SMB", 0x0102_1997: "9p", 0x00C3_6400: "Ceph",
            0x0BD0_0BD0: "Lustre", 0x0116_1970: "GFS2", 0x7461_636F: "OCFS2", 0x5346_414F: "AFS",
        ]
        guard let name = names[Int64(status.f_type) & 0xFFFF_FFFF] else { return }
        throw StoreError(
            .misconfigured,
            "\(path) lies on a network file system (\(name)); the embedded store is for the processes of one host "
                + "and needs a local disk. For several hosts use a store such as ZooKeeper")
    }

    /// Opens the file, which exists, and makes the tables if they are not there.
    func open() throws(SQLiteFailure) -> SQLiteConnection {
        let connection = try SQLiteConnection(path: path)
        let mode = try connection.rows("PRAGMA journal_mode = WAL").first?.first?.text
        guard mode == "wal" else {
            throw SQLiteFailure(code: SQLITE_CANTOPEN, message: "the file system does not support a write-ahead log")
        }
        try connection.pragma("PRAGMA synchronous = FULL")
        try connection.pragma("PRAGMA trusted_schema = OFF")
        if try Self.marks(connection) == (Self.applicationID, Self.format) { return connection }
        try connection.execute("BEGIN IMMEDIATE")
        do {
            try Self.makeTables(connection)
            try connection.execute("COMMIT")
        } catch {
            if connection.isInTransaction { _ = try? connection.execute("ROLLBACK") }
            throw error
        }
        return connection
    }

    private static func marks(_ connection: SQLiteConnection) throws(SQLiteFailure) -> (Int64, Int64) {
        let application = try connection.rows("PRAGMA application_id").first?.first?.integer
        let format = try connection.rows("PRAGMA user_version").first?.first?.integer
        return (application ?? 0, format ?? 0)
    }

    private static func makeTables(_ connection: SQLiteConnection) throws(SQLiteFailure) {
        // Looked at again under the lock: another process may have been here first.
        let (application, format) = try marks(connection)
        if application == applicationID {
            guard format == Self.format else {
                throw SQLiteFailure(
                    code: SQLITE_SCHEMA,
                    message: "it was written by another version of Matriarch (format \(format), not \(Self.format))")
            }
            return
        }
        let others = try connection.rows("SELECT count(*) FROM sqlite_schema").first?.first?.integer
        guard application == 0, others == 0 else {
            throw SQLiteFailure(code: SQLITE_SCHEMA, message: "it is the database of another program")
        }
        try connection.execute(
            """
            CREATE TABLE entries (
                key TEXT PRIMARY KEY, value BLOB NOT NULL, created INTEGER NOT NULL, version INTEGER NOT NULL,
                modified INTEGER NOT NULL, owner TEXT) WITHOUT ROWID
            """)
        try connection.execute(
            """
            CREATE TABLE sessions (
                id TEXT PRIMARY KEY, boot_id TEXT NOT NULL, expires INTEGER NOT NULL, lifetime INTEGER NOT NULL,
                name TEXT NOT NULL, token TEXT NOT NULL) WITHOUT ROWID
            """)
        try connection.execute(
            "CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL, era INTEGER NOT NULL)"
        )
        // A file made anew must not repeat the fences of the one before it: revisions begin at the wall clock.
        try connection.execute(
            "INSERT INTO meta (id, revision, era) VALUES (1, ?, 0)", [.integer(SystemClock.wallTime().seconds)])
        try connection.pragma("PRAGMA application_id = \(applicationID)")
        try connection.pragma("PRAGMA user_version = \(Self.format)")
    }

    /// What a failure means for the caller, with the remedy.
    func explain(_ failure: SQLiteFailure, while what: String) -> StoreError {
        let said = "\(what): \(path): \(failure.message)"
        switch failure.primary {
        case SQLITE_CORRUPT, SQLITE_NOTADB:
            return StoreError(
                .malformed,
                "\(said): the file is damaged or no database. Stop every member that uses it, move it away together "
                    + "with \(path)-wal and \(path)-shm, and start the members again; they rebuild the entries")
        case SQLITE_SCHEMA:
            return StoreError(.misconfigured, "\(said). Name another file in embedded.path")
        case SQLITE_PERM, SQLITE_READONLY, SQLITE_AUTH:
            return StoreError(
                .notAuthorized, "\(said): this account must be able to write the file and its directory")
        case SQLITE_CANTOPEN:
            let isDenied = access(path, R_OK | W_OK) != 0 && errno == EACCES
            return StoreError(
                isDenied ? .notAuthorized : .unreachable,
                "\(said): this account must be able to write the file and its directory")
        case SQLITE_FULL:
            return StoreError(.unreachable, "\(said): free some space on its file system")
        case SQLITE_TOOBIG:
            return StoreError(.tooLarge, said)
        default:
            return StoreError(.unreachable, "\(said) (SQLite \(failure.code))")
        }
    }

    static func reason(_ code: Int32) -> String { String(cString: strerror(code)) }
}
