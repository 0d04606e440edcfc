import ClusterModel
import Foundation
import Testing

@testable import PostgresControl

struct SmallPartsTests {
    @Test func passwordsAreNeverPrinted() {
        let login = RoleLogin(user: "u", password: Password("tell nobody"), sslPassword: Password("tell nobody"))
        var text = ""
        dump(login, to: &text)
        #expect(
            !text.contains("nobody") && !"\(login)".contains("nobody") && !String(reflecting: login).contains("nobody"))
        let target = ConnectionTarget(
            endpoint: ServerEndpoint(host: "h", port: 1), login: login, applicationName: "a")
        #expect(!target.connectionString(passfile: "/p").contains("nobody"))
        #expect(target.keywords().contains { $0 == ("password", "tell nobody") })
    }

    @Test func thePassfileEscapes() {
        let text = Passfile.text([
            .init(user: "a:b", password: Password("c\\d:e")),
            .init(host: "::1", user: "u", password: Password("two\nlines")),
            .init(host: "::1", port: "5432", user: "u", password: Password("p")),
        ])
        #expect(text == "*:*:*:a\\:b:c\\\\d\\:e\n\\:\\:1:5432:*:u:p\n")
        // A combining mark makes one character of itself and what it follows, and hides neither from libpq.
        let marked = Passfile.text([.init(user: "a:\u{301}", password: Password("\\\u{301}"))])
        #expect(marked == "*:*:*:a\\:\u{301}:\\\\\u{301}\n")
    }

    @Test func textsAreQuotedForEachReader() {
        #expect(Quoting.configuration("it's\\\n") == "'it''s\\\\ '")
        #expect(Quoting.literal("it's") == "'it''s'")
        #expect(Quoting.literal("a\\'") == " E'a\\\\'''")
        #expect(Quoting.identifier("a\"b") == "\"a\"\"b\"")
        #expect(Quoting.connectionValue("plain") == "plain")
        #expect(Quoting.connectionValue("") == "''")
        #expect(Quoting.connectionValue("a b'\\") == "'a b\\'\\\\'")
        #expect(Quoting.connectionValue("a'\u{301} host=b") == "'a\\'\u{301} host=b'")
        #expect(Quoting.connectionValue("\\\u{301}") == "'\\\\\u{301}'")
    }

    @Test func aNameOfSeveralAddressesIsGivenOnceForEach() {
        let target = ConnectionTarget(
            endpoint: ServerEndpoint(host: "localhost", port: 1), login: RoleLogin(user: "u"), applicationName: "a",
            sessionSettings: [ServerSetting("search_path", "pg_catalog"), ServerSetting("x.y", "a b\\")])
        let pairs = target.keywords(hostAddresses: "::1,127.0.0.1")
        #expect(pairs.contains { $0 == ("host", "localhost,localhost") })
        #expect(pairs.contains { $0 == ("options", "-c search_path=pg_catalog -c x.y=a\\ b\\\\") })
    }

    @Test func readsPostmasterFiles() throws {
        let text = "7386\n/data\n1700000000\n5433\n/tmp\n127.0.0.1\n  12345   77\nready   \n"
        let file = try #require(PostmasterFile(text: text))
        #expect(file.processID == 7386 && file.dataDirectory == "/data" && file.startTime == 1_700_000_000)
        #expect(file.port == 5433 && file.socketDirectory == "/tmp" && file.listenAddress == "127.0.0.1")
        #expect(file.status == .ready && !file.isSingleUser)
        #expect(PostmasterFile(text: "7386\n/data\n1700000000\n5433\n\n\n 1 2\nstandby \n")?.status == .standby)
        #expect(PostmasterFile(text: "7386\n/data\n1700000000\n")?.status == nil)
        #expect(PostmasterFile(text: "-7386\n/data\n1700000000\n")?.isSingleUser == true)
        for broken in [
            "", "\n\n\n", "12", "x\n/d\n1\n", "0\n/d\n1\n", "99999999999\n/d\n1\n", "5\n\n1\n", "5\n/d\n-4\n",
            "-2147483648\n/d\n4\n",
        ] {
            #expect(PostmasterFile(text: broken) == nil, "\(broken)")
        }
        // Every cut of a good file is either nothing or says no more than what is there.
        for length in 0..<text.utf8.count { _ = PostmasterFile(text: String(text.prefix(length))) }
    }

    @Test func aStrangersProcessIsNotTakenForThePostmaster() throws {
        let root = try TestServer.makeRoot()
        defer { try? FileManager.default.removeItem(atPath: root) }
        #expect(Postmaster.running(dataDirectory: root) == nil)
        let child = Process()
        child.executableURL = URL(fileURLWithPath: "/bin/sleep")
        child.arguments = ["60"]
        child.currentDirectoryURL = URL(fileURLWithPath: "/")
        try child.run()
        defer {
            kill(child.processIdentifier, SIGKILL)
            child.waitUntilExit()
        }
        let now = Int(Date().timeIntervalSince1970)
        let place = root + "/postmaster.pid"
        try "\(child.processIdentifier)\n\(root)\n\(now)\n".write(toFile: place, atomically: true, encoding: .utf8)
        #expect(Postmaster.running(dataDirectory: root) == nil)
        let process = try #require(RunningPostmaster(processID: child.processIdentifier))
        #expect(process.isRunning)
        #expect(!RunningPostmaster(processID: process.processID, startTicks: process.startTicks &+ 1).isRunning)
        #expect(abs((ProcessFacts.read(child.processIdentifier)?.startTime ?? 0) - Int64(now)) <= 3)
        try "\(getpid())\n\(root)\n\(now)\n".write(toFile: place, atomically: true, encoding: .utf8)
        #expect(Postmaster.running(dataDirectory: root) == nil)
    }

    @Test func readsProcessStatistics() {
        let fields = "S 12 1 1 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2 3"
        let facts = ProcessFacts(stat: "77 (postgres: a) b) \(fields)")
        #expect(facts?.startTicks == 987_654 && facts?.parent == 12 && facts?.isDead == false)
        #expect(ProcessFacts(stat: "77 (x) Z 1")?.isDead == nil)
        #expect(ProcessFacts(stat: "nonsense") == nil)
        let far = fields.replacing("987654", with: "18446744073709551615")
        #expect(ProcessFacts(stat: "77 (x) \(far)")?.startTime ?? 0 > 0)
    }

    @Test func judgesTheFirstAnswer() {
        func error(_ state: String) -> [UInt8] {
            let body = Array("SFATAL\0C\(state)\0Mno\0\0".utf8)
            return [UInt8(ascii: "E"), 0, 0, 0, UInt8(body.count + 4)] + body
        }
        #expect(ReadinessProbe.judge([UInt8(ascii: "R"), 0, 0]) == .accepting)
        #expect(ReadinessProbe.judge(error("57P03")) == .rejecting)
        #expect(ReadinessProbe.judge(error("28000")) == .accepting)
        #expect(ReadinessProbe.judge(Array(error("57P03").dropLast(3))) == nil)
        #expect(ReadinessProbe.judge(Array("HTTP/1.1 400".utf8)) == .noResponse)
        #expect(ReadinessProbe.judge([]) == nil)
    }

    @Test func endpointsAreDerivedFromWhatTheServerListensOn() {
        var layout = PostgresLayout(dataDirectory: "/d", stateDirectory: "/s", clusterName: "c", memberName: "m")
        layout.port = 5433
        for (listen, host) in [
            ("*", "127.0.0.1"), ("0.0.0.0,::1", "127.0.0.1"), ("::", "::1"), (" 10.1.1.1 , b", "10.1.1.1"),
        ] {
            layout.listenAddresses = listen
            #expect(layout.endpoint() == ServerEndpoint(host: host, port: 5433))
        }
        layout.useUnixSocket = true
        #expect(layout.endpoint() == ServerEndpoint(host: nil, port: 5433))
        layout.unixSocketDirectories = "@abstract, /run/pg"
        #expect(layout.endpoint() == ServerEndpoint(host: "/run/pg", port: 5433))
        #expect(layout.endpoint(.privateSocket(directory: "/p")).host == "/p")
    }

    @Test func majorVersions() {
        #expect(
            DataDirectory.majorVersion(fromVersionText: "postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)") == 15)
        #expect(DataDirectory.majorVersion(fromVersionText: "postgres (PostgreSQL) 18beta1") == 18)
        #expect(DataDirectory.majorVersion(fromVersionText: "nothing") == nil)
    }
}

