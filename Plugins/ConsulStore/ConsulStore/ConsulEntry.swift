#if Consul
    import ClusterModel
    import PluginInterfaces

    /// One entry of Consul's key-value store, as its answers show it.
    struct ConsulEntry: Hashable, Sendable {
        /// From the store's own root: `service/demo/leader`.
        var key: String
        /// Empty in the answers to transactions, which leave it out.
        var value: [UInt8] = []
        var flags: UInt64 = 0
        var session: String?
        var createIndex: UInt64
        var modifyIndex: UInt64

        var version: EntryVersion { EntryVersion(created: createIndex, number: modifyIndex) }

        /// Reads what Consul sends for an entry; nil when it is none.
        init?(_ json: JSONValue) {
            guard let object = json.object, let key = object["Key"]?.string,
                let created = object["CreateIndex"]?.integer, let modified = object["ModifyIndex"]?.integer,
                created >= 0, modified >= 0
            else { return nil }
            switch object["Value"] {
            case nil, .null?: break
            case let value?:
                guard let bytes = value.string.flatMap(Base64.decode) else { return nil }
                self.value = bytes
            }
            self.key = key
            flags = UInt64(max(0, object["Flags"]?.integer ?? 0))
            session = object["Session"]?.string.flatMap { $0.isEmpty ? nil : $0 }
            createIndex = UInt64(created)
            modifyIndex = UInt64(modified)
        }
    }

    /// Reads Consul's answers; nothing in them is trusted to have the right form.
    enum ConsulReply {
        /// What a transaction came to.
        enum Transaction: Hashable, Sendable {
            case done([ConsulEntry])
            /// Nothing was applied.
            case failed([Problem])
        }

        /// Why one operation of a transaction was refused.
        struct Problem: Hashable, Sendable {
            var operation: Int
            var text: String

            var isPermission: Bool {
                text.containsInAnyCase("permission denied") || text.containsInAnyCase("acl not found")
            }
            var isInvalidSession: Bool { text.containsInAnyCase("invalid session") }
            var isLockDelay: Bool { text.containsInAnyCase("lock delay") }
        }

        /// The list that a read of a tree answers with; nil for anything else.
        static func entries(_ body: [UInt8]) -> [ConsulEntry]? {
            guard let list = (try? JSONValue.parse(body))?.array else { return nil }
            var entries: [ConsulEntry] = []
            for element in list {
                guard let entry = ConsulEntry(element) else { return nil }
                entries.append(entry)
            }
            return entries
        }

        static func transaction(_ body: [UInt8], isConflict: Bool) -> Transaction? {
            guard let object = (try? JSONValue.parse(body))?.object else { return nil }
            let errors = object["Errors"]?.array ?? []
            if isConflict || !errors.isEmpty {
                let problems = errors.compactMap { error -> Problem? in
                    guard let text = error["What"]?.string else { return nil }
                    return Problem(operation: Int(clamping: error["OpIndex"]?.integer ?? -1), text: text)
                }
                return problems.isEmpty ? nil : .failed(problems)
            }
            var entries: [ConsulEntry] = []
            for element in object["Results"]?.array ?? [] {
                // Other kinds of results belong to other kinds of operations.
                guard let part = element["KV"] else { continue }
                guard let entry = ConsulEntry(part) else { return nil }
                entries.append(entry)
            }
            return .done(entries)
        }

        /// The keys that a read of names answers with.
        static func keys(_ body: [UInt8]) -> [String]? {
            guard let list = (try? JSONValue.parse(body))?.array else { return nil }
            let keys = list.compactMap(\.string)
            return keys.count == list.count ? keys : nil
        }

        /// A new session's number.
        static func sessionID(_ body: [UInt8]) -> String? {
            (try? JSONValue.parse(body))?["ID"]?.string.flatMap { isSessionID($0) ? $0 : nil }
        }

        /// A session as `session/info` shows it; `.some(nil)` when there is none.
        static func session(_ body: [UInt8]) -> ConsulSessionFacts?? {
            guard let list = (try? JSONValue.parse(body))?.array else { return nil }
            guard let first = list.first else { return .some(nil) }
            guard let id = first["ID"]?.string else { return nil }
            return .some(
                ConsulSessionFacts(
                    id: id, lifetime: first["TTL"]?.string.flatMap(GoDuration.parse),
                    deletesKeys: first["Behavior"]?.string == "delete",
                    lockDelay: .nanoseconds(max(0, first["LockDelay"]?.integer ?? 0))))
        }

        /// Consul's form of a number for a session: 36 hexadecimal digits and hyphens.
        static func isSessionID(_ text: String) -> Bool {
            text.utf8.count == 36
                && text.utf8.allSatisfy {
                    (48...57).contains($0) || (97...102).contains($0 | 32) || $0 == UInt8(ascii: "-")
                }
        }

        /// The least lifetime that the servers grant, from their complaint about a shorter one:
        /// `Invalid Session TTL '500000000', must be between [10s=24h0m0s]`.
        static func leastLifetime(_ text: String) -> Duration? {
            guard text.containsInAnyCase("session ttl"), let open = text.lastIndex(of: "[") else { return nil }
            let inner = text[text.index(after: open)...].prefix { $0 != "=" && $0 != "]" }
            return GoDuration.parse(String(inner))
        }
    }

    /// What is known of a session.
    struct ConsulSessionFacts: Hashable, Sendable {
        var id: String
        var lifetime: Duration?
        /// Whether what hangs on it is deleted with it.
        var deletesKeys: Bool
        /// For how long after its end nobody can lock what hung on it.
        var lockDelay: Duration
    }

    /// Lengths of time as Go writes them: `15s`, `1m30s`, `1.5s`, `24h0m0s`.
    enum GoDuration {
        static func parse(_ text: String) -> Duration? {
            var rest = text.utf8[...]
            var nanoseconds = 0.0
            guard !rest.isEmpty else { return nil }
            while !rest.isEmpty {
                let digits = rest.prefix { (48...57).contains($0) || $0 == UInt8(ascii: ".") }
                guard digits.count <= 20, let number = Double(String(decoding: digits, as: UTF8.self)) else {
                    return nil
                }
                rest = rest.dropFirst(digits.count)
                let unit = rest.prefix { !(48...57).contains($0) && $0 != UInt8(ascii: ".") }
                rest = rest.dropFirst(unit.count)
                switch String(decoding: unit, as: UTF8.self) {
                case "ns": nanoseconds += number
                case "us", "µs": nanoseconds += number * 1e3
                case "ms": nanoseconds += number * 1e6
                case "s": nanoseconds += number * 1e9
                case "m": nanoseconds += number * 60e9
                case "h": nanoseconds += number * 3600e9
                default: return nil
                }
            }
            guard nanoseconds.isFinite, nanoseconds < 9e17 else { return nil }
            return .nanoseconds(Int64(nanoseconds))
        }

        /// Whole milliseconds, which every release reads.
        static func text(_ duration: Duration) -> String { "\(max(1, duration.milliseconds))ms" }
    }

    extension StringProtocol {
        /// Whether a text contains another one, in any case. For the servers' messages, which are ASCII.
        func containsInAnyCase(_ other: String) -> Bool { lowercased().contains(other) }
    }
#endif
