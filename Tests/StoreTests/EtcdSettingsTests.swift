#if Etcd
    import ClusterModel
    import ConfigurationTree
    import Logging
    import PluginInterfaces
    import StoreConformance
    import Testing

    @testable import EtcdStore

    /// The `etcd3` section, without a server.
    @Suite struct EtcdSettingsTests {
        typealias Node = ConfigurationNode

        private static func mark(_ line: Int) -> SourceMark { SourceMark(source: "c.yml", line: line, column: 1) }

        private func text(_ value: String) -> Node {
            Node(.scalar(text: value, isPlain: true), at: Self.mark(9))
        }

        private func list(_ values: String...) -> Node {
            Node(.list(values.map(text)), at: Self.mark(9))
        }

        private func section(_ pairs: KeyValuePairs<String, Node>) -> Node {
            Node(
                .map(pairs.enumerated().map { .init(key: $1.key, keyMark: Self.mark($0 + 2), value: $1.value) }),
                at: Self.mark(1))
        }

        private func settings(_ pairs: KeyValuePairs<String, Node>) throws -> EtcdSettings {
            let (settings, complaints) = EtcdSettings.read(section(pairs), path: "etcd3")
            #expect(complaints.isEmpty, "\(complaints)")
            return try #require(settings)
        }

        private func complaints(_ pairs: KeyValuePairs<String, Node>) -> [String] {
            EtcdSettings.read(section(pairs), path: "etcd3").complaints.map(\.description)
        }

        private func urls(_ pairs: KeyValuePairs<String, Node>) throws -> [String] {
            try settings(pairs).endpoints.map(\.url)
        }

        @Test func placesInAllTheirForms() throws {
            #expect(try urls(["host": text("etcd1")]) == ["http://etcd1:2379"])
            #expect(try urls(["host": text("etcd1:2380")]) == ["http://etcd1:2380"])
            #expect(try urls(["host": text("etcd1"), "port": text("4001")]) == ["http://etcd1:4001"])
            #expect(try urls(["host": text("[::1]:2380"), "protocol": text("https")]) == ["https://[::1]:2380"])
            #expect(try urls(["host": text("fe80::1")]) == ["http://[fe80::1]:2379"])
            #expect(
                try urls(["hosts": list("a", "b:1", "http://c:2"), "protocol": text("http")])
                    == ["http://a:2379", "http://b:1", "http://c:2"])
            #expect(
                try urls(["hosts": text("a:1, b:2,'c:3'"), "protocol": text("https")])
                    == ["https://a:1", "https://b:2", "https://c:3"])
            #expect(try urls(["hosts": list("https://a:1/", "https://a:1")]) == ["https://a:1"])
            #expect(try urls(["url": text("https://a")]) == ["https://a:2379"])
            let proxied = try settings(["proxy": text("http://a:1")])
            #expect(proxied.usesProxies)
            #expect(proxied.endpoints.map(\.url) == ["http://a:1"])
            #expect(try settings(["hosts": list("a"), "use_proxies": text("on")]).usesProxies)
            #expect(try !settings(["hosts": list("a")]).usesProxies)
        }

        @Test func domains() throws {
            let plain = try settings(["srv": text("example.org")])
            #expect(plain.domain == ServiceDomain(name: "example.org"))
            #expect(plain.endpoints.isEmpty)
            let suffixed = try settings(["discovery_srv": text("example.org"), "srv_suffix": text("pg")])
            #expect(suffixed.domain == ServiceDomain(name: "example.org", suffix: "pg"))
            #expect(complaints(["srv": text("exa mple")]) == ["c.yml:9:1: etcd3.srv: 'exa mple' is no domain's name"])
            #expect(complaints(["srv": text("a.b"), "srv_suffix": text("x.y")]).count == 1)
        }

        @Test func credentials() throws {
            let plain = try settings(["host": text("a"), "username": text("pg"), "password": text("secret")])
            #expect(plain.username == "pg")
            #expect(plain.password == Secret("secret"))
            let inURL = try settings(["url": text("http://p%20g:se%40cret@a:1")])
            #expect(inURL.username == "p g")
            #expect(inURL.password == Secret("se@cret"))
            #expect(inURL.endpoints.map(\.url) == ["http://a:1"])
            #expect(
                complaints(["host": text("a"), "username": text("pg")]) == [
                    "c.yml:9:1: etcd3.username: needs a password as well: etcd's users log in with one"
                ])
            #expect(
                complaints(["host": text("a"), "password": text("s")])
                    == ["c.yml:9:1: etcd3.password: needs a username as well"])
        }

        @Test func certificates() throws {
            let full = try settings([
                "hosts": list("https://a"), "cacert": text("/ca"), "cert": text("/c"), "key": text("/k"),
            ])
            #expect(full.caPath == "/ca" && full.certificatePath == "/c" && full.keyPath == "/k")
            #expect(
                complaints(["host": text("a"), "protocol": text("https"), "key": text("/k")])
                    == ["c.yml:9:1: etcd3.key: needs cert as well, the certificate that belongs to the key"])
            #expect(
                complaints(["host": text("a"), "cacert": text("/ca")]) == [
                    "c.yml:9:1: etcd3.cacert: has no effect without TLS: set protocol to https, or write https:// before the servers"
                ])
        }

        @Test(arguments: [
            ("a:0", "'a:0' is no server"), ("a:65536", "'a:65536' is no server"), ("a:b", "'a:b' is no server"),
            ("ftp://a", "'ftp://a' is no server"), ("[::1", "'[::1' is no server"), ("a b", "'a b' is no server"),
            ("http://a/x", "'http://a/x' is no server"), ("http://u:pw@a", "this is no server"),
            ("a:", "'a:' is no server"),
            ("http://", "'http://' is no server"), ("größe", "'größe' is no server"),
        ]) func wrongServers(_ value: String, _ expected: String) {
            let found = complaints(["hosts": list("good", value)])
            #expect(found.count == 1)
            #expect(found.first?.hasPrefix("c.yml:9:1: etcd3.hosts[1]: \(expected)") == true, "\(found)")
            #expect(!found.joined().contains("pw"))
        }

        @Test func otherMistakes() {
            #expect(
                complaints([:]) == [
                    "c.yml:1:1: etcd3.hosts: missing; name the servers, such as [etcd1:2379, etcd2:2379, etcd3:2379]"
                ])
            #expect(complaints(["hosts": list("")]).first?.contains("names no server") == true)
            #expect(
                complaints(["hosts": list("http://a", "https://b")]) == [
                    "c.yml:9:1: etcd3.hosts: some servers are to be reached with TLS and some without; give all the same scheme"
                ])
            #expect(
                complaints(["url": text("http://u:pw@a:x")]) == [
                    "c.yml:9:1: etcd3.url: is no address of a server; write http://host:port or https://host:port"
                ])
            #expect(
                complaints(["hosts": list("a"), "host": text("b")])
                    == ["c.yml:9:1: etcd3.host: has no effect beside hosts; give one of proxy, url, hosts, host, srv"])
            #expect(complaints(["host": text("a"), "protocol": text("gopher")]).count == 1)
            #expect(
                complaints(["host": text("a"), "hots": text("b")]).first?.contains("did you mean 'hosts'?") == true)
            #expect(complaints(["hosts": Node(.map([]), at: Self.mark(9))]).first?.contains("expected a list") == true)
        }

        @Test func filesThatAreNotThere() throws {
            let node = section(["host": text("a"), "protocol": text("https"), "cacert": text("/nonexistent/ca.crt")])
            let context = PluginContext(
                root: "/service/demo/", memberName: "pg1", scope: "demo", stateDirectory: "/nonexistent",
                retryTimeout: .seconds(10), logger: Logger(label: "test"))
            do {
                _ = try EtcdStoreFactory().makeStore(node, context)
                throw CaseFailure("no complaint")
            } catch let complaints as ConfigurationComplaints {
                #expect(
                    complaints.description
                        == "c.yml:9:1: etcd3.cacert: /nonexistent/ca.crt: cannot be read as certificates in PEM form")
            }
            #expect(EtcdStoreFactory().check(node).isEmpty)
        }
    }
#endif
