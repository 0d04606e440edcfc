#if Etcd
    import ConfigurationTree

    /// Where a server (or a proxy) takes clients' requests.
    struct Endpoint: Hashable, Sendable, CustomStringConvertible {
        var isSecure: Bool
        /// A name or an address, without brackets.
        var host: String
        var port: Int

        static let defaultPort = 2379

        /// `https://host:2379`, without a slash at its end.
        var url: String { "\(isSecure ? "https" : "http")://\(host.contains(":") ? "[\(host)]" : host):\(port)" }
        var description: String { url }

        init(isSecure: Bool, host: String, port: Int) {
            self.isSecure = isSecure
            self.host = host
            self.port = port
        }

        /// `host`, `host:port`, `[::1]:2379`, `https://host:port/`; nil for anything else, a path and a user's name included.
        init?(_ text: String, secureByDefault: Bool, defaultPort: Int = Self.defaultPort) {
            guard let location = EndpointText(text), location.user == nil, location.isWithoutPath else { return nil }
            self.init(location, secureByDefault: secureByDefault, defaultPort: defaultPort)
        }

        init?(_ location: EndpointText, secureByDefault: Bool, defaultPort: Int = Self.defaultPort) {
            switch location.scheme {
            case nil: isSecure = secureByDefault
            case "http": isSecure = false
            case "https": isSecure = true
            default: return nil
            }
            host = location.host
            port = location.port ?? defaultPort
        }
    }

    /// The parts of an address as people write it.
    struct EndpointText: Hashable, Sendable {
        var scheme: String?
        var user: String?
        var password: Secret?
        var host: String
        var port: Int?
        var isWithoutPath: Bool

        init?(_ text: String) {
            var rest = Substring(text)
            if let mark = rest.firstRange(of: "://") {
                scheme = rest[..<mark.lowerBound].lowercased()
                rest = rest[mark.upperBound...]
            }
            let authority = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
            isWithoutPath = rest.dropFirst(authority.count).allSatisfy { $0 == "/" }
            var place = authority
            if let at = authority.lastIndex(of: "@") {
                let parts = authority[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
                user = parts.first.flatMap { Self.unescaped($0) }
                if parts.count == 2 {
                    guard let plain = Self.unescaped(parts[1]) else { return nil }
                    password = Secret(plain)
                }
                if user == nil || user == "" { return nil }
                place = authority[authority.index(after: at)...]
            }
            var name = place
            var digits: Substring?
            if place.first == "[" {
                guard let end = place.firstIndex(of: "]") else { return nil }
                name = place[place.index(after: place.startIndex)..<end]
                let after = place[place.index(after: end)...]
                if after.first == ":" {
                    digits = after.dropFirst()
                } else if !after.isEmpty {
                    return nil
                }
                guard name.contains(":") else { return nil }
            } else if let colon = place.firstIndex(of: ":") {
                let after = place[place.index(after: colon)...]
                // Two colons and no brackets: an IPv6 address by itself.
                if !after.contains(":") {
                    digits = after
                    name = place[..<colon]
                }
            }
            let isName = name.utf8.allSatisfy { byte in
                byte > 32 && byte < 127 && !"\"#%,/<>?@[\\]^`{|}".utf8.contains(byte)
            }
            guard !name.isEmpty, isName else { return nil }
            host = String(name)
            if let digits {
                guard !digits.isEmpty, digits.utf8.allSatisfy({ (48...57).contains($0) }), let number = Int(digits),
                    (1...65535).contains(number)
                else { return nil }
                port = number
            }
        }

        /// A text with %xx in it; nil when one is cut off or no number.
        private static func unescaped(_ text: Substring) -> String? {
            var bytes: [UInt8] = []
            var input = text.utf8.makeIterator()
            func digit(_ byte: UInt8?) -> UInt8? {
                byte.flatMap { Character(Unicode.Scalar($0)).hexDigitValue }.map { UInt8($0) }
            }
            while let byte = input.next() {
                guard byte == UInt8(ascii: "%") else {
                    bytes.append(byte)
                    continue
                }
                guard let high = digit(input.next()), let low = digit(input.next()) else { return nil }
                bytes.append(high << 4 | low)
            }
            return String(decoding: bytes, as: UTF8.self)
        }
    }
#endif
