import ClusterModel
import Testing

@Suite struct ValueTests {
    @Test func positions() {
        #expect(LSN(text: "16/B374D848")?.bytes == 0x16_B374_D848)
        #expect(LSN(0x16_B374_D848).description == "16/B374D848")
        #expect(LSN(text: "0/0") == .zero)
        for wrong in ["", "/", "0", "0/", "/0", "0/0/0", "g/0", "100000000/0", "0/100000000", "-1/0"] {
            #expect(LSN(text: wrong) == nil, "\(wrong)")
        }
        #expect(LSN(10).bytes(aheadOf: LSN(4)) == 6)
        #expect(LSN(4).bytes(aheadOf: LSN(10)) == 0)
    }

    @Test func fences() {
        #expect(Fence(era: 1, number: 0) > Fence(era: 0, number: .max))
        #expect(Fence("3.17") == Fence(era: 3, number: 17))
        #expect(Fence(era: 3, number: 17).description == "3.17")
        for wrong in ["", "3", "3.", ".3", "3.1.2", "-1.2", "a.b", "4294967296.1"] { #expect(Fence(wrong) == nil) }
    }

    @Test(arguments: [
        ("1970-01-01T00:00:00Z", 0, true), ("2026-01-31T10:00:00+00:00", 1_769_853_600, true),
        ("2026-01-31 11:00:00+01", 1_769_853_600, true), ("2026-01-31T04:30:00-0530", 1_769_853_600, true),
        ("2026-01-31T10:00", 1_769_853_600, false), ("1969-12-31T23:59:59Z", -1, true),
        ("2024-02-29T00:00:00Z", 1_709_164_800, true),
    ])
    func wallTimes(_ text: String, _ seconds: Int64, _ hasZone: Bool) throws {
        let (time, named) = try #require(WallTime.parse(text))
        #expect(time == WallTime(seconds: seconds) && named == hasZone)
        #expect(WallTime.parse(time.iso8601())?.time == time)
    }

    @Test func wallTimesOfAnyKind() {
        for wrong in [
            "", "now", "2026-13-01T00:00:00Z", "2026-01-31T25:00:00Z", "2026-01-31", "2026-01-31T10:00:00.Z",
            "2026-01-31T10:00:00Zx",
            // Days that the month does not have, years that cannot be written.
            "2026-02-31T10:00Z", "2026-04-31T10:00Z", "2023-02-29T00:00Z", "1900-02-29T00:00Z", "2026-01-00T00:00Z",
            "0000-06-01T00:00Z", "0001-01-01T00:00+01:00", "9999-12-31T23:30-01:00",
        ] {
            #expect(WallTime.parse(wrong) == nil, "\(wrong)")
        }
        #expect(WallTime.parse("2026-01-31T10:00:00.5Z")?.time.microseconds == 1_769_853_600_500_000)
        #expect(WallTime(microseconds: -1).iso8601() == "1969-12-31T23:59:59.999999+00:00")
        #expect(WallTime(seconds: 1_769_853_600).iso8601(fractionDigits: 0) == "2026-01-31T10:00:00+00:00")
    }

    @Test func durationsDoNotOverflow() {
        #expect(Duration.seconds(Int64.max).nanosecondsClamped > 0)
        #expect(Duration.seconds(-Int64.max).nanosecondsClamped < 0)
        #expect(Instant(nanoseconds: 5) + .seconds(1) == Instant(nanoseconds: 1_000_000_005))
        #expect(Instant.distantPast + .seconds(Int64.max) > Instant.distantPast)
    }

    @Test func tags() {
        func tags(_ values: JSONObject) -> Tags { Tags(values) }
        #expect(tags([:]).failoverPriority == 1 && !tags([:]).isNoFailover)
        #expect(tags(["nofailover": true, "failover_priority": 5]).failoverPriority == 0)
        #expect(tags(["nofailover": false, "failover_priority": 0]).failoverPriority == 1)
        #expect(tags(["failover_priority": 0]).isNoFailover)
        #expect(tags(["failover_priority": "7"]).failoverPriority == 7)
        #expect(tags(["nosync": false, "sync_priority": 0]).isNoSync == false)
        #expect(
            tags(["nofailover": false, "clonefrom": 0, "nosync": "", "z": false]).published == ["z": false])
        #expect(
            tags(["nofailover": false, "failover_priority": 2]).published.keys == ["nofailover", "failover_priority"])
        #expect(tags(["replicatefrom": ""]).replicateFrom == nil)
    }

    @Test func memberWords() {
        #expect(MemberRole(stored: "master") == .primary)
        #expect(MemberRole(stored: "standby_leader") == .standbyLeader)
        #expect(MemberRole(stored: "sync_standby") == nil)
        #expect(MemberState(rawValue: "running custom bootstrap script") == .runningBootstrapScript)
        // A word of a later version is kept as it is.
        let (member, problems) = Member.read(name: "a", value: Array(#"{"state":"dancing"}"#.utf8), session: nil)
        #expect(member.state == .unknown && member.stateText == "dancing" && problems.isEmpty)
    }

    @Test func syncNamesCompareWithoutCase() {
        let state = SyncState(leader: "PG1", standbys: ["pg2"])
        #expect(state.admits("pg1") && state.admits("PG2") && !state.admits("pg3"))
        #expect(SyncState().admits("anybody"))
    }

    @Test func historyKnowsItsTimeline() {
        #expect(TimelineHistory().currentTimeline == Timeline(1))
        let (history, problem) = TimelineHistory.read(Array(#"[[1,5,"a"],["x"],[2,"6","b","t"]]"#.utf8))
        #expect(history?.rows.map(\.timeline.number) == [1, 2])
        #expect(history?.currentTimeline == Timeline(3))
        #expect(problem == #"history: a row is left out: ["x"]"#)
    }

    @Test func pause() {
        var view = ClusterView(revision: StoreRevision(number: 1), requestedAt: .distantPast)
        #expect(!view.isPaused)
        for (value, expected): (JSONValue, Bool) in [
            (true, true), (false, false), ("on", true), ("off", false), (1, true), (0, false), (.null, false),
            ([:], false),
        ] {
            view.configuration = ["pause": value]
            #expect(view.isPaused == expected, "\(value)")
        }
    }
}