struct DataDirectoryTests {
    private func make(_ path: String, version: String? = "15", control: Bool = true) throws {
        try FileManager.default.createDirectory(atPath: path + "/global", withIntermediateDirectories: true)
        if let version { try version.write(toFile: path + "/PG_VERSION", atomically: true, encoding: .utf8) }
        if control { try "x".write(toFile: path + "/global/pg_control", atomically: true, encoding: .utf8) }
    }

    private func withRoot(_ body: (String) throws -> Void) throws {
        let root = try TestServer.makeRoot()
        defer { try? FileManager.default.removeItem(atPath: root) }
        try body(root)
    }

    @Test func tellsWhatIsThere() throws {
        try withRoot { root in
            let directory = DataDirectory(root + "/data/")
            #expect(try directory.state() == .absent)
            try directory.prepare()
            #expect(Files.facts(directory.path)?.mode == 0o700)
            #expect(try directory.state() == .empty)
            try Data().write(to: URL(fileURLWithPath: directory.path + "/.hidden"))
            try FileManager.default.createDirectory(
                atPath: directory.path + "/lost+found", withIntermediateDirectories: true)
            #expect(try directory.state() == .empty)
            try make(directory.path, version: "15\n")
            #expect(try directory.state() == .initialized(majorVersion: 15))
            try make(root + "/b", version: nil)
            try make(root + "/c", control: false)
            try make(root + "/d", version: "soon")
            try "file".write(toFile: root + "/e", atomically: true, encoding: .utf8)
            for name in ["b", "c", "d", "e"] {
                guard case .foreign = try DataDirectory(root + "/" + name).state() else {
                    Issue.record("\(name) was taken for a data directory")
                    continue
                }
            }
        }
    }

