import ClusterModel
import Glibc
import PluginInterfaces
import StoreConformance
import Testing

@testable import EmbeddedStore

/// What happens to the file, and to the processes that share it.
@Suite struct EmbeddedFailures {
    private func client(_ name: String, _ store: any CoordinationStore, lifetime: Duration = .seconds(4)) async throws
        -> StoreClient
    {
        let request = SessionRequest(lifetime: lifetime, name: name)
        return StoreClient(
            name: name, store: store, session: try await store.openSession(request, within: StoreClient.limit))
    }

    @Test func expiryIsNoticedAtItsInstant() async throws {
        try await withTemporaryDirectory { directory in
            let path = directory + "/store.db"
            // A poll that comes too late to help: the timer must do it.
            let watcherStore = openEmbedded(path, pollInterval: .seconds(60))
            let log = SignalLog(watcherStore)
            let watcher = try await client("pg2", watcherStore, lifetime: .seconds(30))
            let one = try await client("pg1", openEmbedded(path, pollInterval: .seconds(60)))
            #expect(await one.acquireLeader().isCommitted)
            let (_, promised) = try await one.proveLease(holding: true)
            #expect(try await watcher.read()["leader"] != nil)
            await one.vanish()
            let count = log.count
            let noticed = try #require(await log.first(after: count, within: .seconds(20)) { $0.isNews })
            #expect(noticed >= promised)
            // An idle machine shows a millisecond; what is asserted is that nobody waited for a poll.
            #expect(noticed - promised < .seconds(3), "\(noticed - promised) late")
            await watcher.close()
        }
    }

    @Test func lifetimesHaveAFloor() async throws {
        try await withTemporaryDirectory { directory in
            let one = try await client("pg1", openEmbedded(directory + "/store.db"), lifetime: .milliseconds(10))
            #expect(one.session.granted == .seconds(1))
            #expect(one.session.renewalInterval == .milliseconds(250))
            await one.close()
        }
    }

    @Test func anotherBootEndsAllSessions() async throws {
        try await withTemporaryDirectory { directory in
            let path = directory + "/store.db"
            let one = try await client("pg1", openEmbedded(path, bootID: "boot-1"), lifetime: .seconds(3600))
            #expect(await one.acquireLeader().isCommitted)
            #expect(await one.commit(.put("config", bytes("{}"), .permanent)).isCommitted)
            let saved = try #require(one.session.resumption)
            await one.vanish()
            let store = openEmbedded(path, bootID: "boot-2")
            let two = StoreClient(
                name: "pg1", store: store,
                session: try await store.openSession(
                    SessionRequest(lifetime: .seconds(4), name: "pg1", resume: saved), within: StoreClient.limit))
            #expect(!two.session.isResumed)
            #expect(try await two.read()["leader"] == nil)
            #expect(try await two.read().text("config") == "{}")
            await two.close()
        }
    }

    @Test func aTakenOverSessionIsGoneForTheOldInstance() async throws {
        try await withTemporaryDirectory { directory in
            let path = directory + "/store.db"
            let old = try await client("pg1", openEmbedded(path))
            #expect(await old.acquireLeader().isCommitted)
            let log = SignalLog(old.store)
            let store = openEmbedded(path)
            let new = StoreClient(
                name: "pg1", store: store,
                session: try await store.openSession(
                    SessionRequest(lifetime: .seconds(4), name: "pg1", resume: old.session.resumption),
                    within: StoreClient.limit))
            #expect(new.session.isResumed)
            #expect(await old.session.renew(holding: true, within: StoreClient.limit).isGone)
            let ours: [StoreCompare] = [.owner("leader", old.session.id)]
            #expect(await old.commit(if: ours, .put("status", bytes("{}"), .permanent)).isRefused)
            #expect(await old.commit(.put("members/pg1", [], .session(old.session.id))).isRefused)
            #expect(await old.session.releaseLeader(within: StoreClient.limit).isRefused)
            #expect(await log.first(after: 0, within: .seconds(5)) { $0 == .sessionLost } != nil)
            // Its end does not end the successor's.
            await old.close()
            _ = try await new.proveLease(holding: true)
            #expect(await new.commit(if: ours, .put("status", bytes("{}"), .permanent)).isCommitted)
            await new.close()
        }
    }

    @Test func clustersInOneFileDoNotMeet() async throws {
        try await withTemporaryDirectory { directory in
            let path = directory + "/store.db"
            let one = try await client("pg1", openEmbedded(path, root: "/service/a/"))
            let two = try await client("pg1", openEmbedded(path, root: "/service/ab/"))
            #expect(await one.acquireLeader().isCommitted)
            #expect(await two.acquireLeader().isCommitted)
            #expect(try await one.read().entries.count == 1)
            await one.close()
            #expect(try await two.read().entries.count == 1)
            await two.close()
        }
    }

