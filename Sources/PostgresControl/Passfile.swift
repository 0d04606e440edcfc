/// libpq's password file: one line of `host:port:database:user:password` for each way to connect.
public enum Passfile {
    public struct Entry: Hashable, Sendable {
        public var host: String
        public var port: String
        public var database: String
        public var user: String
        public var password: Password

        public init(host: String = "*", port: String = "*", database: String = "*", user: String, password: Password) {
            self.host = host
            self.port = port
            self.database = database
            self.user = user
            self.password = password
        }
    }

    /// Writes the file (0600, at once, durably) if its content differs; tells whether it did.
    @discardableResult
    public static func write(_ path: String, _ entries: [Entry]) throws(PostgresError) -> Bool {
        try Files.replaceIfChanged(path, with: text(entries), mode: 0o600)
    }

    /// The entries of a layout's roles, for any host: what a standby, a clone and a rewind connect with.
    public static func entries(_ layout: PostgresLayout) -> [Entry] {
        var seen: Set<String> = []
        var entries: [Entry] = []
        for login in [layout.replication, layout.rewindLogin, layout.superuser] where seen.insert(login.user).inserted {
            if let password = login.password { entries.append(Entry(user: login.user, password: password)) }
        }
        return entries
    }

    /// The file's text; a line end in a field cannot be written and leaves the entry out.
    static func text(_ entries: [Entry]) -> String {
        var text = ""
        for entry in entries {
            let fields = [
                escaped(entry.host), escaped(entry.port), escaped(entry.database), escaped(entry.user),
                escaped(entry.password.reveal()),
            ]
            if fields.contains(where: { $0.utf8.contains(10) || $0.utf8.contains(0) }) { continue }
            text += fields.joined(separator: ":") + "\n"
        }
        return text
    }

    private static func escaped(_ field: String) -> String {
        if field == "*" { return field }
        var text = ""
        for scalar in field.unicodeScalars {
            if scalar == ":" || scalar == "\\" { text += "\\" }
            text.unicodeScalars.append(scalar)
        }
        return text
    }
}
