#if Consul
    import ClusterModel
    import PluginInterfaces
    import StoreConformance
    import Testing

    @testable import ConsulStore

    /// What needs no server: plans, answers, what is remembered.
    @Suite struct ConsulPlanTests {
        private let place = KeyPlace(root: "/service/demo/")
        private let session = SessionID("11111111-2222-3333-4444-555555555555")

        private func entry(
            _ key: String, _ value: String = "", modified: UInt64, session: String? = nil, flags: UInt64 = 0
        ) throws -> ConsulEntry {
            try #require(
                ConsulEntry([
                    "Key": .string("service/demo/" + key), "Value": .string(Base64.encode(bytes(value))),
                    "CreateIndex": 3, "ModifyIndex": .integer(Int64(modified)), "Flags": .integer(Int64(flags)),
                    "Session": session.map { .string($0) } ?? .null,
                ]))
        }

        private func plan(
            _ compares: [StoreCompare], _ writes: [StoreWrite], known: [ConsulEntry] = [], anchor: SessionAnchor? = nil
        ) throws -> TransactionPlan {
            try TransactionPlan(
                StoreTransaction(id: TransactionID(1), compares: compares, writes: writes), at: place,
                known: Dictionary(known.map { ($0.key, $0) }) { $1 }, anchor: anchor)
        }

        private func verbs(_ plan: TransactionPlan) -> [String] {
            plan.operations.map { "\($0.verb) \(place.key($0.path) ?? $0.path)" }
        }

        @Test(arguments: [
            ("/service/demo/", "service/demo/"), ("service/demo", "service/demo/"), ("//a//b//", "a/b/"),
        ])
        func roots(_ root: String, _ expected: String) {
            #expect(KeyPlace(root: root).root == expected)
        }

        @Test func keysArePathsBelowTheRoot() {
            #expect(place.key("service/demo/members/a b") == "members/a b")
            #expect(place.key("service/demo/") == nil)
            #expect(place.key("service/demo2/leader") == nil)
            #expect(place.key("service/demo/sessions/x") == nil)
            #expect(KeyPlace(root: "/größe/a b/").tree == "/v1/kv/gr%C3%B6%C3%9Fe/a%20b/")
            #expect(KeyPlace(root: "/a%2Fb/?c#/").tree == "/v1/kv/a%252Fb/%3Fc%23/")
            #expect(
                ConsulCall.get("/v1/kv/a", [("recurse", nil), ("dc", "d c&x=1")], for: "test").target
                    == "/v1/kv/a?recurse&dc=d%20c%26x%3D1")
        }

        @Test func operationsFollowTheTransaction() throws {
            let made = try plan(
                [
                    .absent("leader"), .version("sync", EntryVersion(created: 3, number: 7)),
                    .owner("members/pg1", session),
                ],
                [
                    .create("leader", bytes("pg1"), .session(session)), .create("config", [], .permanent),
                    .put("sync", bytes("{}"), .permanent), .put("members/pg1", bytes("{}"), .session(session)),
                    .delete("failover"),
                ], anchor: SessionAnchor(session: session.text, path: place.anchor(session.text), index: 5, instance: 9)
            )
            #expect(
                verbs(made) == [
                    "check-index service/demo/sessions/\(session)", "check-not-exists leader", "check-index sync",
                    "check-session members/pg1", "lock leader", "cas config", "set sync", "lock members/pg1",
                    "delete failover",
                ])
            #expect(made.operations.filter(\.isGuess).count == 1)
            #expect(made.written == ["leader", "config", "sync", "members/pg1"])
            let json = try JSONValue.parse(made.body)
            let operations = try #require(json.array).compactMap { $0["KV"] }
            #expect(operations.count == 9)
            #expect(operations[0]["Index"]?.integer == 5)
            #expect(operations[4]["Value"]?.string == "cGcx")
            #expect(operations[4]["Session"]?.string == session.text)
            #expect(operations[5]["Index"]?.integer == 0)
            // A creation by itself brings its check along, and says what failed.
            let alone = try plan([], [.create("leader", [], .session(session))])
            #expect(verbs(alone) == ["check-not-exists leader", "lock leader"])
            #expect(alone.operations[0].compare == .absent("leader"))
            // Deleted and made again in one go.
            let again = try plan(
                [.absent("config")], [.delete("config"), .create("config", [], .permanent), .delete("config")])
            #expect(verbs(again) == ["check-not-exists config", "delete config", "cas config", "delete config"])
            #expect(again.written.isEmpty)
        }

        @Test func valuesAreComparedByTheIndexTheyWereReadUnder() throws {
            let leader = try entry("leader", "pg1", modified: 12)
            let compare = StoreCompare.value("leader", bytes("pg1"))
            let made = try plan([compare], [.put("status", [], .permanent)], known: [leader])
            #expect(verbs(made) == ["check-index leader", "set status"])
            #expect(made.operations[0].index == 12)
            #expect(made.operations[0].isGuess)
            #expect(throws: TransactionPlan.Refusal(compare: compare)) { try plan([compare], [], known: []) }
            let other = StoreCompare.value("leader", bytes("pg2"))
            #expect(throws: TransactionPlan.Refusal(compare: other)) { try plan([other], [], known: [leader]) }
            let problem = ConsulReply.Problem(operation: 0, text: "failed index check for key")
            #expect(made.isGuess(0))
            #expect(!made.isGuess(1) && !made.isGuess(-1) && !made.isGuess(99))
            #expect(made.compare(of: problem) == compare)
            #expect(made.compare(of: ConsulReply.Problem(operation: 99, text: "")) == nil)
            let delayed = ConsulReply.Problem(operation: 0, text: "failed to lock key \"x\" due to lock delay")
            #expect(made.compare(of: delayed) == nil)
        }

        // MARK: Answers

        @Test(arguments: [
            "", "{", "[]", "null", "{}", "[{}]", "[1]", "\"x\"", "[{\"Key\":\"a\"}]",
            "[{\"Key\":1,\"CreateIndex\":1,\"ModifyIndex\":1}]",
            "[{\"Key\":\"a\",\"CreateIndex\":-1,\"ModifyIndex\":1}]",
            "[{\"Key\":\"a\",\"CreateIndex\":1e400,\"ModifyIndex\":1}]",
            "[{\"Key\":\"a\",\"CreateIndex\":1,\"ModifyIndex\":99999999999999999999}]",
            "[{\"Key\":\"a\",\"CreateIndex\":1,\"ModifyIndex\":1,\"Value\":\"=\"}]",
            "[{\"Key\":\"a\",\"CreateIndex\":1,\"ModifyIndex\":1,\"Value\":{}}]",
        ])
        func garbageIsNoList(_ text: String) {
            let entries = ConsulReply.entries(bytes(text))
            #expect(entries == nil || entries == [])
            if text != "[]" { #expect(entries == nil) }
            _ = ConsulReply.transaction(bytes(text), isConflict: false)
            #expect(ConsulReply.transaction(bytes(text), isConflict: true) == nil)
            _ = ConsulReply.keys(bytes(text))
            #expect(ConsulReply.sessionID(bytes(text)) == nil)
            _ = ConsulReply.session(bytes(text))
        }

        @Test func answersAreRead() throws {
            let list =
                "[{\"LockIndex\":1,\"Key\":\"service/demo/leader\",\"Flags\":7,\"Value\":\"cGcx\",\"Session\":\"s\",\"CreateIndex\":8,\"ModifyIndex\":9},"
                + "{\"Key\":\"service/demo/initialize\",\"Flags\":-1,\"Value\":null,\"CreateIndex\":8,\"ModifyIndex\":8}]"
            let entries = try #require(ConsulReply.entries(bytes(list)))
            #expect(entries.map(\.key) == ["service/demo/leader", "service/demo/initialize"])
            #expect(entries[0].value == bytes("pg1") && entries[1].value == [])
            #expect(entries[0].version == EntryVersion(created: 8, number: 9))
            #expect(entries[0].session == "s" && entries[1].session == nil)
            #expect(entries[1].flags == 0)
            let conflict = "{\"Results\":null,\"Errors\":[{\"OpIndex\":1,\"What\":\"invalid session \\\"x\\\"\"},{}]}"
            guard case .failed(let problems)? = ConsulReply.transaction(bytes(conflict), isConflict: true) else {
                throw CaseFailure("no conflict")
            }
            #expect(problems.map(\.operation) == [1])
            #expect(problems[0].isInvalidSession && !problems[0].isPermission)
            #expect(
                ConsulReply.transaction(bytes("{\"Errors\":[{\"OpIndex\":9e99,\"What\":\"x\"}]}"), isConflict: true)
                    != nil)
            let least = "Invalid Session TTL '500000000', must be between [10s=24h0m0s]"
            #expect(ConsulReply.leastLifetime(least) == .seconds(10))
            #expect(
                ConsulReply.leastLifetime("Invalid Session TTL '1', must be between [1.5s=24h0m0s]")
                    == .milliseconds(1500))
            #expect(ConsulReply.leastLifetime("Invalid Session TTL") == nil)
            #expect(ConsulReply.leastLifetime("something [10s=") == nil)
        }

        @Test(arguments: [
            ("10s", 10_000), ("24h0m0s", 86_400_000), ("1m30s", 90_000), ("1.5s", 1500), ("250ms", 250),
            ("15.0s", 15_000),
        ])
        func lengthsOfTime(_ text: String, _ milliseconds: Int64) {
            #expect(GoDuration.parse(text) == .milliseconds(milliseconds))
        }

        @Test(arguments: ["", "10", "s", "1x", "-1s", "1e9s", "999999999999h", ".s", "1..2s"])
        func noLengthsOfTime(_ text: String) {
            #expect(GoDuration.parse(text) == nil)
        }

        // MARK: Revisions

        private func at(_ milliseconds: Int64) -> Instant { Instant(nanoseconds: milliseconds * 1_000_000) }

        @Test func anOlderAnswerIsDropped() throws {
            var memory = RevisionMemory()
            let old = [try entry("config", modified: 10)]
            let new = [try entry("config", modified: 20)]
            #expect(
                memory.accept(new, index: 20, requestedAt: at(0), now: at(10), isConsistent: true)
                    == .accepted(StoreRevision(number: 20)))
            // Asked for before the newer one had come.
            #expect(memory.accept(old, index: 10, requestedAt: at(5), now: at(11), isConsistent: true) == .dropped)
            // An old server's, whenever it was asked.
            #expect(memory.accept(old, index: 10, requestedAt: at(50), now: at(51), isConsistent: false) == .dropped)
            // Older than a transaction of ours.
            memory.note(committed: 30, now: at(60))
            #expect(memory.accept(new, index: 20, requestedAt: at(55), now: at(61), isConsistent: true) == .dropped)
            #expect(memory.revision == StoreRevision(number: 30))
            // The header may be lower than what is in the answer.
            let newest = [try entry("config", modified: 40)]
            #expect(
                memory.accept(newest, index: 1, requestedAt: at(70), now: at(71), isConsistent: true)
                    == .accepted(StoreRevision(number: 40)))
        }

        @Test func reapedTombstonesAreNoStepBack() throws {
            var memory = RevisionMemory()
            let kept = try entry("config", modified: 10)
            _ = memory.accept(
                [kept, try entry("failover", modified: 20)], index: 20, requestedAt: at(0), now: at(10),
                isConsistent: true)
            // Deleted at 25, and the tombstone reaped.
            _ = memory.accept([kept], index: 25, requestedAt: at(20), now: at(30), isConsistent: true)
            #expect(
                memory.accept([kept], index: 10, requestedAt: at(40), now: at(50), isConsistent: true)
                    == .accepted(StoreRevision(number: 25)))
            // What comes then is counted from there.
            #expect(
                memory.accept(
                    [kept, try entry("sync", modified: 26)], index: 26, requestedAt: at(60), now: at(70),
                    isConsistent: true)
                    == .accepted(StoreRevision(number: 26)))
        }

        @Test func anotherStateIsSeenAndBeginsAnotherEra() throws {
            var memory = RevisionMemory()
            _ = memory.accept(
                [try entry("config", modified: 50)], index: 50, requestedAt: at(0), now: at(10), isConsistent: true)
            #expect(
                memory.accept(
                    [try entry("config", modified: 10)], index: 10, requestedAt: at(20), now: at(30), isConsistent: true
                )
                    == .acceptedThoughOlder(StoreRevision(era: 1, number: 10)))
            // An answer from before that is older than this one, though its index is higher.
            #expect(memory.entries["service/demo/config"]?.modifyIndex == 10)
            #expect(
                memory.accept(
                    [try entry("config", modified: 12)], index: 12, requestedAt: at(40), now: at(50), isConsistent: true
                )
                    == .accepted(StoreRevision(era: 1, number: 12)))
            // Entries that come back in an older form give a restored state away, whatever the index.
            #expect(
                memory.accept(
                    [try entry("config", modified: 11)], index: 60, requestedAt: at(60), now: at(70), isConsistent: true
                )
                    == .acceptedThoughOlder(StoreRevision(era: 2, number: 60)))
        }

        // MARK: The watch

        @Test func theWatchSaysWhatHappened() {
            var watch = WatchProgress()
            let long = ChangeWatch.patience
            #expect(watch.take(.failure("down")) == (.disconnected("down"), ChangeWatch.shortestPause))
            #expect(watch.take(.failure("down")) == (nil, ChangeWatch.shortestPause * 2))
            #expect(watch.take(.answer(index: 0, after: .zero)) == (.connected, .zero))
            #expect(watch.index == 1)
            #expect(watch.take(.answer(index: 7, after: .zero)) == (.changed(StoreRevision(number: 7)), .zero))
            #expect(watch.take(.answer(index: 7, after: long)) == (nil, .zero))
            #expect(watch.index == 7)
            // Answered before its time, with nothing new: another state, perhaps.
            #expect(watch.take(.answer(index: 7, after: .zero)) == (nil, ChangeWatch.shortestPause))
            #expect(watch.index == 0)
            #expect(watch.take(.answer(index: 3, after: .zero)) == (.changed(nil), .zero))
            #expect(watch.index == 3)
            #expect(watch.take(.failure("gone")) == (.disconnected("gone"), ChangeWatch.shortestPause * 2))
            #expect(watch.index == 0)
            for _ in 0..<10 { #expect(watch.take(.failure("gone")).pause <= ChangeWatch.longestPause) }
            #expect(watch.take(.answer(index: 3, after: .zero)) == (.connected, .zero))
            // Whoever answers at once, again and again, is not asked without end.
            var pauses = Duration.zero
            for _ in 0..<20 { pauses += watch.take(.answer(index: 3, after: .zero)).pause }
            #expect(pauses > .seconds(5))
        }

        @Test func refusalsAreTold() {
            let refusals = ConsulRefusals(place: place)
            let endpoint = ConsulEndpoint(host: "consul1", port: 8500)
            func error(_ status: Int, _ text: String) -> (StoreError, Bool) {
                let answer = ConsulAnswer(status: status, body: bytes(text))
                return (refusals.error(answer, "test", at: endpoint), ConsulRefusals.isWithoutEffect(answer))
            }
            #expect(error(403, "Permission denied").0.code == .notAuthorized)
            #expect(error(500, "rpc error making call: ACL not found").0.code == .notAuthorized)
            #expect(error(500, "No cluster leader").0.code == .unreachable)
            #expect(error(500, "rpc error making call: No cluster leader").1)
            #expect(error(500, "No path to datacenter").0.code == .misconfigured)
            #expect(error(413, "too large").0.code == .tooLarge)
            #expect(error(404, "page not found").0.code == .misconfigured)
            // Whatever happened here may have been applied.
            for text in [
                "leadership lost while committing log", "rpc error making call: EOF", "", "raft is already shutdown",
            ] {
                let (found, isWithoutEffect) = error(500, text)
                #expect(found.code == .unreachable)
                #expect(!isWithoutEffect)
            }
            #expect(error(500, String(repeating: "x\n", count: 5000)).0.message.utf8.count < 500)
            #expect(error(200, "").0.code == .malformed)
        }
    }
#endif
