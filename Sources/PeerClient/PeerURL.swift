/// Where a member's REST API is.
struct PeerURL: Hashable {
    /// `http://host:port`, without path and credentials.
    var base: String
    /// As the member gave it, without credentials.
    var whole: String

    init(_ text: String) throws(PeerError) {
        let parts = text.split(separator: "/", maxSplits: 3, omittingEmptySubsequences: false)
        guard parts.count >= 3, parts[0] == "http:" || parts[0] == "https:", parts[1].isEmpty else {
            throw .badURL(Self.shown(text))
        }
        // Credentials in a member's URL are not for us, and are not to be logged.
        let authority = parts[2].split(separator: "@", omittingEmptySubsequences: false).last ?? ""
        guard !authority.isEmpty, authority.utf8.allSatisfy({ $0 > 32 && $0 < 127 }) else {
            throw .badURL(Self.shown(text))
        }
        self.base = "\(parts[0])//\(authority)"
        self.whole = self.base + (parts.count > 3 ? "/" + parts[3] : "/")
    }

    func with(path: String) -> String {
        base + (path.hasPrefix("/") ? path : "/" + path)
    }

    private static func shown(_ text: String) -> String {
        let start = text.lastIndex(of: "@").map { text.index(after: $0) } ?? text.startIndex
        return String(text[start...].prefix(200))
    }
}
