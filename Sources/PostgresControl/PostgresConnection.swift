import CLibPQ
import ClusterModel
import Dispatch
import Glibc
import PluginInterfaces

/// One connection to a PostgreSQL server through libpq.
///
/// Lives on an executor where waiting for the socket is allowed, by default a queue of its own. Every wait has a deadline, and ends at once
/// when the calling task is cancelled. A connection that broke or timed out is closed and stays so.
public actor PostgresConnection {
    private let executor: any SerialExecutor
    private let target: ConnectionTarget
    private let waker: Waker
    // Touched on this actor's queue alone; libpq's own locks are not needed.
    private var handle: OpaquePointer?

    public nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

    private init(_ target: ConnectionTarget, _ executor: (any SerialExecutor)?) {
        self.target = target
        self.waker = Waker()
        self.executor = executor ?? QueueExecutor(label: "matriarch.postgres.connection")
    }

    isolated deinit {
        if let handle { PQfinish(handle) }
    }

    /// Connects and authenticates within the time given.
    public static func connect(
        _ target: ConnectionTarget, on executor: (any SerialExecutor)? = nil, within time: Duration
    ) async throws(PostgresError) -> PostgresConnection {
        let until = SystemClock.now() + time
        let addresses = try await HostResolver.addresses(of: target.endpoint.host, until: until)
        let connection = PostgresConnection(target, executor)
        do throws(PostgresError) {
            try await connection.cancellable { connection throws(PostgresError) in
                try connection.open(addresses, until: until)
            }
        } catch {
            guard error.kind == .unreachable || error.kind == .notAuthorized else { throw error }
            // libpq gives no SQLSTATE for a refused connection and the text is in the server's language: the first
            // message of the protocol tells the three cases apart.
            var judged = error
            switch await ReadinessProbe.ask(target.endpoint, user: target.login.user, within: until - SystemClock.now())
            {
            case .accepting: judged.kind = .notAuthorized
            case .rejecting: judged.kind = .notAccepting
            case .noResponse: break
            }
            throw judged
        }
        return connection
    }

    /// Whether the connection can still be used.
    public var isOpen: Bool { handle.map { PQstatus($0) == CONNECTION_OK } ?? false }

    /// The server's version as a number: 150020.
    public var serverVersion: Int { handle.map { Int(PQserverVersion($0)) } ?? 0 }

    /// A parameter that the server reports by itself (`in_hot_standby` from version 14).
    public func reported(_ name: String) -> String? {
        guard let handle, let text = PQparameterStatus(handle, name) else { return nil }
        return String(cString: text)
    }

    /// Runs one statement with parameters given apart, as texts.
    public func query(
        _ statement: String, _ parameters: [String?] = [], within time: Duration
    ) async throws(PostgresError) -> QueryResult {
        let until = SystemClock.now() + time
        return try await cancellable { connection throws(PostgresError) in
            try connection.exchange(statement, until: until) { handle in
                withCStrings(parameters) { values in
                    PQsendQueryParams(handle, statement, Int32(parameters.count), nil, values, nil, nil, 0)
                }
            }
        }
    }

    /// Runs statements by the simple protocol, as replication commands need it. The last result is returned.
    public func simpleQuery(_ statement: String, within time: Duration) async throws(PostgresError) -> QueryResult {
        let until = SystemClock.now() + time
        return try await cancellable { connection throws(PostgresError) in
            try connection.exchange(statement, until: until) { PQsendQuery($0, statement) }
        }
    }

    /// The verifier that the server may store instead of the password itself, so that the password never travels.
    func encrypted(_ password: Password, user: String, algorithm: String) -> String? {
        guard let handle, let text = PQencryptPasswordConn(handle, password.reveal(), user, algorithm) else {
            return nil
        }
        defer { PQfreemem(text) }
        return String(cString: text)
    }

    public func close() {
        if let handle { PQfinish(handle) }
        handle = nil
    }

    // MARK: - On the connection's own queue

    private func cancellable<Value: Sendable>(
        _ work: @Sendable (isolated PostgresConnection) throws(PostgresError) -> Value
    ) async throws(PostgresError) -> Value {
        let result: Result<Value, PostgresError> = await withTaskCancellationHandler {
            do throws(PostgresError) {
                return .success(try await onQueue(work))
            } catch {
                return .failure(error)
            }
        } onCancel: {
            waker.wake()
        }
        return try result.get()
    }

    private func onQueue<Value: Sendable>(
        _ work: @Sendable (isolated PostgresConnection) throws(PostgresError) -> Value
    ) async throws(PostgresError) -> Value {
        if Task.isCancelled { throw PostgresError(.cancelled, "\(place): cancelled") }
        return try work(self)
    }

    private func open(_ addresses: String?, until: Instant) throws(PostgresError) {
        let pairs = target.keywords(hostAddresses: addresses)
        let started = withCStrings(pairs.map { Optional($0.0) }, terminated: true) { keywords in
            withCStrings(pairs.map { Optional($0.1) }, terminated: true) { values in
                PQconnectStartParams(keywords, values, 0)
            }
        }
        guard let started else { throw PostgresError(.unreachable, "\(place): out of memory") }
        guard PQstatus(started) != CONNECTION_BAD else {
            let error = connectionFailure(started)
            PQfinish(started)
            throw error
        }
        // Notices (a superuser's settings, a collation's version) are nobody's business here.
        PQsetNoticeProcessor(started, { _, _ in }, nil)
        var wanted = Int16(POLLOUT)
        while true {
            switch wait(PQsocket(started), for: wanted, until: until) {
            case .ready: break
            case .timedOut:
                PQfinish(started)
                throw PostgresError(.timedOut, "\(place): no connection in time")
            case .cancelled:
                PQfinish(started)
                throw PostgresError(.cancelled, "\(place): cancelled")
            }
            switch PQconnectPoll(started) {
            case PGRES_POLLING_READING: wanted = Int16(POLLIN)
            case PGRES_POLLING_WRITING: wanted = Int16(POLLOUT)
            case PGRES_POLLING_OK:
                PQsetnonblocking(started, 1)
                handle = started
                return
            default:
                let error = connectionFailure(started)
                PQfinish(started)
                throw error
            }
        }
    }

    private func exchange(
        _ statement: String, until: Instant, send: (OpaquePointer) -> Int32
    ) throws(PostgresError) -> QueryResult {
        guard let handle, PQstatus(handle) == CONNECTION_OK else {
            close()
            throw PostgresError(.connectionLost, "\(place): the connection is closed")
        }
        guard send(handle) == 1 else {
            let text = lastMessage(handle)
            close()
            throw PostgresError(.connectionLost, "\(place): \(text)")
        }
        var isFlushed = false
        var last = QueryResult()
        var failure: PostgresError?
        while true {
            while !isFlushed {
                let left = PQflush(handle)
                if left == 0 { isFlushed = true }
                if left < 0 { throw lost(handle) }
                if left > 0 { try ready(handle, Int16(POLLIN | POLLOUT), until) }
            }
            while PQisBusy(handle) == 1 { try ready(handle, Int16(POLLIN), until) }
            guard let result = PQgetResult(handle) else { break }
            defer { PQclear(result) }
            switch PQresultStatus(result) {
            case PGRES_TUPLES_OK, PGRES_COMMAND_OK, PGRES_EMPTY_QUERY: last = read(result)
            case PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH:
                close()
                throw PostgresError(.malformed, "\(place): the server began a copy")
            default:
                failure = statementFailure(result)
            }
        }
        if let failure {
            if PQstatus(handle) != CONNECTION_OK { close() }
            throw failure
        }
        return last
    }

    /// Waits until the socket can be used and takes in what has come.
    private func ready(_ handle: OpaquePointer, _ events: Int16, _ until: Instant) throws(PostgresError) {
        switch wait(PQsocket(handle), for: events, until: until) {
        case .ready:
            if PQconsumeInput(handle) != 1 { throw lost(handle) }
        case .timedOut:
            cancelAndDrain(handle)
            throw PostgresError(.timedOut, "\(place): no answer in time")
        case .cancelled:
            cancelAndDrain(handle)
            throw PostgresError(.cancelled, "\(place): cancelled")
        }
    }

    /// Asks the server to end the statement and waits a little for that; a connection that is not free then is closed.
    private func cancelAndDrain(_ handle: OpaquePointer) {
        guard let canceller = PQgetCancel(handle) else { return close() }
        // PQcancel connects anew and waits for the server, without any deadline: it gets a thread of its own, which
        // owns the canceller from here on.
        let token = CancelToken(pointer: canceller)
        DispatchQueue(label: "matriarch.postgres.cancel").async {
            var buffer = [CChar](repeating: 0, count: 256)
            _ = PQcancel(token.pointer, &buffer, Int32(buffer.count))
            PQfreeCancel(token.pointer)
        }
        let until = SystemClock.now() + .milliseconds(200)
        while true {
            while PQisBusy(handle) == 1 {
                var poller = pollfd(fd: PQsocket(handle), events: Int16(POLLIN), revents: 0)
                let left = (until - SystemClock.now()).milliseconds
                guard left > 0, poll(&poller, 1, Int32(left)) > 0, PQconsumeInput(handle) == 1 else { return close() }
            }
            guard let result = PQgetResult(handle) else { return }
            PQclear(result)
        }
    }

    private enum Readiness { case ready, timedOut, cancelled }

    private func wait(_ socket: Int32, for events: Int16, until: Instant) -> Readiness {
        while true {
            let left = (until - SystemClock.now()).nanosecondsClamped
            guard left > 0 else { return .timedOut }
            var pollers = [
                pollfd(fd: socket, events: events, revents: 0),
                pollfd(fd: waker.descriptor, events: Int16(POLLIN), revents: 0),
            ]
            let count = poll(&pollers, 2, Int32(clamping: (left + 999_999) / 1_000_000))
            if count < 0, errno != EINTR { return .ready }
            if pollers[1].revents != 0 {
                waker.rest()
                if Task.isCancelled { return .cancelled }
            }
            if count > 0, pollers[0].revents != 0 { return .ready }
        }
    }

    private func read(_ result: OpaquePointer) -> QueryResult {
        let width = PQnfields(result)
        let columns = (0..<width).map { PQfname(result, $0).map { String(cString: $0) } ?? "" }
        let rows = (0..<PQntuples(result)).map { row in
            (0..<width).map { column -> String? in
                guard PQgetisnull(result, row, column) == 0, let text = PQgetvalue(result, row, column) else {
                    return nil
                }
                return String(cString: text)
            }
        }
        return QueryResult(columns: columns, rows: rows)
    }

    // MARK: - Errors, which never hold a password

    private nonisolated var place: String {
        let host = target.endpoint.host ?? "the default socket"
        return "PostgreSQL at \(host)\(host.hasPrefix("/") ? "/.s.PGSQL." : ":")\(target.endpoint.port)"
    }

    private func lost(_ handle: OpaquePointer) -> PostgresError {
        let text = lastMessage(handle)
        close()
        return PostgresError(.connectionLost, "\(place): \(text)")
    }

    private func connectionFailure(_ handle: OpaquePointer) -> PostgresError {
        let text = lastMessage(handle)
        let kind: PostgresError.Kind
        if PQconnectionNeedsPassword(handle) == 1 || PQconnectionUsedPassword(handle) == 1 && text.contains("FATAL") {
            kind = text.contains("database system is") ? .notAccepting : .notAuthorized
        } else if text.contains("database system is") || text.contains("recovery") {
            kind = .notAccepting
        } else if text.contains("FATAL") {
            kind = .notAuthorized
        } else {
            kind = .unreachable
        }
        return PostgresError(kind, "\(place): \(text)")
    }

    private func statementFailure(_ result: OpaquePointer) -> PostgresError {
        // PG_DIAG_SQLSTATE and PG_DIAG_MESSAGE_PRIMARY: macros over characters, which are not imported.
        let state = PQresultErrorField(result, Int32(UInt8(ascii: "C"))).map { String(cString: $0) }
        let text =
            PQresultErrorField(result, Int32(UInt8(ascii: "M"))).map { String(cString: $0) }
            ?? String(cString: PQresultErrorMessage(result)).trimmed.description
        let kind: PostgresError.Kind
        switch state {
        case "57014": kind = .timedOut
        case "57P01", "57P02", "57P03", "08006", "08003", nil: kind = .connectionLost
        case "42501", "28000", "28P01": kind = .notAuthorized
        default: kind = .statementFailed
        }
        return PostgresError(kind, "\(place): \(text)", sqlState: state)
    }

    private func lastMessage(_ handle: OpaquePointer) -> String {
        let text = String(cString: PQerrorMessage(handle)).trimmed
        return text.isEmpty ? "the connection broke" : text.replacingLineEnds
    }
}

