#if ZooKeeper
    import ClusterModel
    import ConfigurationTree
    import Testing

    @testable import ZooKeeperStore

    @Suite struct ZooKeeperSettingsTests {
        private func scalar(_ text: String, line: Int = 2) -> ConfigurationNode {
            ConfigurationNode(
                .scalar(text: text, isPlain: true), at: SourceMark(source: "c.yml", line: line, column: 9))
        }

        private func list(_ texts: String..., line: Int = 2) -> ConfigurationNode {
            ConfigurationNode(.list(texts.map { scalar($0) }), at: SourceMark(source: "c.yml", line: line, column: 9))
        }

        private func map(_ pairs: KeyValuePairs<String, ConfigurationNode>, line: Int = 1) -> ConfigurationNode {
            ConfigurationNode(
                .map(
                    pairs.map {
                        ConfigurationNode.Pair(
                            key: $0.key, keyMark: SourceMark(source: "c.yml", line: line, column: 3), value: $0.value)
                    }), at: SourceMark(source: "c.yml", line: line, column: 1))
        }

        private func read(
            _ pairs: KeyValuePairs<String, ConfigurationNode>
        ) -> (settings: ZooKeeperSettings?, complaints: [ConfigurationComplaint]) {
            ZooKeeperSettings.read(map(pairs), path: "zookeeper")
        }

        @Test(arguments: [
            ("zk1", "zk1:2181"), ("zk1:2182", "zk1:2182"), ("10.0.0.1", "10.0.0.1:2181"), ("::1", "::1:2181"),
            ("[::1]", "::1:2181"), ("[2001:db8::1]:2182", "2001:db8::1:2182"),
        ])
        func servers(_ text: String, _ expected: String) {
            #expect(ZooKeeperSettings.server(text)?.description == expected)
        }

        @Test(arguments: [
            "", ":2181", "zk1:", "zk1:x", "zk1:0", "zk1:65536", "[::1", "[::1]2181", "a b", "zk1:-1", "a\0b",
        ])
        func noServers(_ text: String) {
            #expect(ZooKeeperSettings.server(text) == nil)
        }

        @Test func hostsAsListOrText() {
            let asList = read(["hosts": list("zk1:2181", "zk2")])
            #expect(asList.settings?.servers.map(\.description) == ["zk1:2181", "zk2:2181"])
            #expect(asList.complaints.isEmpty)
            let asText = read(["hosts": scalar("zk1:2181,zk2:2182/a/b/")])
            #expect(asText.settings?.servers.map(\.description) == ["zk1:2181", "zk2:2182"])
            #expect(asText.settings?.chroot == "/a/b")
            #expect(read(["hosts": scalar("zk1"), "chroot": scalar("/")]).settings?.chroot == "")
            #expect(read(["hosts": scalar("zk1"), "chroot": scalar("/a//b")]).settings?.chroot == "/a/b")
        }

        private func complaint(_ pairs: KeyValuePairs<String, ConfigurationNode>) -> String {
            let result = read(pairs)
            #expect(result.settings == nil)
            return result.complaints.map(\.description).joined(separator: "\n")
        }

        @Test func complaintsNamePlaceAndRemedy() {
            #expect(complaint([:]).contains("c.yml:1:1: zookeeper.hosts: missing; name the servers"))
            #expect(
                complaint(["hosts": scalar("zk1:none")]).contains("c.yml:2:9: zookeeper.hosts: 'zk1:none' is no server")
            )
            #expect(complaint(["hosts": list()]).contains("names no server"))
            #expect(complaint(["hosts": list("zk1/a", "zk2")]).contains("only the last host"))
            #expect(complaint(["hosts": scalar("zk1/a"), "chroot": scalar("/b")]).contains("give one of the two"))
            #expect(complaint(["hosts": scalar("zk1"), "chroot": scalar("b")]).contains("must be an absolute path"))
            #expect(
                complaint(["hosts": scalar("zk1"), "use_ssl": scalar("on"), "key": scalar("a.key")])
                    .contains("zookeeper.key: belongs to a certificate, and there is none"))
            #expect(
                complaint([
                    "hosts": scalar("zk1"), "use_ssl": scalar("on"), "verify": scalar("off"),
                    "verify_hostname": scalar("on"),
                ]).contains("zookeeper.verify_hostname: cannot be checked while verify is off"))
            #expect(
                complaint(["hosts": scalar("zk1"), "auth_data": map(["x509": scalar("CN=a")])])
                    .contains("from the certificate"))
            #expect(
                complaint(["hosts": scalar("zk1"), "auth_data": map(["sasl": scalar("a:s3cret")])])
                    .contains("exports no zookeeper_init_sasl"))
            #expect(
                complaint(["hosts": scalar("zk1"), "use_sasl": scalar("true")])
                    .contains("zookeeper.use_sasl: cannot be used"))
            #expect(complaint(["hosts": scalar("zk1"), "sync_limit": scalar("5")]).contains("needs tick_time as well"))
            #expect(complaint(["hosts": scalar("zk1"), "tick_time": scalar("soon")]).contains("not a length of time"))
            #expect(complaint(["hosts": scalar("zk1"), "acl": scalar("creator")]).contains("needs credentials"))
            #expect(complaint(["hosts": scalar("zk1"), "acl": scalar("mine")]).contains("zookeeper.acl"))
            let secret = complaint(["hosts": scalar("zk1"), "auth_data": map(["digest": scalar("s3cret")])])
            #expect(secret.contains("zookeeper.auth_data.digest: must have the form user:password"))
            #expect(!secret.contains("s3cret"))
            #expect(
                complaint(["hosts": scalar("zk1"), "set_acls": map(["CN=me": list("READ", "SING")])])
                    .contains("zookeeper.set_acls.CN=me: 'SING' is no permission; there are CREATE"))
        }

        @Test func encryption() {
            let result = read([
                "hosts": scalar("zk1:2281"), "use_ssl": scalar("true"), "cacert": scalar("/etc/ca.pem"),
                "cert": scalar("/etc/a.pem"), "key": scalar("/etc/a.key"), "key_password": scalar("s3cret"),
                "acl": scalar("creator"),
            ])
            #expect(result.complaints.isEmpty)
            #expect(
                result.settings?.encryption
                    == EncryptionSettings(
                        authorityFile: "/etc/ca.pem", certificateFile: "/etc/a.pem", keyFile: "/etc/a.key",
                        keyPassword: Secret("s3cret"), verifies: true, verifiesNames: false))
            #expect(!"\(result.settings as Any)".contains("s3cret"))
            // The public authorities vouch for everybody: then the name must be right.
            let open = read(["hosts": scalar("zk1:2281"), "use_ssl": scalar("true")])
            #expect(open.settings?.encryption?.verifiesNames == true)
            let strict = read([
                "hosts": scalar("zk1:2281"), "use_ssl": scalar("true"), "cacert": scalar("/etc/ca.pem"),
                "verify_hostname": scalar("true"),
            ])
            #expect(strict.settings?.encryption?.verifiesNames == true)
            let careless = read(["hosts": scalar("zk1:2281"), "use_ssl": scalar("true"), "verify": scalar("false")])
            #expect(careless.settings?.encryption?.verifies == false)
            #expect(careless.complaints.contains { $0.severity == .warning && $0.path == "zookeeper.verify" })
        }

        @Test func securityAndTimes() {
            let result = read([
                "hosts": scalar("zk1"), "auth_data": map(["digest": scalar("u:p")]), "acl": scalar("creator"),
                "tick_time": scalar("500"), "sync_limit": scalar("4"), "connect_timeout": scalar("0.5"),
                "verify": scalar("true"), "hots": scalar("x"),
            ])
            let settings = result.settings
            #expect(settings?.credentials == [Credential(scheme: "digest", secret: Secret("u:p"))])
            #expect(!"\(settings as Any)".contains("u:p"))
            #expect(settings?.accessList == [.creator])
            #expect(settings?.tick == .milliseconds(500))
            #expect(settings?.syncLimit == 4)
            #expect(settings?.connectTimeout == .milliseconds(500))
            #expect(result.complaints.allSatisfy { $0.severity == .warning })
            #expect(result.complaints.contains { $0.path == "zookeeper.hots" })
            #expect(result.complaints.contains { $0.path == "zookeeper.verify" && $0.message.contains("no effect") })
            #expect(settings?.encryption == nil)
            let listed = read([
                "hosts": scalar("zk1"),
                "set_acls": map([
                    "CN=me": list("ALL"), "digest:u:hash=": list("read", "WRITE"), "world:anyone": scalar("READ"),
                ]),
            ])
            #expect(
                listed.settings?.accessList == [
                    AccessRule(scheme: "x509", identity: "CN=me", permissions: .all),
                    AccessRule(scheme: "digest", identity: "u:hash=", permissions: [.read, .write]),
                    AccessRule(scheme: "world", identity: "anyone", permissions: .read),
                ])
            #expect(read(["hosts": scalar("zk1")]).settings?.accessList == [.world])
        }
    }
#endif
