#if Consul
    import ClusterModel
    import ConfigurationTree
    import Logging
    import PluginInterfaces
    import StoreConformance
    import Testing

    @testable import ConsulStore

    @Suite struct ConsulSettingsTests {
        private func scalar(_ text: String) -> ConfigurationNode {
            ConfigurationNode(
                .scalar(text: text, isPlain: true), at: SourceMark(source: "c.yml", line: 2, column: 9))
        }

        private func list(_ texts: String...) -> ConfigurationNode {
            ConfigurationNode(
                .list(texts.map { scalar($0) }), at: SourceMark(source: "c.yml", line: 2, column: 9))
        }

        private func section(_ pairs: KeyValuePairs<String, ConfigurationNode>) -> ConfigurationNode {
            ConfigurationNode(
                .map(
                    pairs.map {
                        ConfigurationNode.Pair(
                            key: $0.key, keyMark: SourceMark(source: "c.yml", line: 1, column: 3), value: $0.value)
                    }), at: SourceMark(source: "c.yml", line: 1, column: 1))
        }

        private func read(
            _ pairs: KeyValuePairs<String, ConfigurationNode>
        ) -> (settings: ConsulSettings?, complaints: [ConfigurationComplaint]) {
            ConsulSettings.read(section(pairs), path: "consul")
        }

        private func complaint(_ pairs: KeyValuePairs<String, ConfigurationNode>) -> String {
            let result = read(pairs)
            #expect(result.settings == nil)
            return result.complaints.map(\.description).joined(separator: "\n")
        }

        @Test(arguments: [
            ("consul1", "http://consul1:8500"), ("consul1:8501", "http://consul1:8501"),
            ("10.0.0.1", "http://10.0.0.1:8500"), ("::1", "http://[::1]:8500"), ("[::1]", "http://[::1]:8500"),
            ("[2001:db8::1]:8501", "http://[2001:db8::1]:8501"),
        ])
        func hosts(_ text: String, _ expected: String) {
            #expect(read(["host": scalar(text)]).settings?.endpoints.map(\.description) == [expected])
        }

        @Test(arguments: [
            ":8500", "consul1:", "consul1:x", "consul1:0", "consul1:65536", "[::1", "[::1]8500", "[consul1]:1", "a b",
            "consul1:-1", "consul1/path", "user@consul1", "a?b", "größe",
        ])
        func noHosts(_ text: String) {
            #expect(complaint(["host": scalar(text)]).contains("c.yml:2:9: consul.host: "))
        }

        @Test func urlsHostsAndPorts() {
            #expect(read([:]).settings?.endpoints.map(\.description) == ["http://127.0.0.1:8500"])
            #expect(
                read(["url": scalar("https://consul1:8501/")]).settings?.endpoints.map(\.description)
                    == ["https://consul1:8501"])
            #expect(
                read(["url": scalar("http://consul1")]).settings?.endpoints.map(\.description)
                    == ["http://consul1:8500"])
            #expect(
                read(["host": scalar("consul1:1"), "port": scalar("8502"), "scheme": scalar("HTTPS")])
                    .settings?.endpoints.map(\.description) == ["https://consul1:8502"])
            #expect(
                read(["hosts": list("127.0.0.1", "consul1:8501", "127.0.0.1:8500")]).settings?.endpoints.map(
                    \.description)
                    == ["http://127.0.0.1:8500", "http://consul1:8501"])
            for text in [
                "consul1:8500", "ftp://consul1", "https://", "http://consul1/v1", "http://u:p@consul1", "http://a:b:c",
            ] {
                let words = complaint(["url": scalar(text)])
                #expect(words.contains("consul.url: is no URL"), "\(text)")
                // A password may be in it.
                #expect(!words.contains("u:p"))
            }
            #expect(complaint(["url": scalar("http://a"), "host": scalar("b")]).contains("remove one of the two"))
            #expect(complaint(["url": scalar("http://a"), "scheme": scalar("https")]).contains("contradicts the url"))
            #expect(complaint(["port": scalar("0")]).contains("consul.port: 0 is out of range"))
            #expect(complaint(["scheme": scalar("ftp")]).contains("consul.scheme: 'ftp' is not one of http or https"))
            #expect(complaint(["hosts": list()]).contains("names no host"))
        }

        @Test func everythingElse() {
            let result = read([
                "url": scalar("https://consul1:8501"), "token": scalar("s3cret-token"), "verify": scalar("on"),
                "cacert": scalar("/ca.pem"), "cert": scalar("/cert.pem"), "key": scalar("/key.pem"),
                "dc": scalar("dc2"),
                "checks": list("serfHealth", "disk"), "register_service": scalar("yes"), "service_tags": scalar("a,b"),
                "service_check_interval": scalar("1m30s"), "service_check_tls_server_name": scalar("pg1.internal"),
                "consistency": scalar("stale"),
            ])
            #expect(result.complaints.isEmpty)
            let settings = result.settings
            #expect(settings?.token == Secret("s3cret-token"))
            #expect(!"\(settings as Any)".contains("s3cret"))
            #expect(
                settings?.encryption
                    == ConsulEncryption(authorityPath: "/ca.pem", certificatePath: "/cert.pem", keyPath: "/key.pem"))
            #expect(settings?.datacenter == "dc2")
            #expect(settings?.checks == ["serfHealth", "disk"])
            #expect(
                settings?.service
                    == ConsulServiceSettings(tags: ["a", "b"], checkInterval: "1m30s", checkServerName: "pg1.internal"))
            #expect(settings?.consistency == .stale)
            #expect(read(["consistency": scalar("default")]).settings?.consistency == .usual)
            #expect(read(["checks": list()]).settings?.checks == [])
            #expect(read(["service_tags": scalar("a")]).settings?.service == nil)
            #expect(
                read(["register_service": scalar("on"), "service_check_interval": scalar("10")]).settings?.service?
                    .checkInterval == "10s")
        }

        @Test func complaintsNamePlaceAndRemedy() {
            #expect(
                complaint(["consistency": scalar("eventual")]).contains("consul.consistency: 'eventual' is not one of"))
            #expect(complaint(["register_service": scalar("maybe")]).contains("consul.register_service"))
            #expect(complaint(["key": scalar("/k")]).contains("consul.key: needs cert as well"))
            for text in ["soon", "5", "0s", "-1s", "1 s", "s", "1d"] where text != "5" {
                #expect(complaint(["service_check_interval": scalar(text)]).contains("write one such as 5s"), "\(text)")
            }
            let secret = complaint(["token": scalar("s3cret token")])
            #expect(secret.contains("consul.token: holds spaces"))
            #expect(!secret.contains("s3cret"))
            let warned = read(["cacert": scalar("/ca.pem"), "hots": scalar("x")])
            #expect(warned.settings != nil)
            #expect(warned.complaints.allSatisfy { $0.severity == .warning })
            #expect(warned.complaints.contains { $0.path == "consul.cacert" && $0.message.contains("https") })
            #expect(warned.complaints.contains { $0.path == "consul.hots" && $0.message.contains("host") })
            let insecure = read(["scheme": scalar("https"), "verify": scalar("off")])
            #expect(insecure.settings?.encryption.verifies == false)
            #expect(insecure.complaints.contains { $0.path == "consul.verify" })
        }

        @Test func theFactoryChecksAndMakes() async throws {
            let factory = ConsulStoreFactory()
            #expect(factory.section == "consul")
            #expect(factory.check(section(["host": scalar("consul1")])).isEmpty)
            let context = PluginContext(
                root: "/service/demo/", memberName: "pg1", scope: "demo", stateDirectory: "/nowhere",
                retryTimeout: .seconds(10), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            let store = try factory.makeStore(section(["host": scalar("127.0.0.1:1")]), context)
            await store.close()
            #expect(throws: ConfigurationComplaints.self) {
                try factory.makeStore(section(["port": scalar("x")]), context)
            }
            #expect {
                try factory.makeStore(
                    section(["scheme": scalar("https"), "cacert": scalar("/no/such/ca.pem")]), context)
            } throws: { "\($0)".contains("c.yml:1:1: consul: cannot read the TLS files /no/such/ca.pem") }
        }
    }
#endif
