import ClusterModel
import PluginInterfaces

/// A session of the embedded store: a row whose expiry on CLOCK_BOOTTIME is the lease.
///
/// E of the safety rules is the expiry in that row. A renewal sets it to s + T, where s was read before the renewal
/// began; nobody removes the row before, for everybody compares it with the same clock.
struct EmbeddedSession: StoreSession {
    let id: SessionID
    let granted: Duration
    let isResumed: Bool
    /// Nothing but renewals keeps the row alive.
    let needsIdleRenewal = true
    /// Told by each later instance anew: whoever knows the row's token has the session.
    let token: String
    let engine: EmbeddedEngine

    static let shortestLifetime = Duration.seconds(1)
    private static let closeLimit = Duration.seconds(2)

    var renewalInterval: Duration { granted / 4 }
    var resumption: [UInt8]? { Array("\(Self.resumptionMark) \(id.text) \(token)".utf8) }

    private static let resumptionMark = "embedded1"

    /// Session and token of an earlier instance; nil for anything else.
    static func parseResumption(_ bytes: [UInt8]) -> (id: SessionID, token: String)? {
        let parts = String(decoding: bytes, as: UTF8.self).split(separator: " ", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0] == resumptionMark, !parts[1].isEmpty, !parts[2].isEmpty else { return nil }
        return (SessionID(String(parts[1])), String(parts[2]))
    }

    static func open(
        _ request: SessionRequest, within limit: Duration, on engine: EmbeddedEngine
    ) async throws(StoreError) -> EmbeddedSession {
        let granted = max(request.lifetime, shortestLifetime)
        let expires = SystemClock.now() + granted
        let earlier = request.resume.flatMap(parseResumption)
        let new = (id: SessionID(randomText(words: 1)), token: randomText(words: 2))
        let answer = await engine.perform("opening a session", within: limit) {
            (engine) throws(EmbeddedFailure) -> (SessionID, Bool) in
            let opened = try engine.write("opening a session", durable: false) {
                (transaction) throws(SQLiteFailure) -> (SessionID, Bool) in
                var (id, isResumed) = (new.id, false)
                if let earlier, try transaction.storedToken(earlier.id) == earlier.token {
                    (id, isResumed) = (earlier.id, true)
                }
                try transaction.putSession(
                    id, token: new.token, name: request.name, lifetime: granted, expires: expires)
                return (id, isResumed)
            }
            engine.keep(opened.0, token: new.token)
            return opened
        }
        switch answer {
        case .done(let (id, isResumed)):
            return EmbeddedSession(id: id, granted: granted, isResumed: isResumed, token: new.token, engine: engine)
        case .notSent(let error), .unknown(let error):
            // A session that was made all the same has no entries and ends by itself.
            throw error
        }
    }

    private static func randomText(words: Int) -> String {
        (0..<words).map { _ in
            let digits = String(UInt64.random(in: 0 ... .max), radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }.joined()
    }

    private enum Renewal: Sendable {
        case extended(to: Instant)
        case gone(String)
    }

    func renew(holding: Bool, within limit: Duration) async -> RenewOutcome {
        let sent = SystemClock.now()
        let answer = await engine.perform("renewing the session", within: limit) {
            (engine) throws(EmbeddedFailure) -> Renewal in
            try engine.write("renewing the session", durable: false) {
                (transaction) throws(SQLiteFailure) -> Renewal in
                guard let stored = try transaction.storedToken(id) else { return .gone("the session has expired") }
                guard stored == token else { return .gone("another instance has taken over the session") }
                if holding, try transaction.entry(leaderKey)?.owner != id {
                    return .gone("the leader entry is not ours any more")
                }
                guard let expires = try transaction.extend(id, to: sent + granted) else {
                    return .gone("the session has expired")
                }
                return .extended(to: expires)
            }
        }
        switch answer {
        case .done(.extended(let expires)):
            // A later renewal may have promised more than this one; what this one proves is its own.
            return .proven(sent: sent, notExpiredBefore: min(expires, sent + granted))
        case .done(.gone(let why)):
            return .gone(why)
        case .notSent(let error), .unknown(let error):
            return .unknown(error)
        }
    }

    func resolve(_ id: TransactionID, _ keys: KeySelection, within limit: Duration) async throws(StoreError)
        -> StoreSnapshot
    {
        let requestedAt = SystemClock.now()
        let answer = await engine.perform("resolving a transaction", within: limit) {
            (engine) throws(EmbeddedFailure) -> StoreSnapshot in
            // The queue is serial, so an earlier attempt of ours has ended. One that failed in its COMMIT may still lie
            // in the log; a write of our own takes its place there, after which it can never count.
            try engine.write("resolving a transaction", durable: true) {
                (transaction) throws(SQLiteFailure) -> StoreSnapshot in
                try transaction.writeRevision()
                return StoreSnapshot(
                    revision: transaction.resulting, entries: try transaction.entries(keys), isCut: true,
                    requestedAt: requestedAt)
            }
        }
        switch answer {
        case .done(let snapshot): return snapshot
        case .notSent(let error), .unknown(let error): throw error
        }
    }

    func releaseLeader(within limit: Duration) async -> CommitOutcome {
        let answer = await engine.perform("releasing the leader entry", within: limit) {
            (engine) throws(EmbeddedFailure) -> CommitOutcome in
            try engine.write("releasing the leader entry", durable: true) {
                (transaction) throws(SQLiteFailure) -> CommitOutcome in
                let ours = StoreCompare.owner(leaderKey, id)
                guard try transaction.storedToken(id) == token else { return .refused(ours) }
                if let refusal = try transaction.apply([ours], [.delete(leaderKey)]) { return .refused(refusal) }
                return .committed(transaction.resulting, [:])
            }
        }
        return answer.outcome
    }

    func close(abandon: Bool) async {
        // Whatever comes of it: when the row cannot be removed now, it expires.
        _ = await engine.perform("closing the session", within: Self.closeLimit) {
            (engine) throws(EmbeddedFailure) -> Void in
            engine.forget(id)
            if abandon { return }
            try engine.write("closing the session", durable: true) { (transaction) throws(SQLiteFailure) -> Void in
                if try transaction.storedToken(id) == token { try transaction.removeSession(id) }
            }
        }
    }
}

/// The entry that the lease is about.
private let leaderKey: StoreKey = "leader"

extension EmbeddedAnswer where Value == CommitOutcome {
    var outcome: CommitOutcome {
        switch self {
        case .done(let outcome): outcome
        case .notSent(let error): .notSent(error)
        case .unknown(let error): .unknown(error)
        }
    }
}
