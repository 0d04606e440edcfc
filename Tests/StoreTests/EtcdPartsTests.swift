#if Etcd
    import ClusterModel
    import ConfigurationTree
    import PluginInterfaces
    import StoreConformance
    import Testing

    @testable import EtcdStore

    /// The parts of the etcd store that need no server.
    @Suite struct EtcdPartsTests {
        // MARK: Texts

        @Test func keysAndRanges() {
            let keys = EtcdKeys(root: "//service//demo")
            #expect(keys.name == "/service/demo/")
            #expect(keys.key(bytes("/service/demo/members/pg1")) == "members/pg1")
            #expect(keys.key(bytes("/service/demo/")) == nil)
            #expect(keys.key(bytes("/service/demo2/leader")) == nil)
            #expect(keys.key(keys.root + [0xFF]) == nil)
            #expect(EtcdKeys.end(ofPrefix: bytes("/a/")) == bytes("/a0"))
            #expect(EtcdKeys.end(ofPrefix: [1, 0xFF]) == [2])
            #expect(EtcdKeys.end(ofPrefix: [0xFF]) == [0])
            #expect(LeaseID(text: "7fffffffffffffff")?.number == .max)
            #expect(LeaseID(text: "0") == nil && LeaseID(text: "-1") == nil && LeaseID(text: "G") == nil)
            #expect(LeaseID(text: "10000000000000000") == nil)
        }

        @Test(arguments: [
            ("3.4.23", false), ("3.4.30", false), ("3.4.31", true), ("3.5.0", false), ("3.5.12", false),
            ("3.5.13", true),
            ("3.6.0-rc.1", true), ("3.7.1", true), ("4.0.0", true), ("3.3.27", false),
        ]) func releases(_ text: String, _ isFixed: Bool) throws {
            let release = try #require(EtcdRelease(text))
            #expect(release.leavesForeignLeases == isFixed)
            #expect((release.warning == nil) == isFixed)
        }

        @Test func noReleases() {
            for text in ["", "3.4", "3.4.x", "a.b.c", "3.4.5.6"] { #expect(EtcdRelease(text) == nil) }
        }

        @Test func piecesBecomeLines() {
            var lines = LineAssembler(limit: 10)
            #expect(lines.add(bytes("ab")) == [])
            #expect(lines.add(bytes("c\nde\n\nf")) == [bytes("abc"), bytes("de")])
            #expect(lines.add(bytes("\n")) == [bytes("f")])
            #expect(lines.add(bytes("0123456789")) == [])
            #expect(lines.add(bytes("x")) == nil)
        }

        // MARK: What servers say

        @Test(arguments: [
            ("etcdserver: invalid auth token", Refusal.Kind.tokenRefused, true),
            ("rpc error: code = Unknown desc = auth: revision in header is old", .tokenRefused, true),
            ("etcdserver: permission denied", .notAuthorized, true),
            ("etcdserver: requested lease not found", .leaseNotFound, true),
            ("etcdserver: request is too large", .tooLarge, true),
            ("etcdserver: request timed out, possibly due to previous leader failure", .undecided, false),
            ("etcdserver: request timed out", .undecided, false),
            ("etcdserver: leader changed", .unfit, false), ("etcdserver: server stopped", .unfit, false),
            ("etcdserver: no leader", .unfit, false),
            ("etcdserver: mvcc: database space exceeded", .undecided, false),
            ("raft proposal dropped", .unfit, true), ("anything else", .undecided, false), ("", .undecided, false),
        ]) func whatIsCertain(_ text: String, _ kind: Refusal.Kind, _ isCertain: Bool) {
            let refusal = Refusal(status: 500, code: 2, message: text)
            #expect(refusal.kind == kind)
            #expect(refusal.isCertain == isCertain)
        }

        @Test(arguments: [
            #"{"error":"etcdserver: requested lease not found","code":5}"#,
            #"{"error":"etcdserver: requested lease not found","message":"etcdserver: requested lease not found","code":5}"#,
            #"{"code":5,"message":"etcdserver: requested lease not found","details":[]}"#,
            #"{"error":{"grpc_code":5,"http_code":404,"message":"etcdserver: requested lease not found"}}"#,
            #"{"error":{"code":5,"message":"etcdserver: requested lease not found","details":[]}}"#,
        ]) func errorsInAllTheirForms(_ text: String) throws {
            let object = try #require(try JSONValue.parse(text).object)
            #expect(GatewayClient.refusal(404, object)?.kind == .leaseNotFound)
        }

        @Test(arguments: [
            #"{"result":{"header":{"cluster_id":"1","member_id":"2","raft_term":"3","revision":"9"},"events":[{"kv":{"key":"YQ==","mod_revision":"9"}}]}}"#
        ]) func watchMessages(_ text: String) throws {
            let message = try #require(WatchMessage(try JSONValue.parse(text)))
            #expect(message.events == [WatchMessage.Event(key: bytes("a"), isDeletion: false, revision: 9)])
            #expect(!message.isCancelled && message.compacted == nil)
        }

        /// Garbage of every kind is refused, none is fatal.
        @Test func garbage() throws {
            let texts = [
                "{}", "[]", "null", "1", #"{"result":1}"#, #"{"result":{"header":{"cluster_id":"x"}}}"#,
                #"{"result":{"header":{"cluster_id":"-1","member_id":"2","raft_term":"3"}}}"#,
                #"{"result":{"header":{"cluster_id":"1","member_id":"2","raft_term":"99999999999999999999999"}}}"#,
                #"{"result":{"header":{"cluster_id":1.5,"member_id":"2","raft_term":"3"}}}"#,
                #"{"result":{"header":{"cluster_id":"1","member_id":"2","raft_term":"3"},"events":[{"kv":{"key":"!"}}]}}"#,
                #"{"result":{"header":{"cluster_id":"1","member_id":"2","raft_term":"3"},"events":[1]}}"#,
            ]
            for text in texts { #expect(WatchMessage(try JSONValue.parse(text)) == nil, "\(text)") }
            #expect(GatewayAnswer.keyValues(try JSONValue.parse(#"{"kvs":{}}"#)) == nil)
            #expect(GatewayAnswer.keyValues(try JSONValue.parse(#"{"kvs":[{"key":"YQ==","value":1}]}"#)) == nil)
            #expect(GatewayAnswer.keyValues(try JSONValue.parse("{}")) == [])
            for status in [0, 200, 302, 404, 500, 999] {
                for body in ["", "<html>", "{", "[1]", "\"x\"", #"{"error":1}"#, #"{"error":{}}"#] {
                    _ = try? GatewayClient.judge(status, bytes(body), Endpoint(isSecure: false, host: "a", port: 1))
                }
            }
        }

        // MARK: DNS

        @Test func dnsMessagesThatAreNone() throws {
            let name = "_etcd._tcp.example.org"
            let question = try #require(DNSMessage.query(name, id: 7))
            #expect(DNSMessage.answer(question, to: name, id: 7) == nil)
            var empty = question
            empty[2] = 0x81
            empty[3] = 0x80
            #expect(DNSMessage.answer(empty, to: name, id: 7) == .records([]))
            #expect(DNSMessage.answer(empty, to: name.uppercased(), id: 7) == .records([]))
            #expect(DNSMessage.answer(empty, to: name, id: 8) == nil)
            #expect(DNSMessage.answer(empty, to: "_etcd._tcp.example.com", id: 7) == nil)
            empty[3] = 0x82
            #expect(DNSMessage.answer(empty, to: name, id: 7) == .failed(2))
            for count in 0..<question.count - 11 {
                #expect(DNSMessage.answer(Array(empty[..<count]), to: name, id: 7) == nil)
            }
            // A pointer to itself, a length beyond the end, many records that are not there.
            var looped = Array(question[..<12]) + [0xC0, 12, 0, 33, 0, 1]
            looped[2] = 0x80
            #expect(DNSMessage.answer(looped, to: name, id: 7) == nil)
            var random = SystemRandomNumberGenerator()
            for _ in 0..<20_000 {
                var bytes = empty
                bytes[3] = 0x80
                bytes[7] = 3
                for _ in 0..<Int.random(in: 1...6, using: &random) {
                    bytes[Int.random(in: 4..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
                }
                bytes += (0..<Int.random(in: 0...40, using: &random)).map { _ in
                    UInt8.random(in: 0...255, using: &random)
                }
                _ = DNSMessage.answer(bytes, to: name, id: 7)
            }
            #expect(DNSMessage.encodedName("a..b") == nil && DNSMessage.encodedName("") == nil)
            #expect(DNSMessage.encodedName(String(repeating: "a", count: 64)) == nil)
            #expect(DNSMessage.encodedName(Array(repeating: "abcdefgh", count: 30).joined(separator: ".")) == nil)
        }

        @Test func resolvConf() {
            let text =
                "# x\nnameserver 10.0.0.1\n search example.org\nnameserver\tfe80::1\nnameserver 1\nnameserver 2\n"
            #expect(
                DNSResolver.parse(text)
                    == [NameServer(address: "10.0.0.1"), NameServer(address: "fe80::1"), NameServer(address: "1")])
            #expect(DNSResolver.parse("") == [NameServer(address: "127.0.0.1")])
        }

        @Test func membersThatServeNoClients() throws {
            let text = """
                {"members":[
                  {"ID":"1","clientURLs":["https://a:2379","http://a:2378"]},
                  {"ID":"2","clientURLs":["unix://x","http://0.0.0.0:2379","https://b"]},
                  {"ID":"3","isLearner":true,"clientURLs":["https://c:2379"]},{"ID":"4"},{"clientURLs":7},9]}
                """
            let body = try #require(try JSONValue.parse(text).object)
            let (secure, refused) = EndpointDiscovery.clientEndpoints(body, requiringTLS: true)
            #expect(secure.map(\.url) == ["https://a:2379", "https://b:2379"])
            #expect(refused.map(\.url) == ["http://a:2378"])
            let (all, _) = EndpointDiscovery.clientEndpoints(body, requiringTLS: false)
            #expect(all.map(\.url) == ["https://a:2379", "http://a:2378", "https://b:2379"])
        }

        // MARK: Endpoints and views

        private let a = Endpoint(isSecure: false, host: "a", port: 1)
        private let b = Endpoint(isSecure: false, host: "b", port: 1)
        private let c = Endpoint(isSecure: false, host: "c", port: 1)

        private func at(_ seconds: Int64) -> Instant { Instant(nanoseconds: seconds * 1_000_000_000) }

        @Test func whomToAsk() {
            var pool = EndpointPool([a, b, c])
            #expect(pool.order == [a, b, c])
            pool.succeeded(b)
            #expect(pool.order == [b, a, c])
            // One that answers is kept while it does.
            pool.succeeded(a)
            #expect(pool.order == [b, a, c])
            pool.failed(b, at: at(5))
            pool.failed(a, at: at(6))
            #expect(pool.order == [c, b, a])
            pool.succeeded(a)
            #expect(pool.order == [a, c, b])
            pool.turnedOutStrange(c, at: at(7))
            #expect(pool.order == [a, b, c])
            #expect(!pool.isIntroduced(c) && pool.isIntroduced(a))
            // Members that come and go; what is configured stays, behind them.
            let d = Endpoint(isSecure: false, host: "d", port: 1)
            #expect(pool.discover([d, a]) == true)
            #expect(pool.discover([d, a]) == false)
            #expect(pool.discover([]) == false)
            #expect(pool.order == [a, d, b, c])
        }

        private func header(_ cluster: UInt64, _ revision: UInt64, term: UInt64 = 2) throws -> AnswerHeader {
            try #require(
                AnswerHeader([
                    "cluster_id": .string(String(cluster)), "member_id": "1", "raft_term": .string(String(term)),
                    "revision": .string(String(revision)),
                ]))
        }

        @Test func viewsNeverGoBack() throws {
            var view = ViewGuard()
            func admit(_ header: AnswerHeader, _ endpoint: Endpoint, isCurrent: Bool = true, at now: Int64)
                -> ViewGuard.Verdict
            {
                view.admit(
                    header, from: endpoint, isCurrent: isCurrent, before: view.before, at: at(now),
                    configured: [a, b, c], delay: .seconds(10))
            }
            let early = view.before
            #expect(admit(try header(1, 5), a, at: 0) == .admitted)
            #expect(admit(try header(1, 7), b, at: 1) == .admitted)
            // A member that is behind, by revision or by term.
            #expect(admit(try header(1, 6), c, isCurrent: false, at: 1) == .stale)
            #expect(admit(try header(1, 8, term: 1), c, isCurrent: false, at: 1) == .stale)
            // Overtaken: asked before the newer one was seen.
            let overtaken = view.admit(
                try header(1, 6), from: c, isCurrent: true, before: early, at: at(1), configured: [a, b, c],
                delay: .seconds(10))
            #expect(overtaken == .stale)
            guard case .stranger = admit(try header(2, 100), c, at: 2) else { throw CaseFailure("admitted") }
            // One of three, for as long as it likes.
            guard case .stranger = admit(try header(2, 100), c, at: 100) else { throw CaseFailure("admitted") }
            // Two of three, but ours has answered not long ago.
            #expect(admit(try header(1, 7), a, at: 100) == .admitted)
            guard case .stranger = admit(try header(2, 100), b, at: 101) else { throw CaseFailure("admitted") }
            guard case .stranger = admit(try header(2, 100), b, at: 109) else { throw CaseFailure("admitted") }
            #expect(admit(try header(2, 100), b, at: 112) == .replaced)
            #expect(view.era == 1 && view.revision == 100)
            #expect(admit(try header(2, 101), c, at: 113) == .admitted)
            // An answer to what was asked before the change.
            let late = view.admit(
                try header(2, 102), from: c, isCurrent: true, before: early, at: at(113), configured: [a, b, c],
                delay: .seconds(10))
            #expect(late == .stale)
            #expect(view.note(try header(2, 103), from: a, before: view.before, at: at(114)))
            #expect(!view.note(try header(1, 200), from: a, before: view.before, at: at(114)))
            #expect(!view.note(try header(2, 50), from: a, before: view.before, at: at(114)))
        }

        @Test func aStoreThatWasSetBack() throws {
            var view = ViewGuard()
            func admit(_ revision: UInt64, at now: Int64) throws -> ViewGuard.Verdict {
                view.admit(
                    try header(1, revision), from: a, isCurrent: true, before: view.before, at: at(now),
                    configured: [a],
                    delay: .seconds(10))
            }
            #expect(try admit(50, at: 0) == .admitted)
            guard case .stranger = try admit(20, at: 5) else { throw CaseFailure("admitted") }
            guard case .stranger = try admit(21, at: 14) else { throw CaseFailure("admitted") }
            #expect(try admit(22, at: 16) == .replaced)
            #expect(view.era == 1 && view.revision == 22)
        }

        // MARK: Watches

        @Test func whatAWatchShouldHaveTold() {
            func summary(_ count: Int, _ newest: UInt64, _ revision: UInt64) -> WatchMirror.Summary {
                WatchMirror.Summary(count: count, newest: newest, revision: revision, era: 0)
            }
            var mirror = WatchMirror([], revision: 10, era: 0)
            #expect(mirror.agrees(with: summary(0, 0, 10)))
            // Elsewhere in the store something changed.
            #expect(mirror.agrees(with: summary(0, 0, 15)))
            #expect(!mirror.agrees(with: summary(1, 12, 15)))
            mirror.apply([.init(key: [1], isDeletion: false, revision: 12)])
            #expect(mirror.agrees(with: summary(1, 12, 15)))
            #expect(!mirror.agrees(with: summary(0, 0, 16)))
            mirror.apply([.init(key: [1], isDeletion: true, revision: 16)])
            #expect(mirror.agrees(with: summary(0, 0, 16)))
            // It is ahead of an old read, or has said that there was nothing.
            #expect(mirror.agrees(with: summary(5, 12, 13)))
            mirror.progressed(to: 20)
            #expect(mirror.agrees(with: summary(3, 19, 20)))
            #expect(!mirror.agrees(with: summary(3, 21, 21)))
            #expect(mirror.agrees(with: WatchMirror.Summary(count: 3, newest: 9, revision: 30, era: 1)))
        }

        // MARK: Transactions

        private let keys = EtcdKeys(root: "/service/demo/")

        private func request(
            _ compares: [StoreCompare], _ writes: StoreWrite..., fence: TransactionRequest.Fence? = nil
        ) throws(TransactionRequest.Problem) -> TransactionRequest {
            try TransactionRequest(
                StoreTransaction(id: TransactionID(1), compares: compares, writes: writes), keys: keys, fence: fence)
        }

        private func key(_ name: String) -> String { keys.encoded(name) }

        @Test func comparesInAllTheirForms() throws {
            let body = try request(
                [
                    .absent("a"), .version("b", EntryVersion(created: 3, number: 7)), .owner("c", SessionID("1f")),
                    .value("d", bytes("x")),
                ], .put("b", bytes("y"), .permanent), .delete("e"), .create("f", [], .session(SessionID("1f"))),
                fence: .init(key: "sessions/1f", version: nil)
            ).body()
            let expected = """
                {"compare":[{"key":"\(key("a"))","target":"CREATE","create_revision":"0"},\
                {"key":"\(key("b"))","target":"MOD","mod_revision":"7"},\
                {"key":"\(key("b"))","target":"CREATE","create_revision":"3"},\
                {"key":"\(key("c"))","target":"LEASE","lease":"31"},\
                {"key":"\(key("d"))","target":"VALUE","value":"eA=="},\
                {"key":"\(key("f"))","target":"CREATE","create_revision":"0"},\
                {"key":"\(key("sessions/1f"))","target":"CREATE","create_revision":"0"}],\
                "success":[{"request_put":{"key":"\(key("b"))","value":"eQ=="}},\
                {"request_delete_range":{"key":"\(key("e"))"}},\
                {"request_put":{"key":"\(key("f"))","value":"","lease":"31"}}],\
                "failure":[{"request_range":{"key":"\(key("a"))","keys_only":true}},\
                {"request_range":{"key":"\(key("b"))","keys_only":true}},\
                {"request_range":{"key":"\(key("c"))","keys_only":true}},\
                {"request_range":{"key":"\(key("d"))"}},\
                {"request_range":{"key":"\(key("f"))","keys_only":true}},\
                {"request_range":{"key":"\(key("sessions/1f"))"}}]}
                """
            #expect(body.serialized() == expected)
        }

        @Test func severalWritesOfOneKey() throws {
            // The last one counts.
            let twice = try request([], .put("a", [1], .permanent), .put("a", [2], .permanent))
            #expect(try twice.body()["success"]?.array?.count == 1)
            let gone = try request([], .create("a", [1], .permanent), .delete("a"))
            #expect(try gone.body()["success"]?.array?.first?["request_delete_range"] != nil)
            #expect(try gone.body()["compare"]?.array?.count == 1)
            #expect(throws: TransactionRequest.Problem.refused(.absent("a"))) {
                try request([], .put("a", [1], .permanent), .create("a", [2], .permanent))
            }
            // A deletion and a creation would go as one change, and keep the creation's revision.
            #expect(throws: TransactionRequest.Problem.self) {
                try request([], .delete("a"), .create("a", [2], .permanent))
            }
            _ = try request([.absent("a")], .delete("a"), .put("a", [2], .permanent))
        }

        @Test func sessionsThatAreNone() throws {
            #expect(throws: TransactionRequest.Problem.refused(.owner("a", SessionID("zk")))) {
                try request([.owner("a", SessionID("zk"))], .delete("a")).body()
            }
            #expect(throws: TransactionRequest.Problem.self) {
                try request([], .put("a", [], .session(SessionID("0")))).body()
            }
        }

        /// Nothing but compares is no write, and is answered by a member alone unless it reads something.
        @Test func comparesAlone() throws {
            let alone = try request([.absent("a")])
            #expect(!alone.isEmpty)
            #expect(try alone.body()["success"]?.array?.first?["request_range"] != nil)
            #expect(try request([], fence: .init(key: "sessions/1", version: nil)).isEmpty)
        }

        private func answer(_ text: String) throws -> GatewayAnswer {
            let header = #""header":{"cluster_id":"1","member_id":"1","raft_term":"1","revision":"30"}"#
            let object = try #require(try JSONValue.parse("{\(header)\(text)}").object)
            return try #require(GatewayAnswer(object))
        }

        @Test func versionsThatACommitGives() throws {
            let put = try request(
                [.version("b", EntryVersion(created: 3, number: 7))], .create("a", [], .permanent),
                .put("b", [], .permanent), .put("c", [], .permanent), .put("d", [], .permanent), .delete("e"))
            let done = try answer(
                #","succeeded":true,"responses":[{"response_put":{}},{"response_put":{}},{"response_put":{"prev_kv":{"key":"YQ==","create_revision":"9","mod_revision":"20"}}},{"response_put":{}},{"response_delete_range":{}}]"#
            )
            #expect(
                put.outcome(done)
                    == .committed([
                        "a": EntryVersion(created: 30, number: 30), "b": EntryVersion(created: 3, number: 30),
                        "c": EntryVersion(created: 9, number: 30), "d": EntryVersion(created: 30, number: 30),
                    ]))
        }

        @Test func whichCompareItWas() throws {
            let fence = TransactionRequest.Fence(key: "sessions/1", version: EntryVersion(created: 4, number: 4))
            let request = try request(
                [.absent("a"), .version("b", EntryVersion(created: 3, number: 7)), .value("c", bytes("x"))],
                .delete("b"), fence: fence)
            func response(_ pairs: String...) throws -> GatewayAnswer {
                let list = pairs.map { #"{"response_range":{\#($0.isEmpty ? "" : "\"kvs\":[\($0)]")}}"# }
                return try answer(",\"responses\":[\(list.joined(separator: ","))]")
            }
            let b = #"{"key":"Yg==","create_revision":"3","mod_revision":"7"}"#
            let c = #"{"key":"Yw==","create_revision":"3","mod_revision":"7","value":"eA=="}"#
            let f = #"{"key":"Zg==","create_revision":"4","mod_revision":"4","value":"eA=="}"#
            let moved = #"{"key":"Zg==","create_revision":"4","mod_revision":"5","value":"eA=="}"#
            #expect(request.outcome(try response(b, b, c, f)) == .refused(.absent("a")))
            #expect(
                request.outcome(try response("", c.replacing("\"7\"", with: "\"8\""), c, f))
                    == .refused(.version("b", EntryVersion(created: 3, number: 7))))
            #expect(request.outcome(try response("", b, "", f)) == .refused(.value("c", bytes("x"))))
            #expect(request.outcome(try response("", b, c, moved)) == .fenced(KeyValue(try JSONValue.parse(moved))))
            #expect(request.outcome(try response("", b, c, "")) == .fenced(nil))
            // A compare of the caller's own goes first: whoever is refused is told so.
            #expect(request.outcome(try response(b, b, c, moved)) == .refused(.absent("a")))
            #expect(request.outcome(try answer("")) == .refused(nil))
        }

        @Test func certainRefusalsAreTold() {
            let failure = GatewayFailure(
                stage: .refused(Refusal(status: 400, code: 3, message: "etcdserver: request is too large")),
                message: "x")
            #expect(failure.isCertain)
            #expect(failure.error("write").code == .tooLarge)
            let cut = GatewayFailure(stage: .unknown, message: "x", isTimeout: true)
            #expect(!cut.isCertain && cut.error("write").code == .timedOut)
            #expect(!GatewayFailure(stage: .malformed, message: "x").isCertain)
            #expect(GatewayFailure(stage: .notSent, message: "x").isCertain)
        }
    }
#endif
