import CSQLite

/// What SQLite said when something failed.
struct SQLiteFailure: Error {
    /// The extended code; the low byte is the primary one.
    var code: Int32
    var message: String

    var primary: Int32 { code & 0xFF }
    /// Another connection holds the lock that was needed; nothing happened.
    var isBusy: Bool { primary == SQLITE_BUSY || primary == SQLITE_LOCKED }
}

/// One value of a row or a parameter.
enum SQLiteValue {
    case null
    case integer(Int64)
    case text(String)
    case blob([UInt8])

    /// Revisions are unsigned in the model; SQLite's integers are not.
    static func unsigned(_ value: UInt64) -> SQLiteValue { .integer(Int64(clamping: value)) }

    var integer: Int64? {
        if case .integer(let value) = self { return value }
        return nil
    }

    var unsigned: UInt64? { integer.flatMap { UInt64(exactly: $0) } }

    var text: String? {
        if case .text(let value) = self { return value }
        return nil
    }

    /// The bytes of a blob or a text, which a person with a database shell may have put there.
    var bytes: [UInt8]? {
        switch self {
        case .blob(let value): value
        case .text(let value): Array(value.utf8)
        case .null, .integer: nil
        }
    }
}

/// One connection to a database file. Speaks C; used on its owner's queue only.
final class SQLiteConnection {
    private let handle: OpaquePointer
    private var statements: [String: OpaquePointer] = [:]

    /// Opens a file that exists.
    init(path: String) throws(SQLiteFailure) {
        var opened: OpaquePointer?
        // Without the library's own mutexes: the owner's queue is the lock.
        let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX
        let code = sqlite3_open_v2(path, &opened, flags, nil)
        guard let opened else { throw SQLiteFailure(code: SQLITE_NOMEM, message: "out of memory") }
        guard code == SQLITE_OK else {
            let failure = SQLiteFailure(
                code: sqlite3_extended_errcode(opened), message: String(cString: sqlite3_errmsg(opened)))
            sqlite3_close_v2(opened)
            throw failure
        }
        sqlite3_extended_result_codes(opened, 1)
        // Waiting is the caller's, who has a deadline and a queue to keep free.
        sqlite3_busy_timeout(opened, 0)
        handle = opened
    }

    deinit {
        for statement in statements.values { sqlite3_finalize(statement) }
        sqlite3_close_v2(handle)
    }

    /// Whether a transaction is open.
    var isInTransaction: Bool { sqlite3_get_autocommit(handle) == 0 }

    /// Runs a statement to its end; the number of rows it changed.
    @discardableResult
    func execute(_ sql: String, _ values: [SQLiteValue] = []) throws(SQLiteFailure) -> Int {
        _ = try rows(sql, values)
        return Int(sqlite3_changes(handle))
    }

    /// Runs a statement; its rows.
    func rows(_ sql: String, _ values: [SQLiteValue] = []) throws(SQLiteFailure) -> [[SQLiteValue]] {
        let statement = try prepared(sql)
        defer {
            sqlite3_reset(statement)
            sqlite3_clear_bindings(statement)
        }
        for (index, value) in values.enumerated() {
            try check(bind(value, at: Int32(index + 1), of: statement))
        }
        var result: [[SQLiteValue]] = []
        while true {
            let code = sqlite3_step(statement)
            switch code {
            case SQLITE_ROW:
                result.append((0..<sqlite3_column_count(statement)).map { column(statement, $0) })
            case SQLITE_DONE:
                return result
            default:
                throw failure(code)
            }
        }
    }

    /// Changes when another connection has committed something.
    func dataVersion() throws(SQLiteFailure) -> Int64 {
        try rows("PRAGMA data_version").first?.first?.integer ?? 0
    }

    /// Runs something that must not be kept prepared: SQLite carries some pragmas out while preparing them.
    func pragma(_ sql: String) throws(SQLiteFailure) {
        try check(sqlite3_exec(handle, sql, nil, nil, nil))
    }

    private func prepared(_ sql: String) throws(SQLiteFailure) -> OpaquePointer {
        if let statement = statements[sql] { return statement }
        var statement: OpaquePointer?
        try check(sqlite3_prepare_v2(handle, sql, -1, &statement, nil))
        guard let statement else { throw SQLiteFailure(code: SQLITE_MISUSE, message: "empty statement") }
        statements[sql] = statement
        return statement
    }

    private func bind(_ value: SQLiteValue, at index: Int32, of statement: OpaquePointer) -> Int32 {
        switch value {
        case .null:
            return sqlite3_bind_null(statement, index)
        case .integer(let value):
            return sqlite3_bind_int64(statement, index, value)
        case .text(let value):
            var value = value
            return value.withUTF8 { bytes in
                bytes.withMemoryRebound(to: CChar.self) {
                    // An empty text has no address, which SQLite would take for NULL.
                    $0.baseAddress.map { matriarch_bind_text(statement, index, $0, UInt64(bytes.count)) }
                        ?? matriarch_bind_text(statement, index, "", 0)
                }
            }
        case .blob(let value):
            if value.isEmpty { return sqlite3_bind_zeroblob(statement, index, 0) }
            return value.withUnsafeBytes { matriarch_bind_blob(statement, index, $0.baseAddress, UInt64($0.count)) }
        }
    }

    private func column(_ statement: OpaquePointer, _ index: Int32) -> SQLiteValue {
        switch sqlite3_column_type(statement, index) {
        case SQLITE_INTEGER:
            return .integer(sqlite3_column_int64(statement, index))
        case SQLITE_FLOAT:
            return .text(String(sqlite3_column_double(statement, index)))
        case SQLITE_TEXT:
            let start = sqlite3_column_text(statement, index)
            let bytes = UnsafeBufferPointer(start: start, count: Int(sqlite3_column_bytes(statement, index)))
            return .text(String(decoding: bytes, as: UTF8.self))
        case SQLITE_BLOB:
            let start = sqlite3_column_blob(statement, index)
            return .blob(
                Array(UnsafeRawBufferPointer(start: start, count: Int(sqlite3_column_bytes(statement, index)))))
        default:
            return .null
        }
    }

    private func check(_ code: Int32) throws(SQLiteFailure) {
        if code != SQLITE_OK { throw failure(code) }
    }

    private func failure(_ code: Int32) -> SQLiteFailure {
        SQLiteFailure(code: code, message: String(cString: sqlite3_errmsg(handle)))
    }
}
