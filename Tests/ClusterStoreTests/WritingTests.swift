import ClusterModel
import ClusterStore
import PluginInterfaces
import Testing

@Suite struct WritingTests {
    private func transaction(
        if conditions: [ClusterCondition] = [], _ writes: ClusterWrite..., session: SessionID? = session,
        limits: StoreLimits = wideLimits
    ) throws -> StoreTransaction {
        try ClusterCodec.transaction(
            for: ClusterChange(if: conditions, writes), id: TransactionID(1), name: "pg1", session: session,
            limits: limits)
    }

    @Test func everyCondition() throws {
        let other = EntryVersion(created: 1, number: 1)
        let table: [(ClusterCondition, [StoreCompare])] = [
            (.leaderAbsent, [.absent("leader")]),
            (.leaderIsOurs, [.owner("leader", session), .value("leader", bytes("pg1"))]),
            (.initializeAbsent, [.absent("initialize")]),
            (.initializeVersion(other), [.version("initialize", other)]),
            (.configurationVersion(other), [.version("config", other)]),
            (.configurationVersion(nil), [.absent("config")]),
            (.failoverVersion(other), [.version("failover", other)]),
            (.failoverVersion(nil), [.absent("failover")]),
            (.syncVersion(other), [.version("sync", other)]),
            (.syncVersion(nil), [.absent("sync")]),
            (.leaderVersion(other), [.version("leader", other)]),
            (.statusVersion(other), [.version("status", other)]),
            (.statusVersion(nil), [.absent("status")]),
            (.historyVersion(other), [.version("history", other)]),
            (.historyVersion(nil), [.absent("history")]),
            (.memberVersion("pg2", other), [.version("members/pg2", other)]),
            (.memberVersion("pg2", nil), [.absent("members/pg2")]),
            (.migrationVersion(other), [.version("migration", other)]),
            (.migrationVersion(nil), [.absent("migration")]),
        ]
        for (condition, compares) in table {
            #expect(try transaction(if: [condition]).compares == compares, "\(condition)")
        }
        let all = try transaction(if: table.map(\.0) + table.map(\.0))
        #expect(all.compares.count == 20)
    }

