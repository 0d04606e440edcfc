import ClusterModel

/// A server to connect to, as whom, and how.
public struct ConnectionTarget: Hashable, Sendable {
    public var endpoint: ServerEndpoint
    public var database: String
    public var login: RoleLogin
    public var applicationName: String
    /// Given to the server as it starts the session: `statement_timeout` and the like.
    public var sessionSettings: [ServerSetting]
    /// A connection that speaks the replication protocol instead of SQL.
    public var isReplication: Bool

    public init(
        endpoint: ServerEndpoint, database: String = "postgres", login: RoleLogin, applicationName: String,
        sessionSettings: [ServerSetting] = [], isReplication: Bool = false
    ) {
        self.endpoint = endpoint
        self.database = database
        self.login = login
        self.applicationName = applicationName
        self.sessionSettings = sessionSettings
        self.isReplication = isReplication
    }

    /// The local server, as the superuser.
    public init(local layout: PostgresLayout, scope: ListeningScope = .configured, statementTimeout: Duration? = nil) {
        var settings = [ServerSetting("search_path", "pg_catalog"), ServerSetting("client_min_messages", "error")]
        if let statementTimeout {
            // Zero: none, for statements whose only bound is the caller's deadline.
            let milliseconds = statementTimeout == .zero ? 0 : max(1, statementTimeout.milliseconds)
            settings.append(ServerSetting("statement_timeout", String(milliseconds)))
        }
        self.init(
            endpoint: layout.endpoint(scope), database: layout.database, login: layout.superuser,
            applicationName: "Matriarch \(layout.memberName)", sessionSettings: settings)
    }

    /// libpq's keywords and values, the password among them: never to be printed.
    func keywords(hostAddresses: String? = nil) -> [(String, String)] {
        var pairs: [(String, String)] = []
        if let host = endpoint.host {
            // One host for each address, as libpq wants it; the name stays for the check of the certificate.
            let count = hostAddresses.map { $0.split(separator: ",").count } ?? 1
            pairs.append(("host", repeatElement(host, count: count).joined(separator: ",")))
        }
        if let hostAddresses { pairs.append(("hostaddr", hostAddresses)) }
        pairs.append(("port", String(endpoint.port)))
        pairs.append(("user", login.user))
        pairs.append(("dbname", isReplication ? "replication" : database))
        if isReplication { pairs.append(("replication", "true")) }
        pairs.append(("application_name", applicationName))
        // Messages in one language, and texts in one encoding, whatever the agent's locale is.
        pairs.append(("client_encoding", "UTF8"))
        pairs += login.options.map { ($0.name, $0.value) }
        if let password = login.password { pairs.append(("password", password.reveal())) }
        if let password = login.sslPassword { pairs.append(("sslpassword", password.reveal())) }
        if !sessionSettings.isEmpty {
            let options = sessionSettings.map { "-c \($0.name)=\(Self.optionEscaped($0.value))" }
            pairs.append(("options", options.joined(separator: " ")))
        }
        // A frozen peer is noticed by the kernel as well as by our deadlines.
        pairs += [("keepalives_idle", "10"), ("keepalives_interval", "3"), ("keepalives_count", "3")]
        return pairs
    }

    private static func optionEscaped(_ value: String) -> String {
        var text = ""
        // The server splits at every kind of blank.
        for scalar in value.unicodeScalars {
            if scalar == " " || (9...13).contains(scalar.value) || scalar == "\\" { text += "\\" }
            text.unicodeScalars.append(scalar)
        }
        return text
    }

    /// A connection string without any password, for programs and for `primary_conninfo`.
    public func connectionString(passfile: String?) -> String {
        var pairs: [(String, String)] = []
        if let host = endpoint.host { pairs.append(("host", host)) }
        pairs.append(("port", String(endpoint.port)))
        pairs.append(("user", login.user))
        if let passfile { pairs.append(("passfile", passfile)) }
        pairs.append(("application_name", applicationName))
        var options = login.options
        if !options.contains(where: { $0.name == "sslmode" }) { options.append(ServerSetting("sslmode", "prefer")) }
        pairs += options.map { ($0.name, $0.value) }
        if !isReplication || !database.isEmpty { pairs.append(("dbname", database)) }
        return pairs.map { "\($0.0)=\(Quoting.connectionValue($0.1))" }.joined(separator: " ")
    }
}
