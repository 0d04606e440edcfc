#if ZooKeeper
    import ClusterModel
    import PluginInterfaces
    import StoreConformance
    import Testing

    @testable import ZooKeeperStore

    @Suite struct ZooKeeperPlanTests {
        private let session = SessionID(zooKeeper: 0x10)

        private func node(_ value: String, version: Int32 = 0, created: UInt64 = 5, owner: Int64 = 0) -> Node {
            Node(
                value: bytes(value),
                stat: NodeStat(
                    created: created, modified: created, childrenModified: created, version: version, owner: owner,
                    children: 0))
        }

        private func plan(
            _ compares: [StoreCompare], _ writes: [StoreWrite], _ found: [StoreKey: Node] = [:]
        ) throws -> [Operation] {
            let transaction = StoreTransaction(id: TransactionID(1), compares: compares, writes: writes)
            return try TransactionPlan(transaction, found: found) { "/r/" + $0 }.steps.map(\.operation)
        }

        @Test func acquiringIsOneCreateWithItsChecks() throws {
            let found = ["sync": node("{}", version: 3), "failover": node("{}", version: 1)]
            let operations = try plan(
                [
                    .absent("leader"), .version("sync", EntryVersion(created: 5, number: 3)),
                    .version("failover", EntryVersion(created: 5, number: 1)),
                ],
                [
                    .create("leader", bytes("pg1"), .session(session)), .put("failover", bytes("{}"), .permanent),
                ], found)
            #expect(
                operations == [
                    .check(path: "/r/sync", version: 3),
                    .create(path: "/r/leader", value: bytes("pg1"), isEphemeral: true),
                    .set(path: "/r/failover", value: bytes("{}"), version: 1),
                ])
        }

        @Test func absenceAloneIsACreateThatIsTakenBack() throws {
            let operations = try plan([.absent("leader")], [.put("config", bytes("{}"), .permanent)])
            #expect(
                operations == [
                    .create(path: "/r/leader", value: [], isEphemeral: false), .delete(path: "/r/leader", version: -1),
                    .create(path: "/r/config", value: bytes("{}"), isEphemeral: false),
                ])
        }

        @Test func anotherCreationIsAnotherVersion() throws {
            let wanted = StoreCompare.version("sync", EntryVersion(created: 4, number: 0))
            #expect(throws: TransactionPlan.Refusal(compare: wanted)) {
                try plan([wanted], [.put("sync", [], .permanent)], ["sync": node("{}")])
            }
            #expect(throws: TransactionPlan.Refusal(compare: wanted)) { try plan([wanted], []) }
        }

        @Test func ownersAndValuesAreChecked() throws {
            let found = ["leader": node("pg1", version: 2, owner: 0x10)]
            let operations = try plan(
                [.owner("leader", session), .value("leader", bytes("pg1"))], [.delete("failover")], found)
            #expect(operations == [.check(path: "/r/leader", version: 2)])
            let other = StoreCompare.owner("leader", SessionID(zooKeeper: 0x11))
            #expect(throws: TransactionPlan.Refusal(compare: other)) { try plan([other], [], found) }
            let value = StoreCompare.value("leader", bytes("pg2"))
            #expect(throws: TransactionPlan.Refusal(compare: value)) { try plan([value], [], found) }
            let owned = try plan([.owner("leader", session)], [.delete("leader")], found)
            #expect(owned == [.delete(path: "/r/leader", version: 2)])
        }

        @Test func anEntryOfAnotherSessionIsNotTakenOver() throws {
            let found = ["members/pg1": node("{}", version: 4, owner: 0x99)]
            #expect(throws: TransactionPlan.Refusal(compare: .owner("members/pg1", session))) {
                try plan([], [.put("members/pg1", [], .session(session))], found)
            }
            let renewed = try plan(
                [], [.delete("members/pg1"), .create("members/pg1", bytes("{}"), .session(session))], found)
            #expect(
                renewed == [
                    .delete(path: "/r/members/pg1", version: -1),
                    .create(path: "/r/members/pg1", value: bytes("{}"), isEphemeral: true),
                ])
        }

        @Test func aSecondWriteBuildsOnTheFirst() throws {
            let operations = try plan(
                [.version("config", EntryVersion(created: 5, number: 1))],
                [.put("config", bytes("a"), .permanent), .put("config", bytes("b"), .permanent), .delete("config")],
                ["config": node("", version: 1)])
            #expect(
                operations == [
                    .set(path: "/r/config", value: bytes("a"), version: 1),
                    .set(path: "/r/config", value: bytes("b"), version: -1),
                    .delete(path: "/r/config", version: -1),
                ])
        }

        @Test func aPassIsACutWhenNothingIsNewerThanWhatWasKnown() {
            var pass = ReadPass()
            pass.add("config", node("{}", created: 7))
            #expect(!pass.isCut(known: 6))
            #expect(pass.isCut(known: 7))
            pass.isTorn = true
            #expect(!pass.isCut(known: 7))
        }

        @Test func paths() {
            let paths = KeyPaths(root: "//service/demo/", chroot: "/a/", memberName: "pg1")
            #expect(paths.base == "/a/service/demo")
            #expect(paths.path("leader") == "/a/service/demo/leader")
            #expect(paths.key("/a/service/demo/members/pg1") == "members/pg1")
            #expect(paths.key("/a/service/demo2/leader") == nil)
            #expect(!paths.contains("/a/service/demo2"))
            #expect(KeyPaths.ancestors("/a/b/c") == ["/a", "/a/b"])
        }

        @Test func savedSessions() {
            let identity = ClientIdentity(number: -0x7f00_1122_3344_5566, password: Array(1...16))
            #expect(ClientIdentity(encoded: identity.encoded) == identity)
            #expect(ClientIdentity(encoded: []) == nil)
            #expect(ClientIdentity(encoded: [UInt8](repeating: 0, count: 24)) == nil)
            #expect(SessionID(zooKeeper: -1).text == "0xffffffffffffffff")
        }
    }
#endif
