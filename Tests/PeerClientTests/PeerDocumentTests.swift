import ClusterModel
import Testing

@testable import PeerClient

@Suite struct PeerDocumentTests {
    private func read(_ text: String) throws -> PeerStatus {
        let object = try #require(try JSONValue.parse(text).object)
        return PeerStatus.read(name: "x", document: object, askedAt: Instant(nanoseconds: 1))
    }

    @Test func aPatroniPrimary() throws {
        let status = try read(
            """
            {"state":"running","role":"master","xlog":{"location":67419744},"timeline":3,"pause":true,
             "watchdog_failed":true,"tags":{"failover_priority":2}}
            """)
        #expect(status.role == .primary)
        #expect(status.isInRecovery == false)
        #expect(status.position == LSN(67_419_744))
        #expect(status.timeline == Timeline(3))
        #expect(status.watchdogFailed)
        #expect(status.isPaused)
        #expect(status.tags.failoverPriority == 2)
        #expect(status.fenceState == nil)
        #expect(!status.isSilent)
    }

    @Test(
        arguments: [
            (#"{"xlog":{"received_location":10,"replayed_location":9}}"#, 10),
            (#"{"xlog":{"received_location":null,"replayed_location":9}}"#, 9),
            (#"{"wal":{"received_location":8,"replayed_location":9}}"#, 9),
            (#"{"xlog":{"received_location":"12"}}"#, 12), (#"{"xlog":{}}"#, 0), (#"{"xlog":{"location":-5}}"#, 0),
        ] as [(String, UInt64)])
    func aStandbysPositionIsTheFurther(_ text: String, _ position: UInt64) throws {
        let status = try read(text)
        #expect(status.isInRecovery == true)
        #expect(status.position == LSN(position))
    }

    @Test(arguments: ["{}", #"{"xlog":5}"#, #"{"state":7,"role":[],"timeline":"x","tags":3,"x_matriarch":true}"#])
    func whatCannotBeReadIsUnknown(_ text: String) throws {
        let status = try read(text)
        #expect(status.position == nil)
        #expect(status.isInRecovery == nil)
        #expect(status.role == nil)
        #expect(status.state == .unknown)
        #expect(status.timeline == nil)
    }

    @Test func ourOwnField() throws {
        let status = try read(
            #"{"xlog":{"location":1},"role":"primary","x_matriarch":{"fence":"adopted","silent":true,"failsafe_granted_to":"pg1","failsafe_grant_ms":4000,"failsafe_list":"5:7"}}"#
        )
        #expect(status.fenceState == .adopted)
        #expect(status.grantedTo == "pg1")
        #expect(status.grantLasts == .seconds(4))
        #expect(status.failsafeList == EntryVersion(created: 5, number: 7).description)
        #expect(status.isSilent)
    }

    @Test(arguments: [
        ("http://pg1:8008/patroni", "http://pg1:8008", "http://pg1:8008/patroni"),
        ("https://u:p@pg1/a/b", "https://pg1", "https://pg1/a/b"),
        ("http://[::1]:80", "http://[::1]:80", "http://[::1]:80/"),
    ])
    func urls(_ text: String, _ base: String, _ whole: String) throws {
        let url = try PeerURL(text)
        #expect(url.base == base)
        #expect(url.whole == whole)
        #expect(url.with(path: "/x") == base + "/x")
        #expect(url.with(path: "x") == base + "/x")
    }

    @Test(arguments: [
        "", "pg1:8008", "ftp://x/", "http://", "http:///x", "http://a b/", "unix:/x", "http://user:secret@",
    ])
    func noURL(_ text: String) {
        #expect {
            try PeerURL(text)
        } throws: { error in
            !"\(error)".contains("secret")
        }
    }

    @Test func linesAreCutWhereverThePartsAre() throws {
        var splitter = LineSplitter(maximum: 10)
        #expect(try splitter.add("ab".utf8).isEmpty)
        #expect(try splitter.add("c\nd\n\n".utf8) == [Array("abc".utf8), Array("d".utf8)])
        #expect(try splitter.add("\nxy".utf8).isEmpty)
        #expect(try splitter.add("\n".utf8) == [Array("xy".utf8)])
        #expect(throws: LineSplitter.TooLong.self) { try splitter.add("01234567890".utf8) }
    }

    @Test func settingsDoNotTellPasswords() {
        let settings = PeerClientSettings(username: "u", password: "hunter2", keyPassword: "hunter2")
        var text = "\(settings)"
        dump(settings, to: &text)
        #expect(!text.contains("hunter2"))
        #expect(settings.betweenAgents.verification == .none)
        var withCertificate = settings
        withCertificate.certificatePath = "/c"
        #expect(withCertificate.betweenAgents.verification == .chain)
        #expect(settings.forOperator(insecure: false).verification == .chainAndHost)
        #expect(settings.forOperator(insecure: true).verification == .none)
    }
}