    /// The stored texts, to the byte: other programs read and compare them.
    @Test func everyWrite() throws {
        var member = Member(name: "pg2", state: .running)
        member.connURL = "postgres://10.0.0.2:5432/postgres"
        member.apiURL = "http://10.0.0.2:8008/patroni"
        member.role = .replica
        member.version = "4.1.5"
        member.proxyURL = "postgres://10.0.0.2:6432/postgres"
        member.tags = Tags(["clonefrom": true, "nosync": false])
        member.xlogLocation = LSN(67_419_744)
        member.replayLSN = LSN(67_419_744)
        member.receiveLSN = LSN(67_419_744)
        member.replicationState = .streaming
        member.timeline = Timeline(5)
        let memberText =
            #"{"conn_url":"postgres://10.0.0.2:5432/postgres","api_url":"http://10.0.0.2:8008/patroni","state":"running","role":"replica","version":"4.1.5","proxy_url":"postgres://10.0.0.2:6432/postgres","tags":{"clonefrom":true},"xlog_location":67419744,"replay_lsn":67419744,"receive_lsn":67419744,"replication_state":"streaming","timeline":5}"#
        let scheduled = try #require(WallTime.parse("2026-01-31T10:00:00+00:00")?.time)
        func put(_ key: String, _ text: String) -> StoreWrite { .put(key, bytes(text), .permanent) }
        let table: [(ClusterWrite, StoreWrite)] = [
            (.acquireLeader, .create("leader", bytes("pg1"), .session(session))),
            (.putMember(member, exists: false), .create("members/pg2", bytes(memberText), .session(session))),
            (.putMember(member, exists: true), .put("members/pg2", bytes(memberText), .session(session))),
            (.removeMember("pg2"), .delete("members/pg2")),
            (.beginInitialize, .create("initialize", [], .permanent)),
            (.putInitialize("7123456789012345678"), put("initialize", "7123456789012345678")),
            (.removeInitialize, .delete("initialize")),
            (
                .putConfiguration(["ttl": 30, "loop_wait": 10, "postgresql": ["use_pg_rewind": true]]),
                put("config", #"{"ttl":30,"loop_wait":10,"postgresql":{"use_pg_rewind":true}}"#)
            ),
            (.putFailover(nil), put("failover", "{}")),
            (
                .putFailover(FailoverRequest(leader: "pg1", candidate: "pg2", scheduledAt: scheduled)),
                put("failover", #"{"leader":"pg1","member":"pg2","scheduled_at":"2026-01-31T10:00:00+00:00"}"#)
            ),
            (.putFailover(FailoverRequest(candidate: "pg2")), put("failover", #"{"member":"pg2"}"#)),
            (
                .putStatus(
                    ClusterStatus(
                        optime: LSN(67_419_744), slots: ["pg2": LSN(67_419_744), "logical_a": LSN(67_411_000)],
                        retainSlots: ["pg3", "pg2"])),
                put(
                    "status",
                    #"{"optime":67419744,"slots":{"logical_a":67411000,"pg2":67419744},"retain_slots":["pg2","pg3"]}"#)
            ),
            (.putStatus(ClusterStatus(optime: LSN(5))), put("status", #"{"optime":5}"#)),
            (
                .putSync(SyncState(leader: "pg1", standbys: ["pg3", "pg2"])),
                put("sync", #"{"leader":"pg1","quorum":0,"sync_standby":"pg2,pg3"}"#)
            ),
            (.putSync(SyncState(leader: "pg1")), put("sync", #"{"leader":"pg1","quorum":0,"sync_standby":null}"#)),
            (.putSync(SyncState()), put("sync", "{}")),
            (
                .putHistory(
                    TimelineHistory(rows: [
                        .init(
                            timeline: Timeline(1), switchLSN: LSN(67_419_744), reason: "no recovery target specified",
                            timestamp: "2026-01-31T10:00:00+00:00", newLeader: "pg1")
                    ])),
                put(
                    "history",
                    #"[[1,67419744,"no recovery target specified","2026-01-31T10:00:00+00:00","pg1"]]"#)
            ),
            (.putHistory(TimelineHistory()), put("history", "[]")),
            (
                .putPromotions(
                    PromotionRecords(records: [Timeline(2): .init(leader: "pg1", fence: Fence(era: 0, number: 7))])),
                put("promotions", #"{"2":{"leader":"pg1","fence":"0.7"}}"#)
            ),
        ]
        for (write, expected) in table {
            #expect(try transaction(write).writes == [expected], "\(write)")
        }
    }

    @Test func ourMemberEntryIsComparedByItsSession() throws {
        let member = Member(name: "pg1", state: .running)
        #expect(try transaction(.putMember(member, exists: true)).compares == [.owner("members/pg1", session)])
        #expect(try transaction(.putMember(member, exists: false)).compares == [])
    }

    @Test func whatIsWrittenIsReadBackTheSame() throws {
        var member = Member(name: "größe 1", state: .running)
        member.role = .primary
        member.checkpointAfterPromote = false
        member.pendingRestart = true
        member.pendingRestartReason = ["max_connections": ["old_value": "100", "new_value": "101"]]
        member.scheduledRestart = ["schedule": "2026-01-31T10:00:00+00:00"]
        member.isPaused = true
        member.fenceState = .guarded
        member.tags = Tags(["nofailover": false, "failover_priority": 5, "replicatefrom": "a \"b\"\n\u{1}"])
        member.session = session
        let status = ClusterStatus(optime: LSN(UInt64(Int64.max)), slots: ["a": LSN(1)], retainSlots: ["a", "b"])
        let sync = SyncState(leader: "pg1", quorum: 2, standbys: ["a", "b"])
        let request = FailoverRequest(leader: "pg1", scheduledAt: WallTime(microseconds: 1_700_000_000_123_456))
        let history = TimelineHistory(rows: [
            .init(timeline: Timeline(1), switchLSN: LSN(5), reason: "x"),
            .init(timeline: Timeline(2), switchLSN: LSN(6), reason: "y", timestamp: "t", newLeader: "größe 1"),
        ])
        let configuration: JSONObject = ["ttl": 30, "a": ["b": [1, 2.5, .null, "x", true]]]
        let written = try transaction(
            .acquireLeader, .putMember(member, exists: false), .putStatus(status), .putSync(sync),
            .putFailover(request), .putHistory(history), .putConfiguration(configuration),
            .putInitialize("7123456789012345678"))
        let view = ClusterCodec.view(
            of: snapshot(
                written.writes.compactMap { write -> (String, [UInt8])? in
                    switch write {
                    case .create(let key, let value, _), .put(let key, let value, _): (key, value)
                    case .delete: nil
                    }
                }))
        #expect(view.problems == [])
        #expect(view.members == [member])
        #expect(view.status == status)
        #expect(view.sync == sync)
        #expect(view.failover == request)
        #expect(view.history == history)
        #expect(view.configuration == configuration)
        #expect(view.systemIdentifier == "7123456789012345678")
        #expect(view.leader?.name == "pg1")
    }

    @Test func whatCannotBeSentIsRefusedHere() throws {
        func code(_ body: () throws -> StoreTransaction) -> StoreError.Code? {
            do {
                _ = try body()
                return nil
            } catch {
                return (error as? StoreError)?.code
            }
        }
        #expect(code { try transaction(.acquireLeader, session: nil) } == .sessionLost)
        #expect(code { try transaction(if: [.leaderIsOurs], session: nil) } == .sessionLost)
        #expect(code { try transaction(.putMember(Member(name: "a"), exists: true), session: nil) } == .sessionLost)
        #expect(code { try transaction(.putMember(Member(name: "a/b"), exists: true)) } == .misconfigured)
        #expect(code { try transaction(.removeMember("")) } == .misconfigured)
        #expect(code { try transaction(.putFailover(nil), session: nil) } == nil)
        var tight = wideLimits
        tight.bytesPerValue = 10
        #expect(code { try transaction(.putConfiguration(["key": "value"]), limits: tight) } == .tooLarge)
        tight = wideLimits
        tight.bytesPerTransaction = 30
        #expect(
            code { try transaction(.putInitialize("0123456789"), .putInitialize("0123456789"), limits: tight) }
                == .tooLarge)
        tight = wideLimits
        tight.operationsPerTransaction = 1
        #expect(code { try transaction(if: [.leaderAbsent], .acquireLeader, limits: tight) } == .tooLarge)
    }
}
