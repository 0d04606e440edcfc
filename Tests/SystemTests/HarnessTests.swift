import ClusterHarness
import Testing

/// The harness has tests of its own: one that sees nothing passes everything. Its judge's are in FaultTests.
@Suite struct HarnessTests {
    @Test func processesAreStartedFollowedAndEnded() async throws {
        try await onThread {
            let result = try CommandResult.run(["/bin/sh", "-c", "pwd; exit 3"], directory: "/tmp")
            try check(result.status == 3 && result.output == "/tmp\n", "sh: \(result)")
            let process = try LocalProcess(
                "sleep", ["/bin/sleep", "60"], account: nil, directory: "/tmp", log: "/dev/null")
            try check(process.isRunning && isAlive(process.pid), "sleep runs")
            process.send(9)
            try process.waitForEnd(within: 5)
            try check(process.exitStatus == 137, "sleep was killed")
        }
    }

    @Test(.timeLimit(.minutes(2))) func anEnsembleStartsFreezesAndStops() async throws {
        try await onThread {
            let environment = try SystemEnvironment.read()
            let directory = "/tmp/matriarch-harness.\(Int.random(in: 0..<1 << 30))"
            try makeDirectory(directory, mode: 0o755, account: environment.account)
            defer { removeTree(directory) }
            let servers = try ZooKeeperServer.ensemble(of: 3, directory: directory, account: environment.account)
            defer { for server in servers { server.stop() } }
            guard let leader = servers.first(where: { $0.mode == "leader" }) else { throw SystemFailure("no leader") }
            leader.freeze()
            // The signal reaches one thread after another.
            try waitUntil("a frozen server answers nothing", within: 5) { leader.mode == nil }
            try waitUntil("the others elect a leader", within: 30) {
                servers.contains { $0 !== leader && $0.mode == "leader" }
            }
            leader.thaw()
            try waitUntil("the thawed server follows", within: 30) { leader.mode == "follower" }
        }
    }
}
