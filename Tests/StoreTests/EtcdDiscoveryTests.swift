#if Etcd
    import ClusterModel
    import Glibc
    import PluginInterfaces
    import StoreConformance
    import Synchronization
    import Testing

    @testable import EtcdStore

    /// A name server of the tests' own: answers with what it is told, over UDP and TCP of one port.
    final class TinyNameServer: Sendable {
        struct State {
            var records: [String: [ServiceRecord]] = [:]
            var isTruncating = false
            var isSilent = false
            var code: UInt8 = 0
            var asked: [String] = []
            var isStopped = false
        }

        let state = Mutex(State())
        private let datagrams: Int32
        private let stream: Int32
        let port: Int

        init() throws {
            stream = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            datagrams = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            guard bindLoopback(stream, port: 0), let port = boundPort(stream), listen(stream, 8) == 0,
                bindLoopback(datagrams, port: port)
            else { throw CaseFailure("no name server") }
            self.port = port
            EtcdBench.Box { [self] in serve() }.start()
        }

        var nameServer: NameServer { NameServer(address: "127.0.0.1", port: UInt16(port)) }

        func stop() { state.withLock { $0.isStopped = true } }

        private func serve() {
            var buffer = [UInt8](repeating: 0, count: 4096)
            while !state.withLock({ $0.isStopped }) {
                var polls = [
                    pollfd(fd: datagrams, events: Int16(POLLIN), revents: 0),
                    pollfd(fd: stream, events: Int16(POLLIN), revents: 0),
                ]
                guard poll(&polls, 2, 20) > 0 else { continue }
                if polls[0].revents != 0 {
                    var address = sockaddr_in()
                    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
                    withUnsafeMutablePointer(to: &address) { pointer in
                        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                            let count = recvfrom(datagrams, &buffer, buffer.count, 0, generic, &length)
                            guard count > 0, let answer = answer(Array(buffer.prefix(count)), isStream: false) else {
                                return
                            }
                            // A forged one first, which must not count.
                            var forged = answer
                            forged[0] ^= 0xFF
                            _ = sendto(datagrams, forged, forged.count, 0, generic, length)
                            _ = sendto(datagrams, answer, answer.count, 0, generic, length)
                        }
                    }
                }
                if polls[1].revents != 0 {
                    let client = accept(stream, nil, nil)
                    guard client >= 0 else { continue }
                    let count = recv(client, &buffer, buffer.count, 0)
                    if count > 2, let answer = answer(Array(buffer[2..<count]), isStream: true) {
                        let framed = [UInt8(answer.count >> 8), UInt8(answer.count & 0xFF)] + answer
                        // In two pieces.
                        _ = send(client, framed, 1, Int32(truncatingIfNeeded: MSG_NOSIGNAL))
                        usleep(10_000)
                        let rest = Array(framed.dropFirst())
                        _ = send(client, rest, rest.count, Int32(truncatingIfNeeded: MSG_NOSIGNAL))
                    }
                    close(client)
                }
            }
            close(datagrams)
            close(stream)
        }

        private func answer(_ question: [UInt8], isStream: Bool) -> [UInt8]? {
            var labels: [String] = []
            var place = 12
            while place < question.count, question[place] != 0 {
                let length = Int(question[place])
                guard place + length < question.count else { return nil }
                labels.append(String(decoding: question[place + 1...place + length], as: UTF8.self))
                place += length + 1
            }
            let name = labels.joined(separator: ".")
            let (records, isTruncated, isSilent, code) = state.withLock { state in
                state.asked.append(name)
                return (state.records[name] ?? [], state.isTruncating && !isStream, state.isSilent, state.code)
            }
            if isSilent { return nil }
            let end = place + 5
            var bytes = Array(question[..<2])
            bytes += [0x81 | (isTruncated ? 2 : 0), 0x80 | code, 0, 1]
            bytes += [0, isTruncated ? 0 : UInt8(records.count), 0, 0, 0, 0]
            bytes += question[12..<end]
            guard !isTruncated else { return bytes }
            for record in records {
                guard let target = DNSMessage.encodedName(record.target) else { return nil }
                // The name by a pointer, as servers do.
                bytes += [0xC0, 12, 0, 33, 0, 1, 0, 0, 0, 60]
                let length = target.count + 6
                bytes += [UInt8(length >> 8), UInt8(length & 0xFF)]
                for number in [record.priority, record.weight, record.port] {
                    bytes += [UInt8(number >> 8), UInt8(number & 0xFF)]
                }
                bytes += target
            }
            return bytes
        }
    }

    @Suite(.timeLimit(.minutes(3))) struct EtcdDiscoveryTests {
        private let soon = Duration.seconds(10)

        @Test func recordsOverUDPAndTCP() async throws {
            let names = try TinyNameServer()
            defer { names.stop() }
            let resolver = DNSResolver(servers: [names.nameServer])
            let records = [
                ServiceRecord(priority: 10, weight: 1, port: 2379, target: "b.example.org"),
                ServiceRecord(priority: 1, weight: 1, port: 2379, target: "a.example.org"),
                ServiceRecord(priority: 10, weight: 9, port: 2380, target: "c.example.org"),
            ]
            names.state.withLock { $0.records["_etcd-client._tcp.example.org"] = records }
            for isTruncating in [false, true] {
                names.state.withLock { $0.isTruncating = isTruncating }
                let found = try await resolver.services(
                    "_etcd-client._tcp.example.org", until: SystemClock.now() + soon)
                #expect(found.map(\.target) == ["a.example.org", "c.example.org", "b.example.org"])
                #expect(
                    try await resolver.services("_etcd._tcp.example.org", until: SystemClock.now() + soon).isEmpty)
            }
            // No such name is an answer; a failure is none.
            names.state.withLock { $0.code = 3 }
            #expect(try await resolver.services("x.example.org", until: SystemClock.now() + soon).isEmpty)
            names.state.withLock { $0.code = 2 }
            await #expect(throws: StoreError.self) {
                try await resolver.services("x.example.org", until: SystemClock.now() + soon)
            }
        }

        @Test func aSilentNameServerIsPassedOver() async throws {
            let silent = try TinyNameServer()
            let names = try TinyNameServer()
            defer {
                silent.stop()
                names.stop()
            }
            silent.state.withLock { $0.isSilent = true }
            let record = ServiceRecord(priority: 1, weight: 1, port: 1, target: "a")
            names.state.withLock { $0.records["x.example.org"] = [record] }
            let both = DNSResolver(servers: [silent.nameServer, names.nameServer])
            #expect(try await both.services("x.example.org", until: SystemClock.now() + soon) == [record])
            let before = SystemClock.now()
            await #expect(throws: StoreError.self) {
                try await DNSResolver(servers: [silent.nameServer]).services(
                    "x.example.org", until: SystemClock.now() + .milliseconds(500))
            }
            #expect(SystemClock.now() - before < .seconds(2))
        }

        @Test func serversByDomain() async throws {
            let server = try await SharedEtcd.shared.server()
            let names = try TinyNameServer()
            defer { names.stop() }
            let client = ServiceRecord(
                priority: 1, weight: 1, port: UInt16(server.place.clientPort), target: "localhost")
            let peer = ServiceRecord(priority: 1, weight: 1, port: UInt16(server.place.peerPort), target: "127.0.0.1")
            for (name, record, suffix) in [
                ("_etcd-client._tcp.example.org", client, nil), ("_etcd._tcp.example.org", client, nil),
                ("_etcd-client-pg._tcp.example.org", client, "pg"), ("_etcd-server._tcp.example.org", peer, nil),
            ] as [(String, ServiceRecord, String?)] {
                names.state.withLock { $0.records = [name: [record]] }
                let store = try openEtcd([], root: "/service/srv\(nextNumber())/") {
                    $0.domain = ServiceDomain(name: "example.org", suffix: suffix)
                    $0.nameServers = [names.nameServer]
                }
                #expect(try await store.read(.all, .linearizable, within: .seconds(8)).entries.isEmpty, "\(name)")
                #expect(
                    store.cluster.order.map(\.port) == [server.place.clientPort],
                    "\(name): \(store.cluster.order)")
                await store.close()
            }
            // TLS services come first.
            #expect(names.state.withLock { $0.asked.first } == "_etcd-client-ssl._tcp.example.org")
            names.state.withLock { $0.records = [:] }
            let store = try openEtcd([], root: "/service/srv/") {
                $0.domain = ServiceDomain(name: "example.org")
                $0.nameServers = [names.nameServer]
            }
            do throws(StoreError) {
                _ = try await store.read(.all, .linearizable, within: .seconds(8))
                throw StoreError(.closed, "found something")
            } catch {
                #expect(error.message.contains("_etcd-client._tcp.example.org"), "\(error)")
            }
            await store.close()
        }

        @Test func anotherDomainByReload() async throws {
            let server = try await SharedEtcd.shared.server()
            let names = try TinyNameServer()
            defer { names.stop() }
            let record = ServiceRecord(
                priority: 1, weight: 1, port: UInt16(server.place.clientPort), target: "localhost")
            names.state.withLock { $0.records = ["_etcd-client._tcp.example.org": [record]] }
            let store = try openEtcd([], root: "/service/srv\(nextNumber())/") {
                $0.domain = ServiceDomain(name: "example.org")
                $0.nameServers = [names.nameServer]
            }
            let log = SignalLog(store)
            let session = try await store.openSession(
                SessionRequest(lifetime: .seconds(10), name: "pg1"), within: .seconds(8))
            #expect(await log.first(after: 0, within: .seconds(5)) { $0 == .connected } != nil)

            // A domain without servers is refused while those of the one before answer; the session goes on either way.
            let refused = try refusal(await store.reconfigure(section(["srv": "example.net"])))
            #expect(refused.contains("example.net"), "\(refused)")
            #expect(await session.renew(holding: false, within: .seconds(5)).isProven)

            names.state.withLock { $0.records["_etcd-client._tcp.example.net"] = [record] }
            #expect(try warnings(await store.reconfigure(section(["srv": "example.net"]))) == "")
            #expect(store.cluster.settings.domain?.name == "example.net")
            // The old one is needed no more.
            names.state.withLock { $0.records["_etcd-client._tcp.example.org"] = nil }
            #expect(await session.renew(holding: false, within: .seconds(5)).isProven)
            let isHeard = await eventually(within: .seconds(10)) {
                let count = log.count
                let write = StoreTransaction(
                    id: TransactionID(nextNumber()), compares: [], writes: [.put("config", [1], .permanent)])
                guard await store.commit(write, within: .seconds(5)).isCommitted else { return false }
                return await log.first(after: count, within: .seconds(2)) { $0.isNews } != nil
            }
            #expect(isHeard)
            #expect(await !log.has(.sessionLost))
            await session.close(abandon: false)
            await store.close()
        }

        @Test func membersThatAreExchangedWithoutARestart() async throws {
            let ensemble = try await EtcdEnsemble.started()
            defer { ensemble.stop() }
            let root = "/service/members\(nextNumber())/"
            // One member alone is configured.
            let first = ensemble.servers[0]
            let store = try openEtcd([first.endpoint], root: root) { $0.memberInterval = .milliseconds(500) }
            let session = try await store.openSession(
                SessionRequest(lifetime: .seconds(10), name: "pg1"), within: .seconds(5))
            let log = SignalLog(store)
            #expect(
                await eventually(within: .seconds(10)) { Set(store.cluster.order) == Set(ensemble.endpoints) },
                "\(store.cluster.order)")
            // A fourth one comes, and the first goes.
            let ports = try freePorts(2)
            let place = EtcdServer.Place(name: "etcd4", clientPort: ports[0], peerPort: ports[1])
            let fourth = try EtcdServer(
                place, cluster: ensemble.servers.map(\.place) + [place], token: ensemble.token, isNew: false)
            defer { fourth.stop() }
            // The members want to have known each other for a while.
            #expect(
                await eventually(within: .seconds(20)) {
                    let body: JSONValue = ["peerURLs": [.string(place.peerURL)]]
                    return (try? await ensemble.servers[1].call("/v3/cluster/member/add", body)) != nil
                })
            try fourth.start()
            try await fourth.waitUntilServing()
            let gone = try #require(await first.status).header.member
            #expect(
                await eventually(within: .seconds(10)) {
                    (try? await ensemble.servers[1].call("/v3/cluster/member/remove", ["ID": .string(String(gone))]))
                        != nil
                })
            first.kill()
            #expect(
                await eventually(within: .seconds(10)) { store.cluster.order.contains(fourth.endpoint) },
                "\(store.cluster.order)")
            // Nothing was lost by it.
            #expect(
                await eventually(within: .seconds(10)) {
                    await session.renew(holding: false, within: .seconds(5)).isProven
                })
            let count = log.count
            let write = StoreTransaction(
                id: TransactionID(nextNumber()), compares: [], writes: [.put("config", [1], .permanent)])
            #expect(await store.commit(write, within: .seconds(5)).isCommitted)
            #expect(await log.first(after: count, within: .seconds(10)) { $0.isNews } != nil)
            await session.close(abandon: false)
            await store.close()
        }

        @Test func proxiesAreLeftAlone() async throws {
            let server = try await SharedEtcd.shared.server()
            let proxy = try EtcdProxy(to: server.endpoint)
            defer { proxy.stop() }
            let store = try openEtcd([proxy.endpoint], root: "/service/x/") {
                $0.usesProxies = true
                $0.memberInterval = .milliseconds(100)
            }
            let log = SignalLog(store)
            #expect(await log.first(after: 0, within: .seconds(5)) { $0 == .connected } != nil)
            try await Task.sleep(for: .milliseconds(500))
            #expect(store.cluster.order == [proxy.endpoint])
            await store.close()
        }
    }
#endif