    @Test func filesAreForTheirOwnerOnly() async throws {
        try await withTemporaryDirectory { directory in
            let path = directory + "/new/store.db"
            let one = try await client("pg1", openEmbedded(path))
            for (name, mode) in [("/new", 0o700), ("/new/store.db", 0o600), ("/new/store.db-wal", 0o600)] {
                var status = stat()
                #expect(stat(directory + name, &status) == 0)
                #expect(status.st_mode & 0o777 == mode, "\(name)")
            }
            await one.close()
            for name in ["store.db", "store.db-wal", "store.db-shm"] { unlink(directory + "/new/" + name) }
            rmdir(directory + "/new")
        }
    }

    @Test func aDirectoryThatIsNotThere() async throws {
        try await withTemporaryDirectory { directory in
            let store = openEmbedded(directory + "/a/b/store.db")
            let error = await #expect(throws: StoreError.self) {
                try await store.read(.all, .linearizable, within: .seconds(2))
            }
            #expect(error?.code == .unreachable)
            #expect(error?.message.contains(directory + "/a/b") == true)
            let log = SignalLog(store)
            #expect(
                await log.first(after: 0, within: .seconds(2)) {
                    if case .disconnected = $0 { true } else { false }
                } != nil)
            // It comes back without anybody's help.
            #expect(mkdir(directory + "/a", 0o700) == 0)
            #expect(await log.first(after: 0, within: .seconds(5)) { $0 == .connected } != nil)
            _ = try await store.read(.all, .linearizable, within: .seconds(2))
            await store.close()
            for name in ["store.db", "store.db-wal", "store.db-shm"] { unlink(directory + "/a/b/" + name) }
            rmdir(directory + "/a/b")
            rmdir(directory + "/a")
        }
    }

    @Test func aDamagedFileNamesItsRemedy() async throws {
        try await withTemporaryDirectory { directory in
            let path = directory + "/store.db"
            try write(
                Array("this is a text of more than a hundred bytes ".utf8) + [UInt8](repeating: 65, count: 5000),
                to: path)
            let store = openEmbedded(path)
            let error = await #expect(throws: StoreError.self) {
                try await store.read(.all, .linearizable, within: .seconds(2))
            }
            #expect(error?.code == .malformed)
            #expect(error?.message.contains("move it away together with \(path)-wal") == true)
            guard
                case .notSent = await store.commit(
                    StoreTransaction(id: TransactionID(nextNumber()), compares: [], writes: []), within: .seconds(2))
            else { throw CaseFailure("something was committed") }
            await store.close()
        }
    }

    @Test func anotherProgramsDatabaseIsLeftAlone() async throws {
        try await withTemporaryDirectory { directory in
            let path = directory + "/store.db"
            try write([], to: path)
            let foreign = try SQLiteConnection(path: path)
            try foreign.execute("CREATE TABLE recipes (name TEXT)")
            let store = openEmbedded(path)
            let error = await #expect(throws: StoreError.self) {
                try await store.read(.all, .linearizable, within: .seconds(2))
            }
            #expect(error?.code == .misconfigured)
            #expect(error?.message.contains("another program") == true)
            #expect(try foreign.rows("SELECT name FROM sqlite_schema").count == 1)
            await store.close()
        }
    }

    @Test func aReplacedFileIsNoStore() async throws {
        try await withTemporaryDirectory { directory in
            let path = directory + "/store.db"
            let one = try await client("pg1", openEmbedded(path, pollInterval: .milliseconds(100)))
            let log = SignalLog(one.store)
            #expect(await one.acquireLeader().isCommitted)
            let fence = try #require(try await one.read()["leader"]?.created)
            for name in ["", "-wal", "-shm"] { unlink(path + name) }
            guard case .unknown(let error) = await one.session.renew(holding: true, within: .seconds(2)) else {
                throw CaseFailure("renewed in a file that is not there")
            }
            #expect(error.code == .unreachable)
            #expect(
                await log.first(after: 0, within: .seconds(2)) {
                    if case .disconnected = $0 { true } else { false }
                } != nil)
            // A second process makes the file anew. The first must not take that one for its own.
            let other = try await client("pg2", openEmbedded(path))
            #expect(await other.acquireLeader().isCommitted)
            #expect(try #require(try await other.read()["leader"]?.created) >= fence)
            #expect(!(await one.session.renew(holding: true, within: .seconds(2))).isProven)
            await #expect(throws: StoreError.self) { try await one.read() }
            await other.close()
            await one.close()
        }
    }

    @Test func aLockedStoreEndsCallsAtTheirDeadline() async throws {
        try await withTemporaryDirectory { directory in
            let path = directory + "/store.db"
            let one = try await client("pg1", openEmbedded(path))
            #expect(await one.commit(.put("config", bytes("a"), .permanent)).isCommitted)
            let stuck = try SQLiteConnection(path: path)
            try stuck.execute("BEGIN IMMEDIATE")
            let before = SystemClock.now()
            let outcome = await one.store.commit(
                StoreTransaction(
                    id: TransactionID(nextNumber()), compares: [], writes: [.put("config", bytes("b"), .permanent)]),
                within: .milliseconds(300))
            let took = SystemClock.now() - before
            guard case .notSent(let error) = outcome else { throw CaseFailure("\(outcome)") }
            #expect(error.code == .timedOut)
            #expect(took >= .milliseconds(290) && took < .seconds(2), "\(took)")
            // Readers are not held up.
            #expect(try await one.read().text("config") == "a")
            // A waiting call goes on as soon as the lock is free.
            async let waiting = one.commit(.put("config", bytes("c"), .permanent))
            try stuck.execute("ROLLBACK")
            #expect(await waiting.isCommitted)
            #expect(try await one.read().text("config") == "c")
            await one.close()
        }
    }

    @Test func aProcessKilledInATransactionLeavesNoLock() async throws {
        try await withTemporaryDirectory { directory in
            let path = directory + "/store.db"
            let one = try await client("pg1", openEmbedded(path), lifetime: .seconds(60))
            #expect(await one.acquireLeader().isCommitted)
            // Another process, with everything rewritten and not committed.
            let script =
                "(echo \"BEGIN IMMEDIATE; UPDATE meta SET era = 7; UPDATE entries SET value = 'torn';\"; "
                + "exec sleep 60) | exec sqlite3 -cmd '.timeout 5000' \"$1\""
            for _ in 0..<3 {
                let child = try ChildGroup("/bin/sh", ["-c", script, "writer", path])
                let isLocked = await eventually(within: .seconds(20)) {
                    let outcome = await one.session.renew(holding: true, within: .milliseconds(50))
                    if case .unknown(let error) = outcome { return error.code == .timedOut }
                    return false
                }
                #expect(isLocked, "the other process never got the lock; is the program sqlite3 installed?")
                child.kill()
                _ = try await one.proveLease(holding: true)
                let snapshot = try await one.read()
                #expect(snapshot.text("leader") == "pg1")
                #expect(snapshot.revision.era == 0)
            }
            await one.close()
        }
    }

    @Test func aProcessKilledAnywhereLeavesWholeTransactions() async throws {
        try await withTemporaryDirectory { directory in
            let path = directory + "/store.db"
            let one = try await client("pg1", openEmbedded(path), lifetime: .seconds(60))
            #expect(await one.acquireLeader().isCommitted)
            let value = bytes("0")
            #expect(await one.commit(.put("config", value, .permanent), .put("sync", value, .permanent)).isCommitted)
            // Killed while it commits one transaction after the other, at whatever point that happens to be.
            let script =
                "n=0; while :; do n=$((n + 1)); echo \"BEGIN IMMEDIATE; UPDATE entries SET value = '$n' WHERE owner IS NULL; "
                + "UPDATE meta SET revision = revision + 1; COMMIT;\"; done | sqlite3 -cmd '.timeout 5000' \"$1\""
            for _ in 0..<5 {
                let before = try await one.read().revision
                let child = try ChildGroup("/bin/sh", ["-c", script, "writer", path])
                let isWriting = try await eventually(within: .seconds(20)) {
                    let snapshot = try await one.read()
                    #expect(snapshot.text("config") == snapshot.text("sync"))
                    return snapshot.revision.number > before.number + 3
                }
                #expect(isWriting, "the other process never wrote; is the program sqlite3 installed?")
                child.kill()
                let snapshot = try await one.read()
                #expect(snapshot.text("config") == snapshot.text("sync"))
                #expect(await one.commit(.put("status", bytes("{}"), .permanent)).isCommitted)
                _ = try await one.proveLease(holding: true)
            }
            await one.close()
        }
    }

    private func write(_ content: [UInt8], to path: String) throws {
        let descriptor = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw CaseFailure("cannot write \(path)") }
        defer { Glibc.close(descriptor) }
        guard Glibc.write(descriptor, content, content.count) == content.count else {
            throw CaseFailure("cannot write \(path)")
        }
    }
}

/// A child process in a group of its own, to be killed as a whole.
struct ChildGroup {
    private let process: pid_t

    init(_ program: String, _ arguments: [String]) throws {
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))
        posix_spawnattr_setpgroup(&attributes, 0)
        var argv: [UnsafeMutablePointer<CChar>?] = ([program] + arguments).map { strdup($0) } + [nil]
        defer { for argument in argv { free(argument) } }
        var process: pid_t = 0
        let code = posix_spawn(&process, program, nil, &attributes, &argv, environ)
        guard code == 0 else { throw CaseFailure("cannot start \(program): \(String(cString: strerror(code)))") }
        self.process = process
    }

    /// SIGKILL to all of it, at once.
    func kill() {
        Glibc.kill(-process, SIGKILL)
        var status: Int32 = 0
        while waitpid(process, &status, 0) < 0, errno == EINTR {}
    }
}
