#if Consul
    import ClusterModel
    import ConfigurationTree
    import Glibc
    import PluginInterfaces
    import StoreConformance
    import Testing

    @testable import ConsulStore

    /// Tokens and certificates, on servers that insist on them.
    @Suite struct ConsulSecurityTests {
        /// A server with access control, whose master may do everything.
        struct Guarded {
            static let master = "11111111-2222-3333-4444-555555555555"
            let server: ConsulServer

            static func started() async throws -> Guarded {
                let server = try await ConsulServer.standalone(extra: [
                    "acl": [
                        "enabled": true, "default_policy": "deny", "down_policy": "extend-cache",
                        "tokens": ["master": .string(master), "agent": .string(master)],
                    ], "primary_datacenter": "dc1",
                ])
                return Guarded(server: server)
            }

            /// A token with these rules.
            func token(_ name: String, _ rules: String) async throws -> String {
                let policy: JSONValue = ["Name": .string(name), "Rules": .string(rules)]
                var answer: String?
                // The master token is known a moment after the leader is.
                _ = await eventually(within: .seconds(20)) {
                    answer = ConsulFiles.request(
                        "PUT", "/v1/acl/policy", body: policy.serialized(), port: server.ports.http,
                        token: Self.master)
                    return answer?.hasPrefix("HTTP/1.1 200") ?? false
                }
                let token: JSONValue = ["Policies": [["Name": .string(name)]]]
                let made = try #require(
                    ConsulFiles.request(
                        "PUT", "/v1/acl/token", body: token.serialized(), port: server.ports.http, token: Self.master))
                let end = try #require(made.firstRange(of: "\r\n\r\n"))
                return try #require(try JSONValue.parse(String(made[end.upperBound...]))["SecretID"]?.string)
            }

            /// Takes a token away.
            func delete(_ secret: String) throws -> Bool {
                let found = try #require(
                    ConsulFiles.request("GET", "/v1/acl/token/self", port: server.ports.http, token: secret))
                let start = try #require(found.firstRange(of: "\r\n\r\n"))
                let id = try #require(try JSONValue.parse(String(found[start.upperBound...]))["AccessorID"]?.string)
                return ConsulFiles.request(
                    "DELETE", "/v1/acl/token/\(id)", port: server.ports.http, token: Self.master)?
                    .hasPrefix("HTTP/1.1 200") ?? false
            }
        }

        /// A directory with an authority, certificates of a server, a client, and a stranger.
        static func makeCertificates() throws -> String {
            let place = try makeTemporaryDirectory("consul")
            let made = try ConsulFiles.shell(
                """
                cd \(place) && exec >/dev/null 2>&1 &&
                authority() {
                    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$1" -keyout $1.key -out $1.crt
                }
                certificate() {
                    openssl req -newkey rsa:2048 -nodes -subj "/CN=$2" -keyout $2.key -out $2.csr &&
                    printf 'subjectAltName=DNS:server.dc1.consul,DNS:localhost,IP:127.0.0.1\\n' >$2.ext &&
                    openssl x509 -req -in $2.csr -CA $1.crt -CAkey $1.key -CAcreateserial -days 2 -extfile $2.ext -out $2.crt
                }
                authority ca && authority other && certificate ca server && certificate ca client && certificate other stranger
                """)
            try #require(made == 0)
            return place
        }

        /// What a server's configuration says of those.
        static func encrypted(_ place: String) -> JSONObject {
            [
                "ca_file": .string(place + "/ca.crt"), "cert_file": .string(place + "/server.crt"),
                "key_file": .string(place + "/server.key"), "verify_incoming": true, "verify_outgoing": true,
            ]
        }

        private func open(
            _ server: ConsulServer, _ root: String, token: String?, change: (inout ConsulSettings) -> Void = { _ in }
        ) throws -> ConsulClusterStore {
            try openConsul([server.address], root: root) {
                $0.token = token.map { Secret($0) }
                change(&$0)
            }
        }

        private func session(_ store: ConsulClusterStore) async throws -> any StoreSession {
            try await store.openSession(SessionRequest(lifetime: .seconds(20), name: "pg1"), within: .seconds(10))
        }

        private func commit(
            _ store: ConsulClusterStore, if compares: [StoreCompare] = [], _ writes: StoreWrite...
        ) async -> CommitOutcome {
            await store.commit(
                StoreTransaction(id: TransactionID(nextNumber()), compares: compares, writes: writes),
                within: .seconds(5))
        }

        @Test func tokensAreUsedAndTheirLackIsExplained() async throws {
            let guarded = try await Guarded.started()
            defer { guarded.server.stop() }
            let server = guarded.server
            let root = "/service/closed/"
            let full = try await guarded.token(
                "full",
                "key_prefix \"service/closed/\" { policy = \"write\" } session_prefix \"\" { policy = \"write\" }")
            let store = try open(server, root, token: full)
            let log = SignalLog(store)
            let ours = try await session(store)
            #expect(await commit(store, .create("leader", bytes("pg1"), .session(ours.id))).isCommitted)
            guard case .proven = await ours.renew(holding: true, within: .seconds(5)) else {
                throw CaseFailure("not proven")
            }
            #expect(try await store.read(.all, .linearizable, within: .seconds(5)).text("leader") == "pg1")
            #expect(await log.first(after: 0, within: .seconds(5)) { $0.isNews } != nil)

            // No token, a wrong one, one for something else, one for keys alone.
            let elsewhere = try await guarded.token(
                "elsewhere",
                "key_prefix \"service/other/\" { policy = \"write\" } session_prefix \"\" { policy = \"write\" }")
            let keysOnly = try await guarded.token("keys", "key_prefix \"service/closed/\" { policy = \"write\" }")
            let readOnly = try await guarded.token(
                "read",
                "key_prefix \"service/closed/\" { policy = \"read\" } session_prefix \"\" { policy = \"write\" }")
            for token in [nil, "99999999-2222-3333-4444-555555555555", elsewhere, keysOnly, readOnly] {
                let other = try open(server, root, token: token)
                await #expect { _ = try await self.session(other) } throws: { error in
                    guard let error = error as? StoreError else { return false }
                    return error.code == .notAuthorized && error.message.contains("consul.token")
                        && error.message.contains("key_prefix \"service/closed/\"")
                        && !(token.map { error.message.contains($0) } ?? false)
                }
                await other.close()
            }
            // What may not be written is certainly not written; what may not be read is no empty cluster for the holder.
            let blind = try open(server, root, token: keysOnly)
            _ = try await blind.read(.all, .linearizable, within: .seconds(5))
            await blind.close()
            let stranger = try open(server, root, token: elsewhere)
            await #expect { _ = try await stranger.read(.all, .linearizable, within: .seconds(5)) } throws: {
                ($0 as? StoreError)?.code == .notAuthorized
            }
            await stranger.close()
            let reader = try open(server, root, token: readOnly)
            guard case .notSent(let error) = await commit(reader, .put("config", bytes("{}"), .permanent)) else {
                throw CaseFailure("written without being allowed to")
            }
            #expect(error.code == .notAuthorized)
            await reader.close()
            // The token loses its rights: the lease is not proven, and not declared lost.
            let policies = try #require(
                ConsulFiles.request("GET", "/v1/acl/policy/name/full", port: server.ports.http, token: Guarded.master)
                    ?? ConsulFiles.request("GET", "/v1/acl/policies", port: server.ports.http, token: Guarded.master))
            let start = try #require(policies.firstRange(of: "\r\n\r\n"))
            let list = try JSONValue.parse(String(policies[start.upperBound...]))
            let found = list.array?.first { $0["Name"]?.string == "full" } ?? list
            let id = try #require(found["ID"]?.string)
            let rules: JSONValue = [
                "ID": .string(id), "Name": "full", "Rules": "session_prefix \"\" { policy = \"write\" }",
            ]
            _ = ConsulFiles.request(
                "PUT", "/v1/acl/policy/\(id)", body: rules.serialized(), port: server.ports.http, token: Guarded.master)
            var outcome: RenewOutcome?
            _ = await eventually(within: .seconds(8)) {
                outcome = await ours.renew(holding: true, within: .seconds(2))
                return outcome?.isProven == false
            }
            guard case .unknown(let denied)? = outcome else { throw CaseFailure("not unknown: \(outcome as Any)") }
            #expect(denied.code == .notAuthorized)
            await store.close()
        }

        @Test func certificatesOfBothSidesAreChecked() async throws {
            let place = try Self.makeCertificates()
            defer { removeTree(place) }
            let server = try await ConsulServer.standalone(isEncrypted: true, extra: Self.encrypted(place))
            defer { server.stop() }
            func open(_ root: String, _ change: (inout ConsulEncryption) -> Void) throws -> ConsulClusterStore {
                try openConsul([], root: root) {
                    $0.endpoints = [ConsulEndpoint(isEncrypted: true, host: "127.0.0.1", port: server.ports.http)]
                    $0.encryption = ConsulEncryption(
                        authorityPath: place + "/ca.crt", certificatePath: place + "/client.crt",
                        keyPath: place + "/client.key")
                    change(&$0.encryption)
                }
            }
            let store = try open("/service/tls/") { _ in }
            let log = SignalLog(store)
            var opened: (any StoreSession)?
            _ = await eventually(within: .seconds(20)) {
                opened = try? await session(store)
                return opened != nil
            }
            let ours = try #require(opened)
            #expect(await commit(store, .create("leader", bytes("pg1"), .session(ours.id))).isCommitted)
            guard case .proven = await ours.renew(holding: true, within: .seconds(5)) else {
                throw CaseFailure("not proven")
            }
            #expect(await log.first(after: 0, within: .seconds(5)) { $0.isNews } != nil)
            await ours.close(abandon: false)
            await store.close()

            // Without a certificate, or with one of another authority, the server refuses us; with another authority we
            // refuse the server.
            let changes: [(inout ConsulEncryption) -> Void] = [
                { ($0.certificatePath, $0.keyPath) = (nil, nil) },
                { ($0.certificatePath, $0.keyPath) = (place + "/stranger.crt", place + "/stranger.key") },
                { $0.authorityPath = place + "/other.crt" },
            ]
            for change in changes {
                let other = try open("/service/tls/", change)
                await #expect { _ = try await self.session(other) } throws: {
                    ($0 as? StoreError)?.code == .unreachable
                }
                #expect(await !commit(other, .put("config", bytes("{}"), .permanent)).isCommitted)
                await other.close()
            }
            let lax = try open("/service/tls/") { ($0.authorityPath, $0.verifies) = (nil, false) }
            #expect(try await lax.read(.all, .linearizable, within: .seconds(5)).entries.isEmpty)
            await lax.close()

            // Files that cannot be read are reported with the section, before anything is started.
            #expect { _ = try open("/service/tls/") { $0.keyPath = place + "/missing.key" } } throws: {
                ($0 as? StoreError)?.code == .misconfigured && "\($0)".contains("missing.key")
            }
            try writeFile(place + "/bad.crt", "no certificate\n")
            #expect { _ = try open("/service/tls/") { $0.authorityPath = place + "/bad.crt" } } throws: {
                ($0 as? StoreError)?.code == .misconfigured
            }
        }
    }
#endif
