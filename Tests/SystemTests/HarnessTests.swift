import ClusterHarness
import Testing

/// The judge of the other tests has tests of its own: a harness that sees nothing passes everything.
@Suite struct HarnessTests {
    private func write(_ member: String, _ timeline: Int, _ time: Double) -> Acknowledgement {
        Acknowledgement(
            member: member, writer: member, number: Int(time * 1000), timeline: timeline, sent: time - 0.001,
            acknowledged: time)
    }

    @Test func oneWriterAfterAnotherIsRight() throws {
        try Writers.requireOneWriter([])
        try Writers.requireOneWriter([write("a", 1, 1), write("a", 1, 2), write("b", 2, 3), write("a", 3, 4)])
        // A crash in place keeps the timeline and the member.
        try Writers.requireOneWriter([write("a", 1, 1), write("a", 1, 9)])
    }

    @Test func anAcknowledgementAfterTheSuccessorsFirstIsFound() {
        #expect(throws: SystemFailure.self) {
            try Writers.requireOneWriter([write("a", 1, 1), write("b", 2, 2), write("a", 1, 2.1), write("b", 2, 3)])
        }
    }

    @Test func twoMembersOnOneTimelineAreFound() {
        #expect(throws: SystemFailure.self) {
            try Writers.requireOneWriter([write("a", 2, 1), write("b", 2, 2)])
        }
        #expect(throws: SystemFailure.self) { try Writers.requireOneWriter([write("a", 0, 1)]) }
    }

    @Test func theGapIsTheLongestSilenceAfterTheFault() {
        let writes = [1.0, 1.5, 2.0, 4.0, 4.1].map { write("a", 1, $0) }
        #expect(abs(Writers.gap(writes, around: 2.0) - 2.0) < 1e-9)
        #expect(abs(Writers.gap(writes, around: 4.0) - 0.1) < 1e-9)
    }

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
