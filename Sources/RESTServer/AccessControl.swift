import ClusterModel
import ConfigurationTree
import PluginInterfaces

/// Who may make unsafe requests: the allowlist, then the certificate, then the password.
struct AccessControl: Sendable {
    private var networks: [IPNetwork]
    private var hasAllowlist: Bool
    private var includesMembers: Bool
    private var wantsCertificate: Bool
    /// The base64 of `user:password`.
    private var credentials: [UInt8]?

    /// Admits nobody: what holds until the settings are loaded.
    static let closed = AccessControl(
        networks: [], hasAllowlist: true, includesMembers: false, wantsCertificate: false, credentials: nil)

    /// Resolves the host names of the list once, as the configuration is loaded. A name that cannot be resolved admits nobody.
    static func make(
        _ settings: RESTSettings, resolve: @Sendable (String) async -> [String]
    ) async -> (control: AccessControl, problems: [String]) {
        var networks: [IPNetwork] = []
        var problems: [String] = []
        for entry in settings.allowlist {
            if let network = IPNetwork(entry) {
                networks.append(network)
                continue
            }
            let addresses = await resolve(entry).compactMap(IPNetwork.init)
            if addresses.isEmpty {
                problems.append("restapi.allowlist: '\(entry)' is neither a network nor a host that can be resolved")
            }
            networks += addresses
        }
        let control = AccessControl(
            networks: networks, hasAllowlist: !settings.allowlist.isEmpty,
            includesMembers: settings.allowlistIncludeMembers,
            wantsCertificate: settings.isTLS && settings.verifyClient != .none,
            credentials: settings.username.flatMap { user in
                settings.password.map { Array(Base64.encode("\(user):\($0.value)".utf8).utf8) }
            })
        return (control, problems)
    }

    /// nil: go on. `memberHosts` is asked only if needed; pass nil where members get no privilege.
    func refusal(
        of request: RESTRequest, memberHosts: (@Sendable () async -> [String])?
    ) async -> RESTAnswer? {
        let asksMembers = includesMembers && memberHosts != nil
        if hasAllowlist || asksMembers {
            var admitted = false
            if let client = request.clientAddress {
                admitted = networks.contains { $0.contains(client) }
                if !admitted, asksMembers, let memberHosts {
                    admitted = await memberHosts().contains { IPNetwork($0)?.contains(client) ?? false }
                }
            }
            if !admitted { return .text("Access is denied", status: 403) }
        }
        if wantsCertificate, request.isTLS, await !request.hasClientCertificate() {
            return .text("client certificate required", status: 403)
        }
        if let credentials {
            let given = Self.basicCredentials(request.authorization)
            guard let given else { return Self.unauthorized("no auth header received") }
            guard Self.isEqual(given, credentials) else { return Self.unauthorized("not authenticated") }
        }
        return nil
    }

    private static func unauthorized(_ text: String) -> RESTAnswer {
        var answer = RESTAnswer.text(text, status: 401)
        answer.headers = [("WWW-Authenticate", "Basic realm=\"Patroni\"")]
        return answer
    }

    /// What follows the scheme; another scheme than Basic compares as a wrong password.
    private static func basicCredentials(_ header: String?) -> [UInt8]? {
        guard let header else { return nil }
        let parts = header.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "basic" else { return [] }
        return Array(parts[1].utf8).filter { $0 != UInt8(ascii: " ") }
    }

    /// Takes as long whether the texts differ early, late or not at all.
    static func isEqual(_ given: [UInt8], _ wanted: [UInt8]) -> Bool {
        var difference = UInt64(bitPattern: Int64(given.count ^ wanted.count))
        for index in wanted.indices {
            difference |= UInt64(wanted[index] ^ (index < given.count ? given[index] : ~wanted[index]))
        }
        return difference == 0
    }
}
