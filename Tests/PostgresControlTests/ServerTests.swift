import ClusterModel
import Foundation
import Logging
import PluginInterfaces
import Testing

@testable import PostgresControl

/// Against a real PostgreSQL 15.
@Suite(.serialized, .enabled(if: TestServer.isAvailable), .timeLimit(.minutes(5)))
struct ServerTests {
    @Test func aServerIsInitializedStartedSampledAndStopped() async throws {
        try await withServers(["a"]) { servers in
            let server = servers[0]
            #expect(try DataDirectory(server.layout.dataDirectory).state() == .absent)
            try await server.initialize()
            #expect(try DataDirectory(server.layout.dataDirectory).state() == .initialized(majorVersion: 15))
            #expect(server.postmaster.running() == nil)
            #expect(await server.monitor.readiness(within: .seconds(2)) == .noResponse)

            let process = try await server.start(.primary)
            #expect(server.postmaster.running() == process)
            #expect(await server.monitor.readiness(within: .seconds(2)) == .accepting)

            let monitor = server.monitor
            let sample = try await monitor.sample(within: .seconds(2)).get()
            #expect(!sample.isInRecovery)
            #expect(sample.timeline == Timeline(1))
            #expect(sample.serverVersion / 10000 == 15)
            #expect((sample.writeLSN ?? .zero) > .zero)
            #expect(sample.pendingRestart == nil)
            #expect(sample.receiver == nil && sample.senders.isEmpty)
            #expect(WallTime.parse(sample.postmasterStartTime) != nil)
            let control = try #require(try ControlFile.read(dataDirectory: server.layout.dataDirectory))
            #expect(control.data.systemIdentifier == sample.systemIdentifier)
            #expect(control.data.state == .inProduction)
            #expect(control.data.walLogHints)
            #expect(control.data.settings["max_connections"] == 30)

            // A setting that needs a restart, and a controlled one: both are told.
            var layout = server.layout
            layout.parameters.append(ServerSetting("max_files_per_process", "500"))
            layout.controlledParameters[2].value = "40"
            let outcome = try await PostgresConfigurationFiles(layout: layout, catalog: nil).write(.primary)
            #expect(outcome.changed == ["postgresql.conf"])
            try await server.postmaster.reload(process)
            await monitor.use(layout, scope: .configured)
            var pending: JSONObject?
            for _ in 0..<200 where pending?["max_files_per_process"] == nil {
                pending = try await monitor.sample(within: .seconds(2)).get().pendingRestart
                try await Task.sleep(for: .milliseconds(10))
            }
            #expect(pending?["max_files_per_process"]?["new_value"]?.string == "500")
            #expect(pending?["max_connections"] == .object(["old_value": "30", "new_value": "40"]))
            #expect(
                try await server.operations.settingsPendingRestart(within: .seconds(2)).contains(
                    "max_files_per_process"))

            // Another start on the same data is refused.
            await #expect(throws: PostgresError.self) { try await server.postmaster.start(asStandby: false) }

            #expect(
                try await server.postmaster.stopFast(process, within: .seconds(20), lingering: .seconds(1))
                    == .stopped(by: .fast))
            #expect(try ControlFile.read(dataDirectory: server.layout.dataDirectory)?.data.state == .shutDown)
            #expect(server.postmaster.running() == nil)
            #expect(try await server.postmaster.stopFast(process, within: .seconds(1)) == .wasStopped)
            await monitor.disconnect()
        }
    }

    @Test func rolesAreCreatedWithoutTellingTheServerTheirPasswords() async throws {
        try await withServers(["a"]) { servers in
            let server = servers[0]
            try await server.initialize()
            var layout = server.layout
            layout.parameters.append(ServerSetting("log_statement", "all"))
            _ = try await PostgresConfigurationFiles(layout: layout, catalog: nil).prepareStart(as: .primary)
            let process = try await server.postmaster.start(asStandby: false)
            #expect(try await server.postmaster.waitUntilAccepting(process, within: .seconds(30)) == .accepting)
            try await server.operations.createRoles(within: .seconds(10))
            // Again: nothing changes and nothing fails.
            try await server.operations.createRoles(within: .seconds(10))
            #expect(
                try await server.sql(
                    "SELECT string_agg(rolname || ':' || rolreplication || ':' || rolsuper, ',' ORDER BY rolname) FROM pg_roles WHERE rolcanlogin"
                ) == "postgres:true:true,replicator:true:false,rewinder:false:false")
            for login in [server.layout.replication, server.layout.rewindLogin] {
                let connection = try await PostgresConnection.connect(
                    ConnectionTarget(endpoint: server.endpoint, login: login, applicationName: "test"),
                    within: .seconds(5))
                #expect(try await connection.query("SELECT current_user", within: .seconds(2)).value == login.user)
                await connection.close()
            }
            #expect(
                try await server.sql(
                    "SELECT has_function_privilege('rewinder', 'pg_read_binary_file(text)', 'execute')") == "t")
            #expect(!server.log.contains("secret"))
            #expect(!server.log.contains("SCRAM"))
            try await server.operations.checkpoint(within: .seconds(20))

            let wrong = ConnectionTarget(
                endpoint: server.endpoint, login: RoleLogin(user: "replicator", password: Password("no such secret")),
                applicationName: "test")
            let refused = await #expect(throws: PostgresError.self) {
                _ = try await PostgresConnection.connect(wrong, within: .seconds(5))
            }
            #expect(refused?.kind == .notAuthorized)
            #expect(refused?.description.contains("no such secret") == false)
        }
    }

    @Test func slotsAreCreatedListedAdvancedAndDropped() async throws {
        try await withServers(["a"]) { servers in
            let server = servers[0]
            try await server.initialize()
            try await server.start(.primary)
            let operations = server.operations
            #expect(try await operations.createPhysicalSlot("b", within: .seconds(5)))
            #expect(try await !operations.createPhysicalSlot("b", within: .seconds(5)))
            let slot = try #require(try await operations.slots(within: .seconds(5)).first)
            #expect(slot.name == "b" && slot.isPhysical && !slot.isActive)
            let reserved = try #require(slot.restartLSN)
            _ = try await server.sql("CREATE TABLE public.t AS SELECT generate_series(1, 1000)")
            let position = try #require(try await server.monitor.sample(within: .seconds(5)).get().writeLSN)
            try await operations.advanceSlot("b", to: position, within: .seconds(5))
            #expect(try #require(try await operations.slots(within: .seconds(5)).first?.restartLSN) > reserved)
            #expect(try await operations.dropSlot("b", within: .seconds(5)))
            #expect(try await !operations.dropSlot("b", within: .seconds(5)))
            #expect(try await operations.slots(within: .seconds(5)).isEmpty)
        }
    }

    @Test func deadlinesAndCancellationHold() async throws {
        try await withServers(["a"]) { servers in
            let server = servers[0]
            try await server.initialize()
            let process = try await server.start(.primary)
            let connection = try await PostgresConnection.connect(
                ConnectionTarget(local: server.layout), within: .seconds(5))

            // The statement is ended on the server too, and the connection stays usable.
            var begun = SystemClock.now()
            var error = await #expect(throws: PostgresError.self) {
                _ = try await connection.query("SELECT pg_sleep(30)", within: .milliseconds(300))
            }
            #expect(error?.kind == .timedOut)
            #expect(SystemClock.now() - begun < .seconds(3))
            #expect(try await connection.query("SELECT 1", within: .seconds(2)).value == "1")

            // A cancelled task does not wait for the deadline.
            begun = SystemClock.now()
            let task = Task { try await connection.query("SELECT pg_sleep(30)", within: .seconds(30)) }
            try await Task.sleep(for: .milliseconds(100))
            task.cancel()
            _ = await task.result
            #expect(SystemClock.now() - begun < .seconds(3))

            error = await #expect(throws: PostgresError.self) {
                _ = try await connection.query("SELECT 1/0", within: .seconds(2))
            }
            #expect(error?.sqlState == "22012" && error?.kind == .statementFailed)
            #expect(try await connection.query("SELECT $1::text", ["it's"], within: .seconds(2)).value == "it's")
            #expect(try await connection.query("SELECT $1::text", [nil], within: .seconds(2)).rows == [[nil]])

            // A stopped postmaster accepts at the socket and never answers.
            kill(process.processID, SIGSTOP)
            begun = SystemClock.now()
            error = await #expect(throws: PostgresError.self) {
                _ = try await PostgresConnection.connect(
                    ConnectionTarget(local: server.layout), within: .milliseconds(300))
            }
            #expect(error?.kind == .timedOut)
            #expect(await server.monitor.readiness(within: .milliseconds(200)) == .noResponse)
            guard case .failure(let failure) = await server.monitor.sample(within: .milliseconds(200)) else {
                Issue.record("a stopped postmaster was sampled")
                return
            }
            #expect(failure.kind == .timedOut)
            #expect(SystemClock.now() - begun < .seconds(5))
            kill(process.processID, SIGCONT)
            await connection.close()

            // A name is resolved; nobody listens elsewhere.
            let named = ConnectionTarget(
                endpoint: ServerEndpoint(host: "localhost", port: server.layout.port), login: server.layout.superuser,
                applicationName: "test")
            try await PostgresConnection.connect(named, within: .seconds(5)).close()
            error = await #expect(throws: PostgresError.self) {
                _ = try await PostgresConnection.connect(
                    ConnectionTarget(
                        endpoint: ServerEndpoint(host: "127.0.0.1", port: TestServer.freePort()),
                        login: server.layout.superuser, applicationName: "test"), within: .seconds(5))
            }
            #expect(error?.kind == .unreachable)
        }
    }

    @Test func theMonitorFollowsAServerThroughARestart() async throws {
        try await withServers(["a"]) { servers in
            let server = servers[0]
            try await server.initialize()
            var process = try await server.start(.primary)
            let monitor = server.monitor
            let first = try await monitor.sample(within: .seconds(2)).get()
            #expect(try await server.postmaster.stopFast(process, within: .seconds(20)) == .stopped(by: .fast))
            guard case .failure(let failure) = await monitor.sample(within: .seconds(2)) else {
                Issue.record("a stopped server was sampled")
                return
            }
            #expect(failure.kind == .unreachable)
            try await server.start(.primary)
            _ = try await server.sql("CREATE TABLE public.t AS SELECT generate_series(1, 10000)")
            // A crash: the end of recovery is noticed at once, and the first connection succeeds.
            try await server.kill9()
            _ = try await server.files().prepareStart(as: .primary)
            process = try await server.postmaster.start(asStandby: false)
            #expect(try await server.postmaster.waitUntilAccepting(process, within: .seconds(30)) == .accepting)
            #expect(try await server.sql("SELECT count(*) FROM public.t") == "10000")
            let second = try await monitor.sample(within: .seconds(2)).get()
            #expect(first.postmasterStartTime != second.postmasterStartTime)
            #expect(first.systemIdentifier == second.systemIdentifier)
            await monitor.disconnect()
        }
    }

    @Test func aStopEscalatesAndAFailedStartIsSeen() async throws {
        try await withServers(["a"]) { servers in
            let server = servers[0]
            try await server.initialize()
            var process = try await server.start(.primary)
            let connection = try await PostgresConnection.connect(
                ConnectionTarget(local: server.layout), within: .seconds(5))
            // A smart stop waits for the session; the plan goes on.
            let outcome = try await server.postmaster.stop(
                process, plan: [(.smart, .milliseconds(300)), (.fast, .seconds(20))])
            #expect(outcome == .stopped(by: .fast))
            await connection.close()

            process = try await server.start(.primary)
            kill(process.processID, SIGSTOP)
            #expect(
                try await server.postmaster.stop(
                    process, plan: [(.fast, .milliseconds(200)), (.immediate, .milliseconds(200))])
                    == .stillRunning)
            kill(process.processID, SIGCONT)
            #expect(try await Postmaster.waitForExit(of: process, within: .seconds(20)))

            var layout = server.layout
            layout.parameters.append(ServerSetting("shared_buffers", "no size at all"))
            _ = try await PostgresConfigurationFiles(layout: layout, catalog: nil).prepareStart(as: .primary)
            let broken = try await server.postmaster.start(asStandby: false)
            #expect(try await server.postmaster.waitUntilAccepting(broken, within: .seconds(20)) == .exited)
        }
    }

    @Test func aPrivateServerListensNowhereElse() async throws {
        try await withServers(["a"]) { servers in
            let server = servers[0]
            try await server.initialize()
            let directory = server.root + "/private"
            try FileManager.default.createDirectory(
                atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            _ = try await server.files().prepareStart(as: .primary)
            let scope = ListeningScope.privateSocket(directory: directory)
            let process = try await server.postmaster.start(scope: scope, asStandby: false)
            #expect(try await server.postmaster.waitUntilAccepting(process, within: .seconds(30)) == .accepting)
            #expect(await ReadinessProbe.ask(server.layout.endpoint(scope), within: .seconds(2)) == .accepting)
            #expect(await ReadinessProbe.ask(server.endpoint, within: .seconds(2)) == .noResponse)
            let operations = PostgresOperations(layout: server.layout, scope: scope, logger: server.logger)
            try await operations.createRoles(within: .seconds(10))
            #expect(!operations.superuserConnectionString.contains("secret"))
        }
    }
}
