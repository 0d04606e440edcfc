#if Consul
    import PluginInterfaces

    /// One request of Consul's HTTP API.
    struct ConsulCall: Hashable, Sendable {
        var method: String
        /// Begins with `/v1/`; encoded where that is needed.
        var path: String
        /// In order; a name without a value is a flag.
        var query: [(name: String, value: String?)] = []
        /// JSON.
        var body: String?
        /// In a few words, for messages.
        var purpose: String
        /// Whether it is the watch's own: its silence is no news to the watch.
        var isWatch = false

        static func get(_ path: String, _ query: [(name: String, value: String?)] = [], for purpose: String)
            -> ConsulCall
        {
            ConsulCall(method: "GET", path: path, query: query, purpose: purpose)
        }

        static func put(
            _ path: String, _ query: [(name: String, value: String?)] = [], body: String? = nil, for purpose: String
        ) -> ConsulCall {
            ConsulCall(method: "PUT", path: path, query: query, body: body, purpose: purpose)
        }

        /// The path with its query.
        var target: String {
            var text = path
            for (index, item) in query.enumerated() {
                text += (index == 0 ? "?" : "&") + item.name
                if let value = item.value { text += "=" + Self.encoded(value, keeping: "") }
            }
            return text
        }

        /// A key as a part of a path; its slashes stay.
        static func encoded(key: String) -> String { encoded(key, keeping: "/") }

        private static func encoded(_ text: String, keeping kept: String) -> String {
            let digits = Array("0123456789ABCDEF".utf8)
            var bytes: [UInt8] = []
            for byte in text.utf8 {
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."),
                    UInt8(ascii: "~"):
                    bytes.append(byte)
                case _ where kept.utf8.contains(byte):
                    bytes.append(byte)
                default:
                    bytes += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
                }
            }
            return String(decoding: bytes, as: UTF8.self)
        }

        static func == (left: ConsulCall, right: ConsulCall) -> Bool {
            left.method == right.method && left.target == right.target && left.body == right.body
        }

        func hash(into hasher: inout Hasher) {
            hasher.combine(method)
            hasher.combine(target)
        }
    }

    /// Consul's answer, whatever its status.
    struct ConsulAnswer: Hashable, Sendable {
        var status: Int
        /// `X-Consul-Index`.
        var index: UInt64?
        /// `X-Consul-KnownLeader`: whether the server that answered knew a leader.
        var knowsLeader: Bool?
        /// `X-Consul-LastContact`: how long ago that server had heard from its leader.
        var lastContact: Duration?
        var body: [UInt8]

        /// A refusal's text, short and on one line.
        var text: String {
            let line = String(decoding: body.prefix(300), as: UTF8.self)
                .map { $0.isNewline ? " " : String($0) }.joined()
            return line.isEmpty ? "status \(status)" : line
        }
    }

    /// No answer: why, and whether the request can have had an effect.
    struct ConsulFailure: Error, Hashable, Sendable {
        /// What is certain about the request.
        enum Stage: Hashable, Sendable {
            /// Certainly without effect.
            case notSent
            case unknown
        }

        var stage: Stage
        var error: StoreError

        init(_ stage: Stage, _ code: StoreError.Code, _ message: String) {
            self.stage = stage
            error = StoreError(code, message)
        }
    }
#endif
