public import ConfigurationTree

/// How commands reach a cluster: addresses of members' APIs, and what to show there.
public struct ControlConfiguration: Hashable, Sendable {
    /// The cluster's name, when the configuration gives one.
    public var scope: String?
    /// Addresses to begin with; any one that answers names all the others.
    public var bases: [String] = []
    public var username: String?
    /// Never printed.
    public var password: String?
    /// The servers' certificates are not verified.
    public var isInsecure = false
    public var caFile: String?
    public var certificateFile: String?
    public var keyFile: String?
    /// Never printed.
    public var keyPassword: String?

    public init() {}

    /// Takes from an agent's configuration, or from an operator's file, what commands need.
    ///
    /// Credentials come from `ctl`, else from `restapi`; the CA's file likewise.
    public init(node: ConfigurationNode) {
        scope = node["scope"]?.scalarText
        let api = node["restapi"]
        let control = node["ctl"]
        let scheme = (api?["certfile"]?.scalarText ?? "").isEmpty ? "http" : "https"
        if let address = api?["connect_address"]?.scalarText ?? api?["listen"]?.scalarText.map(Self.reachable) {
            bases = ["\(scheme)://\(address)"]
        }
        let credentials = control?["authentication"] ?? api?["authentication"]
        if let text = credentials?.scalarText, let colon = text.firstIndex(of: ":") {
            username = String(text[..<colon])
            password = String(text[text.index(after: colon)...])
        } else {
            username = credentials?["username"]?.scalarText
            password = credentials?["password"]?.scalarText
        }
        isInsecure = ["true", "on", "yes", "1"].contains(control?["insecure"]?.scalarText?.lowercased())
        caFile = control?["cacert"]?.scalarText ?? api?["cafile"]?.scalarText
        certificateFile = control?["certfile"]?.scalarText
        keyFile = control?["keyfile"]?.scalarText
        keyPassword = control?["keyfile_password"]?.scalarText
    }

    /// An address to listen on as one to connect to: what stands for all addresses becomes this machine.
    static func reachable(_ listen: String) -> String {
        guard let colon = listen.lastIndex(of: ":") else { return listen }
        let host = listen[..<colon]
        let port = listen[listen.index(after: colon)...]
        return ["", "*", "0.0.0.0", "::", "[::]"].contains(host) ? "127.0.0.1:\(port)" : listen
    }

    /// `http://host:port` out of what a person wrote or a member published (`http://host:port/patroni`).
    static func base(of url: String) -> String? {
        let text = url.trimmed
        let (scheme, rest): (Substring, Substring)
        if let mark = text.firstRange(of: "://") {
            (scheme, rest) = (text[..<mark.lowerBound], text[mark.upperBound...])
        } else {
            (scheme, rest) = ("http", text[...])
        }
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        guard ["http", "https"].contains(scheme), !authority.isEmpty, !authority.contains(" ") else { return nil }
        return "\(scheme)://\(authority)"
    }
}

extension ConfigurationNode {
    /// A scalar's text; nil for an empty one and for anything else.
    var scalarText: String? {
        if case .scalar(let text, _) = content, !text.isEmpty { return text }
        return nil
    }
}

extension StringProtocol {
    /// Without white space at both ends.
    var trimmed: String {
        var text = self[...]
        while let first = text.first, first.isWhitespace { text = text.dropFirst() }
        while let last = text.last, last.isWhitespace { text = text.dropLast() }
        return String(text)
    }
}
