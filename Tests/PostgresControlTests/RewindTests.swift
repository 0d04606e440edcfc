import ClusterModel
import PluginInterfaces
import Testing

@testable import PostgresControl

struct RewindTests {
    static let leader = TimelineAncestry(
        timeline: Timeline(3),
        steps: [
            .init(timeline: Timeline(1), switchpoint: LSN(1000)), .init(timeline: Timeline(2), switchpoint: LSN(2000)),
        ])

    private func control(
        _ state: ControlData.State, _ timeline: UInt32, _ checkpoint: UInt64, minimum: UInt64 = 0,
        minimumTimeline: UInt32 = 0
    ) -> ControlData {
        ControlData(
            systemIdentifier: "1", state: state, timeline: Timeline(timeline), checkpoint: LSN(checkpoint),
            minimumRecoveryEnd: LSN(minimum), minimumRecoveryTimeline: Timeline(minimumTimeline))
    }

    private enum Answer { case needed, notNeeded, unknown }

    private func answer(_ local: RewindCheck.Local, _ leader: TimelineAncestry? = leader) -> Answer {
        switch RewindCheck.check(local, leader: leader) {
        case .notNeeded: .notNeeded
        case .needed: .needed
        case .unknown: .unknown
        }
    }

    @Test func aStandbyIsJudgedByWhatItReplayed() {
        func standby(_ timeline: UInt32, _ position: UInt64) -> RewindCheck.Local {
            .init(timeline: Timeline(timeline), position: LSN(position), wasPrimary: false, isClean: true)
        }
        #expect(answer(standby(3, 99999)) == .notNeeded)
        #expect(answer(standby(2, 2000)) == .notNeeded)
        #expect(answer(standby(2, 2001)) == .needed)
        #expect(answer(standby(1, 1000)) == .notNeeded)
        #expect(answer(standby(1, 1500)) == .needed)
        #expect(answer(standby(4, 1)) == .needed)
        #expect(answer(standby(0, 1)) == .unknown)
        #expect(answer(standby(2, 1), nil) == .unknown)
        // A leader whose history does not know the own timeline.
        #expect(answer(standby(2, 1), TimelineAncestry(timeline: Timeline(3), steps: [])) == .needed)
    }

    @Test func aFormerPrimaryIsJudgedByTheEndOfItsShutdownCheckpoint() {
        func primary(_ checkpoint: UInt64, end: UInt64?) -> RewindCheck.Local {
            .init(control: control(.shutDown, 2, checkpoint), checkpointEnd: end.map(LSN.init))
        }
        #expect(answer(primary(1880, end: 2000)) == .notNeeded)
        #expect(answer(primary(1880, end: 2008)) == .needed)
        #expect(answer(primary(1880, end: 1992)) == .needed)
        #expect(answer(primary(1880, end: nil)) == .needed)
        #expect(answer(primary(2000, end: 2120)) == .needed)
        #expect(answer(primary(2500, end: 2620)) == .needed)
    }

    @Test(arguments: [ControlData.State.inProduction, .shuttingDown, .inCrashRecovery, .startingUp, .unrecognized])
    func aPrimaryThatDidNotShutDownInOrderIsRewound(_ state: ControlData.State) {
        #expect(answer(.init(control: control(state, 2, 100), checkpointEnd: LSN(2000))) == .needed)
        #expect(answer(.init(control: control(state, 3, 100), checkpointEnd: nil)) == .needed)
    }

