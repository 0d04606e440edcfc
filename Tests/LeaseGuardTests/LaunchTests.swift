import CLeaseGuard
import ClusterModel
import Glibc
import Testing

@testable import LeaseGuard

@Suite("Launching the guard", .timeLimit(.minutes(2)))
struct LaunchTests {
    private func failure(_ body: () async throws(GuardError) -> Void) async -> GuardError? {
        do {
            try await body()
            return nil
        } catch {
            return error
        }
    }

    @Test("Nobody there, and none to be launched")
    func unreachable() async {
        let error = await failure { () throws(GuardError) in
            _ = try await GuardClient.connect(
                stateDirectory: "/nonexistent/state", launch: false, within: .seconds(1))
        }
        #expect(error?.code == .unreachable)
    }

    @Test("A missing program is named")
    func missingProgram() async {
        let error = await failure { () throws(GuardError) in
            _ = try await GuardClient.connect(
                stateDirectory: "/nonexistent/state", executable: "/nonexistent/guard", within: .seconds(2))
        }
        #expect(error?.code == .launchFailed)
        #expect(error?.message.contains("/nonexistent/guard") == true)
    }

    @Test("What the guard says when it does not run is passed on")
    func saysWhy() async {
        let error = await failure { () throws(GuardError) in
            _ = try await GuardClient.connect(
                stateDirectory: "/proc/nowhere/state", executable: GuardedServer.program, within: .seconds(5))
        }
        #expect(error?.code == .launchFailed)
        // Root is refused before the directory is looked at.
        #expect(error?.message.contains(Shell.isRoot ? "refuses to run as root" : "/proc/nowhere/state") == true)
    }

    @Test("A program that hangs is not waited for")
    func hangs() async throws {
        try await GuardedServer.with { server in
            try await Shell.run(
                "printf '#!/bin/sh\\nexec sleep 60\\n' > \(server.base)/hang; chmod 755 \(server.base)/hang")
            let began = BootClock.now
            let error = await failure { () throws(GuardError) in
                _ = try await GuardClient.connect(
                    stateDirectory: server.state, executable: server.base + "/hang", within: .milliseconds(500))
            }
            #expect(error?.code == .timedOut)
            #expect(BootClock.now - began < .seconds(5))
        }
    }

    @Test("Two agents at once find one guard; the later one has it")
    func twoAgents() async throws {
        try await GuardedServer.with { server in
            async let one = server.connect()
            async let two = server.connect()
            let clients = try await [one, two]
            #expect(clients[0].latestStatus.pid == clients[1].latestStatus.pid)
            try await eventually { clients.filter(\.isAlive).count == 1 }
            let winner = try #require(clients.first { $0.isAlive })
            #expect(try await winner.status().isSilent)
        }
    }

    @Test("Its files are private")
    func modes() async throws {
        try await GuardedServer.with { server in
            let client = try await server.connect()
            let modes = try await Shell.run(
                "stat -c %a \(server.state) \(server.state)/guard.sock \(server.state)/guard.log")
            #expect(modes == "700\n600\n600\n")
            let pid = client.latestStatus.pid
            try await client.leave()
            try await eventually { kill(pid, 0) != 0 }
            #expect(access(server.state + "/guard.sock", F_OK) != 0)
        }
    }

    @Test("Garbage on the socket harms nobody")
    func garbage() async throws {
        try await GuardedServer.with { server in
            let client = try await server.connect()
            let directory = mg_open_directory(server.state)
            defer { close(directory) }
            var generator = SystemRandomNumberGenerator()
            for length in [1, 15, 16, 64, 200, 1100, 3000] {
                let socket = mg_socket_connect(directory, "guard.sock")
                let bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &generator) }
                #expect(mg_socket_send(socket, bytes, bytes.count, nil, 0, nil, 0) == 0)
                // The guard closes it.
                #expect(mg_wait_readable(socket, (BootClock.now + .seconds(5)).nanoseconds) == 1)
                close(socket)
            }
            #expect(client.isAlive)
            // Nor does it on the agent's own connection: every request type with random contents.
            for type in UInt16(0)...12 {
                var request = mg_request()
                withUnsafeMutableBytes(of: &request) { bytes in
                    for index in bytes.indices { bytes[index] = UInt8.random(in: 0...255, using: &generator) }
                }
                request.header = mg_header(magic: 0, version: 0, type: type, sequence: 0)
                if UInt32(type) == MG_LEAVE.rawValue { continue }
                do throws(GuardError) {
                    _ = try await client.connection.ask(request, within: .seconds(5))
                } catch {
                    #expect(error.code == .refused, "\(type): \(error)")
                }
            }
            #expect(try await client.status().isSilent)
        }
    }

    @Test("A connection that says nothing does not stay, and keeps nobody out")
    func mute() async throws {
        try await GuardedServer.with { server in
            let client = try await server.connect()
            let directory = mg_open_directory(server.state)
            defer { close(directory) }
            let sockets = (0..<6).map { _ in mg_socket_connect(directory, "guard.sock") }
            defer { for socket in sockets { close(socket) } }
            #expect(try await client.status().isSilent)
            let second = try await server.connect(launch: false)
            #expect(try await second.status().isSilent)
            for socket in sockets {
                try await eventually { mg_wait_readable(socket, 0) == 1 }
            }
        }
    }

    @Test("A state directory with a long path works")
    func longPath() async throws {
        try await GuardedServer.with { server in
            let state = server.base + "/" + String(repeating: "d", count: 150)
            let client = try await GuardClient.connect(
                stateDirectory: state, executable: server.launcher, within: .seconds(10))
            #expect(try await client.status().isSilent)
            try await client.leave()
        }
    }

    @Test("A guard that is killed is replaced by the next connect")
    func relaunch() async throws {
        try await GuardedServer.with { server in
            let first = try await server.connect()
            let pid = first.latestStatus.pid
            kill(pid, SIGKILL)
            let second = try await server.connect()
            #expect(second.latestStatus.pid != pid)
            try await second.leave()
        }
    }
}