    @Test func aCloneTakesThePlaceAndTheOldDataStays() throws {
        try withRoot { root in
            let directory = DataDirectory(root + "/data")
            try make(directory.path)
            try "old".write(toFile: directory.path + "/mark", atomically: true, encoding: .utf8)
            // pg_wal lies elsewhere.
            try FileManager.default.createDirectory(atPath: root + "/wal", withIntermediateDirectories: true)
            try "old".write(toFile: root + "/wal/segment", atomically: true, encoding: .utf8)
            try FileManager.default.createSymbolicLink(
                atPath: directory.path + "/pg_wal", withDestinationPath: root + "/wal")
            #expect(throws: PostgresError.self) {
                try directory.swapIn(clone: directory.clonePath, label: "diverged")
            }
            try make(directory.clonePath)
            try "new".write(toFile: directory.clonePath + "/mark", atomically: true, encoding: .utf8)
            let aside = try #require(try directory.swapIn(clone: directory.clonePath, label: "diverged"))
            #expect(aside.hasPrefix(directory.path + ".diverged-"))
            #expect(try String(contentsOfFile: directory.path + "/mark", encoding: .utf8) == "new")
            #expect(try String(contentsOfFile: aside + "/mark", encoding: .utf8) == "old")
            #expect(try String(contentsOfFile: aside + "/pg_wal/segment", encoding: .utf8) == "old")
            #expect(!FileManager.default.fileExists(atPath: directory.clonePath))
            #expect(!FileManager.default.fileExists(atPath: root + "/wal"))
            let again = try directory.moveAside("diverged")
            #expect(again != aside)
            #expect(try directory.state() == .absent)
        }
    }

    @Test func anEmptyDirectoryGivesWayToAClone() throws {
        try withRoot { root in
            let directory = DataDirectory(root + "/data")
            try directory.prepare()
            try Data().write(to: URL(fileURLWithPath: directory.path + "/.keep"))
            try make(directory.clonePath)
            #expect(try directory.swapIn(clone: directory.clonePath, label: "diverged") == nil)
            #expect(try directory.state() == .initialized(majorVersion: 15))
            #expect(FileManager.default.fileExists(atPath: directory.path + "/.keep"))
        }
    }
}