    @Test func aStoppedStandbyIsJudgedByItsMinimumRecoveryEnd() {
        #expect(
            answer(
                .init(
                    control: control(.shutDownInRecovery, 1, 900, minimum: 1000, minimumTimeline: 1), checkpointEnd: nil
                )) == .notNeeded)
        #expect(
            answer(
                .init(
                    control: control(.shutDownInRecovery, 1, 900, minimum: 1008, minimumTimeline: 1), checkpointEnd: nil
                )) == .needed)
        #expect(
            answer(
                .init(
                    control: control(.shutDownInRecovery, 1, 900, minimum: 1500, minimumTimeline: 2), checkpointEnd: nil
                )) == .notNeeded)
        #expect(
            answer(
                .init(
                    control: control(.inArchiveRecovery, 2, 900, minimum: 2600, minimumTimeline: 2), checkpointEnd: nil)
            ) == .needed)
    }

    @Test func readsHistoryFiles() throws {
        let text = "1\t0/3000060\tno recovery target specified\n\n# a comment\n2\t1/A0\tbefore 2026-01-01\twith a tab\n"
        let history = try #require(TimelineAncestry(timeline: Timeline(3), text: text))
        #expect(history.steps.map(\.timeline) == [Timeline(1), Timeline(2)])
        #expect(history.switchpoint(of: Timeline(2)) == LSN(text: "1/A0"))
        #expect(history.steps[0].reason == "no recovery target specified")
        #expect(history.switchpoint(of: Timeline(3)) == nil)
        #expect(TimelineAncestry(timeline: Timeline(2), text: "")?.steps == [])
        for broken in ["x", "1", "1 2 3", "0\t0/1", "3\t0/1\tsame", "2\t0/2\n1\t0/1", "1\tG/0"] {
            #expect(TimelineAncestry(timeline: Timeline(3), text: broken) == nil, "\(broken)")
        }
        #expect(TimelineAncestry.fileName(Timeline(26)) == "0000001A.history")
        #expect(RemoteServer.plainText("\\x3109302f31") == "1\t0/1")
    }

    @Test func aRecordEndsBehindThePageHeadersItCrosses() {
        let segment: UInt64 = 16 << 20
        func end(_ position: UInt64, _ length: UInt64) -> UInt64 {
            WALRecord.end(from: LSN(position), length: length, blockSize: 8192, segmentSize: segment).bytes
        }
        #expect(end(0x28, 114) == 0x28 + 120)
        // Up to the page's last byte, and no header of the next.
        #expect(end(8192 - 120, 114) == 8192)
        #expect(end(8192 - 112, 114) == 8192 + 24 + 8)
        #expect(end(segment - 112, 114) == segment + 40 + 8)
        #expect(end(100 * 8192 - 8, 8 + 2 * 8168 + 5) == 102 * 8192 + 24 + 8)
        // A position out of a damaged control file.
        #expect(end(.max, 1 << 24) == .max && end(.max - 8192, 20_000) == .max)
        #expect(
            WALRecord.segmentName(LSN(text: "5/12345678") ?? .zero, Timeline(26), segmentSize: segment)
                == "0000001A0000000500000012")
    }

    @Test func theCommandHidesPasswordsAndKnowsVersions() throws {
        var layout = PostgresLayout(dataDirectory: "/d", stateDirectory: "/s", clusterName: "c", memberName: "m")
        layout.usePgRewind = true
        layout.binaryNames = ["pg_rewind": "/bin/true"]
        layout.rewind = RoleLogin(user: "r w", password: Password("secret"))
        let source = ServerEndpoint(host: "10.0.0.2", port: 5433)
        let fifteen = RewindCommand.build(layout, source: source, majorVersion: 15, restoreCommand: "cp %f %p")
        #expect(fifteen.arguments.contains("--restore-target-wal"))
        #expect(fifteen.arguments.contains("--config-file=/d/postgresql.conf"))
        #expect(fifteen.arguments[3].contains("user='r w'") && fifteen.arguments[3].contains("passfile=/s/pgpass"))
        #expect(!"\(fifteen)".contains("secret"))
        layout.configDirectory = "/etc/pg"
        let fourteen = RewindCommand.build(layout, source: source, majorVersion: 14, restoreCommand: "cp %f %p")
        #expect(!fourteen.arguments.contains { $0.hasPrefix("--restore") || $0.hasPrefix("--config") })
        let plain = ControlData(systemIdentifier: "1", state: .shutDown, timeline: Timeline(1), checkpoint: .zero)
        #expect(RewindCommand.obstacle(layout, control: plain)?.contains("checksums") == true)
        var good = plain
        good.walLogHints = true
        #expect(RewindCommand.obstacle(layout, control: good) == nil)
        #expect(!RewindCommand.needsOwnRecovery(layout, majorVersion: 15, control: good))
        good.state = .inProduction
        #expect(RewindCommand.needsOwnRecovery(layout, majorVersion: 14, control: good))
        layout.binaryNames = ["pg_rewind": "/no/such/pg_rewind"]
        #expect(RewindCommand.obstacle(layout, control: good) == "/no/such/pg_rewind is not there")
        layout.usePgRewind = false
        #expect(RewindCommand.obstacle(layout, control: good) != nil)
    }
}
