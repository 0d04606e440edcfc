import ClusterModel
import Foundation
import Logging
import PluginInterfaces
import Testing

@testable import PostgresControl

/// Two real servers: following, promotion, and the way back of an old primary.
@Suite(.serialized, .enabled(if: TestServer.isAvailable), .timeLimit(.minutes(5)))
struct ReplicationTests {
    /// Starts `a` as primary and `b` as its streaming standby.
    private func pair(_ a: TestServer, _ b: TestServer) async throws {
        try await a.initialize()
        try await a.start(.primary)
        try await a.operations.createRoles(within: .seconds(10))
        try await a.operations.createPhysicalSlot("b", within: .seconds(5))
        _ = try await a.sql("CREATE TABLE public.t (n int)")
        try await b.clone(from: a)
        try await b.start(.standby(StandbySettings(upstream: a.endpoint, slotName: "b")))
        try await b.sampled { $0.replicationState == .streaming }
    }

    /// The standby is detached and promoted, and the old primary writes on.
    private func part(_ a: TestServer, _ b: TestServer) async throws {
        _ = try await b.files().write(.standby(StandbySettings(upstream: nil)))
        try await b.postmaster.reload(try #require(b.postmaster.running()))
        try await b.sampled { $0.receiver == nil }
        try b.promote()
        try await b.sampled { !$0.isInRecovery }
        _ = try await a.sql("INSERT INTO public.t SELECT generate_series(1000, 2000)")
    }

    @Test func aStandbyStreamsAndIsPromotedByFileAndSignal() async throws {
        try await withServers(["a", "b"]) { servers in
            let a = servers[0]
            let b = servers[1]
            try await pair(a, b)
            let standby = try await b.sampled { $0.receiver != nil }
            #expect(standby.isInRecovery)
            #expect(standby.timeline == Timeline(1))
            #expect(standby.receiver?.slotName == "b")
            #expect(standby.receiver?.host == "127.0.0.1" && standby.receiver?.port == a.layout.port)
            #expect(standby.writeLSN == nil)
            let primary = try await a.sampled { $0.senders.contains { $0.state == "streaming" } }
            #expect(primary.senders.first?.applicationName == "b")
            #expect(primary.senders.first?.user == "replicator")
            #expect(try await a.operations.slots(within: .seconds(5)).first?.isActive == true)

            _ = try await a.sql("INSERT INTO public.t SELECT generate_series(1, 100)")
            let written = try #require(try await a.monitor.sample(within: .seconds(2)).get().writeLSN)
            try await b.sampled { ($0.replayLSN ?? .zero) >= written }

            // A receiver that is kicked is back by itself: mostly at once; after 15 s when the postmaster sleeps upon the
            // start-up process's request for a new one, which is repeated only then (WALRCV_STARTUP_TIMEOUT).
            #expect(try await b.operations.kickReceiver(within: .seconds(5)))
            try await b.sampled { $0.replicationState == .streaming }

            // Detached by a reload, as before a vote.
            let process = try #require(b.postmaster.running())
            let files = try await b.files()
            let first = try await files.write(.standby(StandbySettings(upstream: nil)))
            #expect(first.changed == ["postgresql.conf"])
            let second = try await files.write(.standby(StandbySettings(upstream: nil)))
            #expect(second.changed.isEmpty)
            try await b.postmaster.reload(process)
            let received = try await b.operations.waitUntilDetached(within: .seconds(10))
            #expect((received ?? .zero) >= written)
            let detached = try await b.sampled { $0.receiver == nil }
            #expect(detached.timeline == Timeline(1))
            let receiver = try await b.operations.receiverState(within: .seconds(2))
            #expect(!receiver.isRunning)

            try b.promote()
            let control = try await b.postmaster.waitForControlState(
                [.inProduction], process: process, within: .seconds(20))
            #expect(control != nil)
            let promoted = try await b.sampled { !$0.isInRecovery }
            #expect(promoted.timeline == Timeline(2))
            _ = try await b.sql("INSERT INTO public.t VALUES (0)")

            let facts = try await RemoteServer(endpoint: b.endpoint, layout: a.layout).inspect(within: .seconds(5))
            #expect(facts.timeline == Timeline(2))
            #expect(facts.isInRecovery == false)
            #expect(facts.systemIdentifier == promoted.systemIdentifier)
            let local = try TimelineAncestry.read(dataDirectory: b.layout.dataDirectory, timeline: Timeline(2))
            #expect(local?.ancestry == facts.ancestry)
            #expect(local?.written != nil)
            #expect(facts.ancestry.steps.map(\.timeline) == [Timeline(1)])
            let switchpoint = facts.ancestry.switchpoint(of: Timeline(1)) ?? .zero
            #expect(switchpoint >= written)
        }
    }

    /// As the agent does it, who is the server's own account.
    private func leaveOut(_ server: TestServer, from: UInt32, to target: UInt32) throws {
        let directory = server.layout.dataDirectory
        try TimelineNumbers.leaveOut(dataDirectory: directory, from: Timeline(from), to: Timeline(target))
        for number in (from + 1)..<target {
            TestAccount.own("\(directory)/pg_wal/\(TimelineAncestry.fileName(Timeline(number)))")
        }
    }

    @Test func aPromotionLeavesOutNumbersAndStandbysFollowAcrossTheGap() async throws {
        try await withServers(["a", "b", "c"]) { servers in
            let a = servers[0]
            let b = servers[1]
            let c = servers[2]
            try await pair(a, b)
            try await c.clone(from: a)
            try await c.start(.standby(StandbySettings(upstream: a.endpoint)))
            _ = try await a.sql("INSERT INTO public.t SELECT generate_series(1, 100)")
            let written = try #require(try await a.sql("SELECT pg_current_wal_flush_lsn()").flatMap { LSN(text: $0) })
            for standby in [b, c] { try await standby.sampled { ($0.replayLSN ?? .zero) >= written } }

            // Somebody else may have made timeline 2 meanwhile. Written while it streams: once the stream ends it looks for
            // such files, and ends itself when it finds one that is not yet its account's.
            try leaveOut(b, from: 1, to: 3)
            try await a.kill9()
            try b.promote()
            let promoted = try await b.sampled { !$0.isInRecovery }
            #expect(promoted.timeline == Timeline(3))
            _ = try await b.sql("INSERT INTO public.t VALUES (0)")
            let ancestry = try TimelineAncestry.read(dataDirectory: b.layout.dataDirectory, timeline: Timeline(3))
            #expect(ancestry?.ancestry.steps.map(\.timeline) == [Timeline(1)])

            // A running standby of timeline 1 follows to timeline 3, past a number that nobody made.
            let files = try await c.files()
            _ = try await files.write(.standby(StandbySettings(upstream: b.endpoint)))
            try await c.postmaster.reload(try #require(c.postmaster.running()))
            let following = try await c.sampled {
                $0.replicationState == .streaming && $0.receiver?.receivedTimeline == Timeline(3)
            }
            #expect(following.isInRecovery)
            #expect(try await c.sql("SELECT count(*) FROM public.t WHERE true") != nil)

            // What a promotion that did not happen left behind is taken back before a start as a standby.
            let process = try #require(c.postmaster.running())
            #expect(try await c.postmaster.stopFast(process, within: .seconds(20)) == .stopped(by: .fast))
            try leaveOut(c, from: 3, to: 6)
            try TimelineNumbers.takeBack(dataDirectory: c.layout.dataDirectory)
            for left in [4, 5] {
                let name = TimelineAncestry.fileName(Timeline(UInt32(left)))
                #expect(access("\(c.layout.dataDirectory)/pg_wal/\(name)", F_OK) != 0)
            }
            try await c.start(.standby(StandbySettings(upstream: b.endpoint)))
            try await c.sampled { $0.replicationState == .streaming && $0.timeline == Timeline(3) }
            // Two more in a row, from the new line.
            try leaveOut(c, from: 3, to: 6)
            try c.promote()
            #expect(try await c.sampled { !$0.isInRecovery }.timeline == Timeline(6))
        }
    }

    @Test func aCrashedStandbyFindsTheNewestTimelinePastNumbersThatWereLeftOut() async throws {
        try await withServers(["a", "b", "c"]) { servers in
            let a = servers[0]
            let b = servers[1]
            let c = servers[2]
            try await pair(a, b)
            try await c.clone(from: a)
            try await c.start(.standby(StandbySettings(upstream: a.endpoint)))
            let before = try #require(try await a.sql("SELECT pg_current_wal_flush_lsn()").flatMap { LSN(text: $0) })
            for standby in [b, c] { try await standby.sampled { ($0.replayLSN ?? .zero) >= before } }
            try leaveOut(b, from: 1, to: 4)
            try await a.kill9()
            try b.promote()
            try await b.sampled { !$0.isInRecovery }
            let files = try await c.files()
            _ = try await files.write(.standby(StandbySettings(upstream: b.endpoint)))
            try await c.postmaster.reload(try #require(c.postmaster.running()))
            try await c.sampled { $0.replicationState == .streaming && $0.receiver?.receivedTimeline == Timeline(4) }
            _ = try await b.sql("INSERT INTO public.t SELECT generate_series(1, 1000)")
            let written = try #require(try await b.sql("SELECT pg_current_wal_flush_lsn()").flatMap { LSN(text: $0) })
            try await c.sampled { ($0.replayLSN ?? .zero) >= written }
            // Everything crashes; its control file still names the first timeline, and there is nobody to follow.
            try await b.kill9()
            try await c.kill9()
            try TimelineNumbers.takeBack(dataDirectory: c.layout.dataDirectory)
            try await c.start(.standby(StandbySettings(upstream: nil)))
            try await c.sampled { ($0.replayLSN ?? .zero) >= written }
            #expect(try await c.sql("SELECT count(*) FROM public.t") == "1000")
        }
    }

    @Test func aPrimaryThatShutDownInOrderFollowsWithoutRewind() async throws {
        try await withServers(["a", "b"]) { servers in
            let a = servers[0]
            let b = servers[1]
            try await pair(a, b)
            _ = try await a.sql("INSERT INTO public.t SELECT generate_series(1, 100)")
            let process = try #require(a.postmaster.running())
            #expect(try await a.postmaster.stopFast(process, within: .seconds(20)) == .stopped(by: .fast))
            let (control, geometry) = try #require(try ControlFile.read(dataDirectory: a.layout.dataDirectory))
            #expect(control.state == .shutDown)
            let end = try #require(
                WALRecord.end(
                    of: control.checkpoint, timeline: control.timeline, dataDirectory: a.layout.dataDirectory,
                    geometry: geometry))
            // The standby got the shutdown checkpoint, to its last byte.
            try await b.sampled { ($0.replayLSN ?? .zero) >= end }
            try b.promote()
            try await b.sampled { !$0.isInRecovery }
            let facts = try await RemoteServer(endpoint: b.endpoint, layout: a.layout).inspect(within: .seconds(5))
            let here = RewindCheck.Local(control: control, checkpointEnd: end)
            #expect(RewindCheck.check(here, leader: facts.ancestry) == .notNeeded)

            try await a.start(.standby(StandbySettings(upstream: b.endpoint)))
            let sample = try await a.sampled { $0.replicationState == .streaming && $0.timeline == Timeline(2) }
            #expect(RewindCheck.check(RewindCheck.Local(sample: sample), leader: facts.ancestry) == .notNeeded)
        }
    }

    @Test func aStopDoesNotWaitForAStandbyThatIsCutOff() async throws {
        try await withServers(["a", "b"]) { servers in
            let a = servers[0]
            let b = servers[1]
            try await pair(a, b)
            let pid = try #require(try await b.sql("SELECT pid FROM pg_stat_wal_receiver").flatMap { Int32($0) })
            kill(pid, SIGSTOP)
            _ = try await a.sql("INSERT INTO public.t SELECT generate_series(1, 100)")
            let process = try #require(a.postmaster.running())
            let begun = SystemClock.now()
            let outcome = try await a.postmaster.stopFast(
                process, within: .seconds(30), lingering: .milliseconds(300))
            #expect(outcome == .stopped(by: .immediate))
            #expect(SystemClock.now() - begun < .seconds(5))
            #expect(try ControlFile.read(dataDirectory: a.layout.dataDirectory)?.data.state == .shutDown)
            kill(pid, SIGCONT)
        }
    }

    @Test func aDivergedPrimaryIsRewound() async throws {
        try await withServers(["a", "b"]) { servers in
            let a = servers[0]
            let b = servers[1]
            try await pair(a, b)
            _ = try await a.sql("INSERT INTO public.t SELECT generate_series(1, 100)")
            let written = try #require(try await a.monitor.sample(within: .seconds(2)).get().writeLSN)
            try await b.sampled { ($0.replayLSN ?? .zero) >= written }
            try await part(a, b)
            _ = try await b.sql("INSERT INTO public.t SELECT generate_series(5000, 5010)")
            try await a.kill9()

            let (control, _) = try #require(try ControlFile.read(dataDirectory: a.layout.dataDirectory))
            #expect(control.state == .inProduction)
            try await b.operations.checkpoint(within: .seconds(20))
            let facts = try await RemoteServer(endpoint: b.endpoint, layout: a.layout).inspect(within: .seconds(5))
            guard case .needed = RewindCheck.check(.init(control: control, checkpointEnd: nil), leader: facts.ancestry)
            else {
                Issue.record("the crashed primary was taken for one that can follow")
                return
            }
            #expect(RewindCommand.obstacle(a.layout, control: control) == nil)
            let files = try await a.files()
            _ = try await files.write(.primary)
            // A demotion marks the directory; single-user recovery cannot have that.
            try await files.markStandby()
            #expect(files.isMarkedStandby)
            try await files.unmarkStandby()
            try await a.perform(
                RewindCommand.build(a.layout, source: b.endpoint, majorVersion: 15, restoreCommand: nil))
            #expect(
                try RewoundWAL.firstMissingSegment(dataDirectory: a.layout.dataDirectory, leader: facts.ancestry) == nil
            )
            try await a.start(.standby(StandbySettings(upstream: b.endpoint)))
            try await a.sampled { $0.replicationState == .streaming && $0.timeline == Timeline(2) }
            #expect(try await a.sql("SELECT count(*) FROM public.t WHERE n BETWEEN 1000 AND 2000") == "0")
            #expect(try await a.sql("SELECT count(*) FROM public.t WHERE n >= 5000") == "11")
        }
    }

    /// The leader was copied from another after that one had parted from us: pg_rewind is content, and recovery never ends.
    @Test func aRewindToALeaderThatWasCopiedLaterLacksItsWAL() async throws {
        try await withServers(["a", "b", "c"]) { servers in
            let (a, b, c) = (servers[0], servers[1], servers[2])
            try await pair(a, b)
            try await part(a, b)
            try await a.kill9()

            _ = try await b.sql("SELECT pg_switch_wal()")
            try await c.clone(from: b)
            try await c.start(.standby(StandbySettings(upstream: b.endpoint)))
            try await c.sampled { $0.replicationState == .streaming }
            let process = try #require(b.postmaster.running())
            #expect(try await b.postmaster.stopFast(process, within: .seconds(20)) == .stopped(by: .fast))
            try c.promote()
            try await c.sampled { !$0.isInRecovery }
            try await c.operations.checkpoint(within: .seconds(20))

            let facts = try await RemoteServer(endpoint: c.endpoint, layout: a.layout).inspect(within: .seconds(5))
            let files = try await a.files()
            _ = try await files.write(.primary)
            try await a.perform(
                RewindCommand.build(a.layout, source: c.endpoint, majorVersion: 15, restoreCommand: nil))
            let missing = try RewoundWAL.firstMissingSegment(
                dataDirectory: a.layout.dataDirectory, leader: facts.ancestry)
            // The two parted within the segment that the copy was made after.
            #expect(missing?.hasPrefix("00000002") == true, "\(missing ?? "none")")
        }
    }

    @Test func aCrashedPrimaryRecoversAloneForARewind() async throws {
        try await withServers(["a"]) { servers in
            let a = servers[0]
            try await a.initialize()
            try await a.start(.primary)
            _ = try await a.sql("CREATE TABLE public.t AS SELECT generate_series(1, 1000)")
            try await a.kill9()
            let command = ServerCommand.crashRecovery(a.layout)
            try await a.perform(
                PluginCommand(
                    "/bin/sh", ["-c", "exec \"$0\" \"$@\" </dev/null", command.executable] + command.arguments))
            #expect(try ControlFile.read(dataDirectory: a.layout.dataDirectory)?.data.state == .shutDown)
        }
    }

    @Test func aStandbyTakesNoLowerSettingsThanItsPrimaryHad() async throws {
        try await withServers(["a", "b"]) { servers in
            let a = servers[0]
            let b = servers[1]
            try await pair(a, b)
            let process = try #require(b.postmaster.running())
            #expect(try await b.postmaster.stopFast(process, within: .seconds(20)) == .stopped(by: .fast))
            var layout = b.layout
            layout.controlledParameters[2].value = "26"
            let postmaster = Postmaster(layout: layout, control: b.control, logger: b.logger)
            _ = try await PostgresConfigurationFiles(layout: layout, catalog: nil).prepareStart(
                as: .standby(StandbySettings(upstream: a.endpoint)))
            let again = try await postmaster.start(asStandby: true)
            #expect(try await postmaster.waitUntilAccepting(again, within: .seconds(30)) == .accepting)
            let monitor = PostgresMonitor(layout: layout, logger: b.logger)
            let sample = try await monitor.sample(within: .seconds(5)).get()
            #expect(sample.pendingRestart?["max_connections"] == .object(["old_value": "30", "new_value": "26"]))
            await monitor.disconnect()
        }
    }
}