/// The canceller of one statement; owned by one thread at a time.
private struct CancelToken: @unchecked Sendable {
    // Handed to exactly one queue, which uses and frees it; nobody else keeps it.
    let pointer: OpaquePointer
}

/// Wakes a thread that waits in `poll`.
private final class Waker: Sendable {
    let descriptor: Int32
    private let writing: Int32

    init() {
        var ends: [Int32] = [-1, -1]
        // Without descriptors left there is no waking; `poll` passes over -1 and the deadlines still hold.
        if pipe(&ends) == 0 {
            for end in ends {
                _ = fcntl(end, F_SETFD, FD_CLOEXEC)
                _ = fcntl(end, F_SETFL, O_NONBLOCK)
            }
        }
        descriptor = ends[0]
        writing = ends[1]
    }

    func wake() {
        var one: UInt8 = 1
        _ = write(writing, &one, 1)
    }

    func rest() {
        var bytes = [UInt8](repeating: 0, count: 64)
        while read(descriptor, &bytes, bytes.count) == bytes.count {}
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
        if writing >= 0 { close(writing) }
    }
}

/// Calls with C strings that live as long as the call; nil stays nil.
private func withCStrings<Value>(
    _ texts: [String?], terminated: Bool = false, _ body: (UnsafePointer<UnsafePointer<CChar>?>?) -> Value
) -> Value {
    let copies: [UnsafeMutablePointer<CChar>?] = texts.map { $0.flatMap { strdup($0) } }
    defer { copies.forEach { free($0) } }
    var pointers: [UnsafePointer<CChar>?] = copies.map { $0.map { UnsafePointer($0) } }
    if terminated { pointers.append(nil) }
    return pointers.withUnsafeBufferPointer { body($0.baseAddress) }
}

extension StringProtocol {
    /// In one line.
    var replacingLineEnds: String {
        String(map { $0 == "\n" || $0 == "\r\n" || $0 == "\t" ? " " : $0 })
    }
}
