import ClusterModel
import ConfigurationTree
import Testing

@testable import RESTServer

@Suite struct AccessControlTests {
    @Test(arguments: [
        ("10.0.0.0/8", "10.255.1.2", true), ("10.0.0.0/8", "11.0.0.1", false), ("10.1.2.3", "10.1.2.3", true),
        ("10.1.2.3", "10.1.2.4", false), ("0.0.0.0/0", "1.2.3.4", true), ("192.168.4.0/22", "192.168.7.9", true),
        ("192.168.4.0/22", "192.168.8.1", false), ("::1", "::1", true), ("fd00::/8", "fd12::1", true),
        ("fd00::/8", "fe80::1", false), ("10.0.0.0/8", "::ffff:10.1.1.1", true),
        ("::ffff:10.0.0.0/104", "10.3.3.3", true),
        ("0.0.0.0/0", "::1", false), ("fe80::/10", "fe80::1%eth0", true), ("10.0.0.0/8", "nonsense", false),
    ])
    func aNetworkHoldsAddresses(_ network: String, _ address: String, _ isIn: Bool) throws {
        #expect(try #require(IPNetwork(network)).contains(address) == isIn)
    }

    @Test(arguments: ["", "localhost", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/x", "::/129", "10.0.0", "/8"])
    func whatIsNoNetworkIsAName(_ text: String) {
        #expect(IPNetwork(text) == nil)
    }

    @Test(arguments: [("a", "a", true), ("", "a", false), ("ab", "a", false), ("a", "ab", false), ("x", "y", false)])
    func comparing(_ given: String, _ wanted: String, _ isEqual: Bool) {
        #expect(AccessControl.isEqual(Array(given.utf8), Array(wanted.utf8)) == isEqual)
    }

    private func request(
        from client: String? = "10.0.0.9", authorization: String? = nil, isTLS: Bool = false,
        hasCertificate: Bool = false
    ) -> RESTRequest {
        RESTRequest(
            method: "POST", path: "/restart", query: QueryItems(), authorization: authorization, contentLength: 0,
            hasContentLength: true, clientAddress: client, isTLS: isTLS, hasClientCertificate: { hasCertificate },
            readBody: { _ throws(BodyProblem) in [] })
    }

    private func control(_ change: (inout RESTSettings) -> Void) async -> AccessControl {
        var settings = RESTSettings(listenHost: "", listenPort: 0)
        change(&settings)
        return await AccessControl.make(settings) { $0 == "good.example" ? ["10.0.0.7", "fd00::7"] : [] }.control
    }

    @Test func withoutSettingsEverybodyIsAdmitted() async {
        let open = await control { _ in }
        #expect(await open.refusal(of: request(), memberHosts: { [] }) == nil)
    }

    @Test func theAllowlistComesFirst() async throws {
        let access = await control {
            $0.allowlist = ["10.1.0.0/16", "good.example", "unknown.example"]
            $0.username = "u"
            $0.password = Secret("p")
        }
        let refusal = try #require(await access.refusal(of: request(), memberHosts: { [] }))
        #expect(refusal.status == 403)
        #expect(refusal.bodyText == "Access is denied")
        #expect(await access.refusal(of: request(from: nil), memberHosts: { [] })?.status == 403)
        #expect(await access.refusal(of: request(from: "10.0.0.7"), memberHosts: { [] })?.status == 401)
        #expect(await access.refusal(of: request(from: "fd00::7"), memberHosts: { [] })?.status == 401)
        let admitted = request(from: "10.1.2.3", authorization: "Basic dTpw")
        #expect(await access.refusal(of: admitted, memberHosts: { [] }) == nil)
    }

    @Test func membersAreAdmittedWhereTheRouteAllowsIt() async {
        let access = await control { $0.allowlistIncludeMembers = true }
        #expect(await access.refusal(of: request(), memberHosts: { ["10.0.0.9"] }) == nil)
        #expect(await access.refusal(of: request(), memberHosts: { ["10.0.0.8"] })?.status == 403)
        // No members to ask, no list: the route's own rule.
        #expect(await access.refusal(of: request(), memberHosts: nil) == nil)
    }

    @Test func aCertificateIsAskedOfUnsafeRequests() async throws {
        let access = await control {
            $0.certificatePath = "/x"
            $0.verifyClient = .optional
        }
        let refusal = try #require(await access.refusal(of: request(isTLS: true), memberHosts: nil))
        #expect(refusal.status == 403)
        #expect(refusal.bodyText == "client certificate required")
        #expect(await access.refusal(of: request(isTLS: true, hasCertificate: true), memberHosts: nil) == nil)
    }

    @Test(
        arguments: [
            (nil, "no auth header received"), ("Basic dTpx", "not authenticated"), ("Bearer dTpw", "not authenticated"),
            ("Basic", "not authenticated"), ("", "not authenticated"), ("Basic dTpwIA==", "not authenticated"),
        ] as [(String?, String)])
    func aWrongPasswordIsRefused(_ header: String?, _ text: String) async throws {
        let access = await control {
            $0.username = "u"
            $0.password = Secret("p")
        }
        let refusal = try #require(await access.refusal(of: request(authorization: header), memberHosts: nil))
        #expect(refusal.status == 401)
        #expect(refusal.bodyText == text)
        #expect(refusal.headers.contains { $0.name == "WWW-Authenticate" && $0.value == "Basic realm=\"Patroni\"" })
        #expect(await access.refusal(of: request(authorization: "basic dTpw"), memberHosts: nil) == nil)
    }

    @Test func secretsDoNotPrint() {
        var settings = RESTSettings(listenHost: "", listenPort: 0)
        settings.password = Secret("hunter2")
        settings.keyPassword = Secret("hunter2")
        var dumped = ""
        dump(settings, to: &dumped)
        #expect(!dumped.contains("hunter2"))
        #expect(!"\(settings)".contains("hunter2"))
    }
}

extension RESTAnswer {
    var bodyText: String? {
        if case .text(let text) = body { return text }
        return nil
    }
}
