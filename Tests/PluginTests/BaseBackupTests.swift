import ChildProcesses
import ConfigurationTree
import InitDBBootstrap
import PluginInterfaces
import Testing

@testable import BaseBackupReplica

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

@Suite(.timeLimit(.minutes(3)))
struct BaseBackupTests {
    @Test(
        "Progress lines are read whatever their language",
        arguments: [
            ("12345/67890 kB (18%), 0/1 tablespace", 12345, 67890),
            ("    0/22985 kB (0%), 0/1 tablespace (/data/base/1/1255         )", 0, 22985),
            ("22985/22985 kB (100%), 1/1 tablespace", 22985, 22985),
            ("22985/22985 kB (100%), 1/1 Tablespace", 22985, 22985),
            ("  512 kB, 0/1 tablespace", 512, nil),
            ("7/0 kB (100%), 0/1 tablespace", 7, nil),
        ] as [(String, UInt64, UInt64?)])
    func progress(_ line: String, _ done: UInt64, _ total: UInt64?) throws {
        let progress = try #require(BackupProgress(line))
        #expect(progress.doneBytes == done * 1024)
        #expect(progress.totalBytes == total.map { $0 * 1024 })
    }

    @Test(
        "Other lines are no progress",
        arguments: [
            "", "pg_basebackup: checkpoint completed",
            "pg_basebackup: write-ahead log start point: 0/2000028 on timeline 1",
            "12345", "12/x", "/", "99999999999999999999/1 kB (1%), 0/1 tablespace",
            "18446744073709551615/1 kB (1%), 0/1 tablespace",
        ])
    func noProgress(_ line: String) {
        #expect(BackupProgress(line) == nil)
    }

    private let member = Upstream(
        name: "pg2", host: "127.0.0.1", port: 5432, connectionString: "host=127.0.0.1 user=r", passfile: "/run/pass",
        isLeader: true)

    /// Runs the method with a script in the place of pg_basebackup.
    private func run(
        _ playground: Playground, _ body: String, _ options: Yaml? = nil, tries: Int = 2,
        log: Collected<String> = Collected(), progress: Collected<JobProgress> = Collected()
    ) async throws {
        let script = try playground.script("pg_basebackup", body)
        var method = try #require(
            try BaseBackupReplicaFactory().makeMethod(options?.node) as? BaseBackupReplica)
        method.tries = tries
        method.pause = .milliseconds(10)
        try await method.createReplica(
            playground.context(upstream: member, progress: progress, log: log, binary: { _ in script }))
    }

    @Test("The arguments are exactly these")
    func arguments() async throws {
        let playground = try Playground()
        let print =
            "for word; do printf '%s\\n' \"$word\"; done > '\(playground.path)/words'; echo $PGPASSFILE >> '\(playground.path)/words'"
        try await run(playground, print, ["max-rate", ["label": "a b"]])
        let start = """
            --pgdata=\(playground.path)/data
            -X
            stream
            --dbname=host=127.0.0.1 user=r
            --progress
            --verbose

            """
        #expect(playground.read("words") == start + "--checkpoint=fast\n--max-rate\n--label=a b\n/run/pass\n")
        try await run(playground, print, ["checkpoint": "spread"])
        #expect(playground.read("words") == start + "--checkpoint=spread\n/run/pass\n")
        await playground.remove()
    }

    @Test(
        "Options that are the agent's are left out, and told",
        arguments: [
            "pgdata", "format", "wal-method", "xlog-method", "gzip", "version", "dbname", "host", "port", "username",
            "password",
        ])
    func forbidden(_ name: String) async throws {
        let playground = try Playground()
        let pair = Yaml.map([(name, Yaml.plain("x"))])
        for yaml in [pair, Yaml.list([Yaml.plain(name), "no-slot"]), Yaml.list([pair, "no-slot"])] {
            let log = Collected<String>()
            try await run(playground, "echo \"$*\" > '\(playground.path)/words'", yaml, log: log)
            #expect(playground.read("words")?.contains("=x") == false)
            if case .list = yaml { #expect(playground.read("words")?.hasSuffix(" --no-slot\n") == true) }
            let told = log.all.first { $0.hasPrefix("warning option left out: test.yml:1:") }
            #expect(told?.contains("'\(name)' may not be given to pg_basebackup") == true)
        }
        await playground.remove()
    }

    @Test("Only compression by the server is taken")
    func compression() throws {
        for text in ["server", "server-gzip", "server-zstd:level=3"] {
            let yaml: Yaml = ["compress": .plain(text)]
            let method = try BaseBackupReplicaFactory().makeMethod(yaml.node) as? BaseBackupReplica
            #expect(method?.options.arguments == ["--compress=\(text)"])
            #expect(method?.leftOut == [])
        }
        for yaml in [["compress": "9"], [["compress": "client-gzip"]], ["compress"]] as [Yaml] {
            let method = try BaseBackupReplicaFactory().makeMethod(yaml.node) as? BaseBackupReplica
            #expect(method?.options.arguments == [])
            let text = method?.leftOut.first?.description
            #expect(text?.hasPrefix("test.yml:1:") == true)
            #expect(text?.contains("postgresql.basebackup.compress: only compression by the server") == true)
        }
    }

    @Test("A failed try is cleaned up and repeated once")
    func retry() async throws {
        let playground = try Playground()
        let body = """
            mkdir -p '\(playground.path)/data'
            if [ -e '\(playground.path)/tried' ]; then
                [ -z "$(ls -A '\(playground.path)/data')" ] || { echo 'not empty' >&2; exit 2; }
                touch '\(playground.path)/data/PG_VERSION'
                exit 0
            fi
            touch '\(playground.path)/tried'
            mkdir '\(playground.path)/data/base'
            touch '\(playground.path)/data/base/1' '\(playground.path)/data/.hidden'
            exit 1
            """
        let log = Collected<String>()
        try await run(playground, body, log: log)
        #expect(playground.exists("data/PG_VERSION"))
        #expect(log.all.contains { $0.hasPrefix("warning pg_basebackup from pg2 exited with status 1; next try in") })
        await playground.remove()
    }

    @Test("After the last try the failure has the last lines, without progress, and nothing is left behind")
    func failure() async throws {
        let playground = try Playground()
        let body = """
            echo x >> '\(playground.path)/tries'
            mkdir -p '\(playground.path)/data'
            touch '\(playground.path)/data/PG_VERSION'
            echo '1/100 kB (1%), 0/1 tablespace' >&2
            echo 'pg_basebackup: error: the connection broke' >&2
            exit 1
            """
        let progress = Collected<JobProgress>()
        let failure = await #expect(throws: PluginFailure.self) { try await run(playground, body, progress: progress) }
        #expect(
            failure?.description
                == "pg_basebackup from pg2 exited with status 1: pg_basebackup: error: the connection broke")
        #expect(playground.read("tries") == "x\nx\n")
        #expect(playground.exists("data") && !playground.exists("data/PG_VERSION"))
        #expect(
            progress.all.contains(JobProgress(step: "pg_basebackup from pg2", doneBytes: 1024, totalBytes: 102_400)))
        await playground.remove()
    }

    @Test("What was there before is not touched, nor is a missing program tried twice")
    func careful() async throws {
        let playground = try Playground()
        mkdir("\(playground.path)/data", 0o777)
        _ = try playground.write("data/precious", "x")
        await #expect(throws: PluginFailure.self) { try await run(playground, "exit 1") }
        #expect(playground.read("data/precious") == "x")
        let log = Collected<String>()
        let method = try BaseBackupReplicaFactory().makeMethod(nil)
        await #expect(throws: PluginFailure.self) {
            try await method.createReplica(
                playground.context(upstream: member, log: log, binary: { _ in "/nonexistent/program" }))
        }
        await #expect(throws: PluginFailure.self) { try await method.createReplica(playground.context()) }
        await playground.remove()
    }

    @Test("A fast copy's progress is logged once a second, and told each time")
    func throttled() async throws {
        let playground = try Playground()
        let body = "i=0; while [ $i -lt 500 ]; do i=$((i+1)); echo \"$i/500 kB ($((i/5))%), 0/1 tablespace\" >&2; done"
        let log = Collected<String>()
        let progress = Collected<JobProgress>()
        let clock = ContinuousClock()
        let start = clock.now
        try await run(playground, body, log: log, progress: progress)
        let seconds = Int((clock.now - start).components.seconds)
        #expect(progress.all.compactMap(\.doneBytes) == (1...500).map { $0 * 1024 })
        let logged = log.all.filter { $0.contains(" % (") }
        #expect(logged.count >= 1 && logged.count <= seconds + 1)
        await playground.remove()
    }

    // MARK: Against a real primary

    /// A primary on a free port, stopped by `stop()`.
    private struct Server {
        let playground: Playground
        let port: UInt16
        let passfile: String

        init(_ playground: Playground) async throws {
            self.playground = playground
            port = try Self.freePort()
            let options: Yaml = ["no-sync", ["auth-host": "scram-sha-256"], ["locale": "C"]]
            let password = try playground.write("password", "secret\n")
            try await InitDBBootstrapFactory().makeMethod(options.node)
                .createDataDirectory(playground.context(data: "primary", passwordFile: password))
            passfile = try playground.write("pass", "127.0.0.1:\(port):*:postgres:secret\n")
            let settings = "-p \(port) -k \(playground.path) -c listen_addresses=127.0.0.1 -c fsync=off"
            let end = await playground.run(
                PluginCommand(
                    "\(Playground.binaries)/pg_ctl",
                    [
                        "start", "-w", "-D", "\(playground.path)/primary", "-l", "\(playground.path)/primary.log", "-o",
                        settings,
                    ], deadline: .seconds(60)), nil)
            guard end.isSuccess else { throw Trouble("the primary \(end): \(playground.read("primary.log") ?? "")") }
        }

        func stop() async {
            _ = await playground.run(
                PluginCommand(
                    "\(Playground.binaries)/pg_ctl",
                    ["stop", "-w", "-m", "immediate", "-D", "\(playground.path)/primary"],
                    deadline: .seconds(60)), nil)
        }

        func upstream(passfile: String?) -> Upstream {
            Upstream(
                name: "pg0", host: "127.0.0.1", port: Int(port),
                connectionString: "host=127.0.0.1 port=\(port) user=postgres dbname=postgres connect_timeout=5",
                passfile: passfile, isLeader: true)
        }

        private static func freePort() throws -> UInt16 {
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            defer { close(descriptor) }
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let isBound = withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                    bind(descriptor, address, length) == 0 && getsockname(descriptor, address, &length) == 0
                }
            }
            guard isBound else { throw Trouble("no free port") }
            return UInt16(bigEndian: address.sin_port)
        }
    }

    @Test("A real primary is copied; a wrong password is told; a cancelled copy is gone at once")
    func real() async throws {
        let playground = try Playground()
        let server = try await Server(playground)

        let progress = Collected<JobProgress>()
        let log = Collected<String>()
        try await BaseBackupReplicaFactory().makeMethod((["no-sync"] as Yaml).node).createReplica(
            playground.context(
                data: "replica", upstream: server.upstream(passfile: server.passfile), progress: progress, log: log))
        #expect(playground.read("replica/PG_VERSION") == "15\n")
        #expect(playground.exists("replica/backup_label"))
        let last = try #require(progress.all.last { $0.doneBytes != nil })
        #expect(last.totalBytes.map { $0 > 10_000_000 } == true)
        #expect(last.doneBytes == last.totalBytes)
        #expect(log.all.contains { $0.contains("pg_basebackup: base backup completed") }, "\(log.all)")

        let wrong = try playground.write("wrong", "127.0.0.1:*:*:postgres:other\n")
        var method = try #require(try BaseBackupReplicaFactory().makeMethod(nil) as? BaseBackupReplica)
        method.pause = .milliseconds(10)
        let failure = await #expect(throws: PluginFailure.self) {
            try await method.createReplica(
                playground.context(data: "refused", upstream: server.upstream(passfile: wrong)))
        }
        let text = failure?.description ?? ""
        #expect(text.contains("password authentication failed"), "\(text)")
        #expect(!text.contains("secret") && !text.contains("other"))

        let slow = Collected<JobProgress>()
        let task = Task {
            try await BaseBackupReplicaFactory().makeMethod((["max-rate": "1M"] as Yaml).node).createReplica(
                playground.context(
                    data: "cancelled", upstream: server.upstream(passfile: server.passfile), progress: slow))
        }
        #expect(
            await eventually {
                playground.exists("cancelled/PG_VERSION") || playground.exists("cancelled/backup_label")
            })
        let clock = ContinuousClock()
        let start = clock.now
        task.cancel()
        let cancelled = await #expect(throws: PluginFailure.self) { try await task.value }
        #expect(clock.now - start < .seconds(10))
        #expect(cancelled?.description.contains("was cancelled") == true)
        #expect(!playground.exists("cancelled/PG_VERSION") && !playground.exists("cancelled/base"))

        await server.stop()
        await playground.remove()
    }
}
