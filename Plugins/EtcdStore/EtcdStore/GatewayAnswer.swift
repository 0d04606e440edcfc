#if Etcd
    import ClusterModel
    import PluginInterfaces

    /// What every answer says of the member that gave it.
    struct AnswerHeader: Hashable, Sendable {
        var cluster: UInt64
        var member: UInt64
        /// The store's revision that the answer shows.
        var revision: UInt64
        /// The member's own raft term.
        var term: UInt64

        /// Nil where there is no usable header: then nothing can be concluded from the answer.
        init?(_ value: JSONValue?) {
            guard let object = value?.object, let cluster = object["cluster_id"]?.unsigned,
                let member = object["member_id"]?.unsigned, let term = object["raft_term"]?.unsigned
            else { return nil }
            self.cluster = cluster
            self.member = member
            self.term = term
            // Zero is left out; a watch is told of its creation with one.
            revision = object["revision"]?.unsigned ?? 0
        }
    }

    extension JSONValue {
        /// etcd's 64-bit numbers are texts of digits.
        var unsigned: UInt64? {
            switch self {
            case .string(let text): text.utf8.allSatisfy({ (48...57).contains($0) }) ? UInt64(text) : nil
            case .integer(let number): UInt64(exactly: number)
            default: nil
            }
        }

        var signed: Int64? {
            switch self {
            case .string(let text): Int64(text)
            case .integer(let number): number
            default: nil
            }
        }

        /// Bytes in base64; no bytes are left out by the gateway.
        var base64: [UInt8]? { string.flatMap(Base64.decode) }
    }

    /// A key with its value as etcd has it.
    struct KeyValue: Hashable, Sendable {
        var key: [UInt8]
        var value: [UInt8]
        var created: UInt64
        var modified: UInt64
        var lease: LeaseID?

        init?(_ value: JSONValue) {
            guard let object = value.object, let key = object["key"]?.base64 else { return nil }
            self.key = key
            guard let bytes = object["value"].map(\.base64) ?? [] else { return nil }
            self.value = bytes
            // Absent in what a watch tells of a deletion.
            created = object["create_revision"]?.unsigned ?? 0
            modified = object["mod_revision"]?.unsigned ?? 0
            lease = object["lease"]?.signed.flatMap { LeaseID($0) }
        }

        var version: EntryVersion { EntryVersion(created: created, number: modified) }

        func entry(_ key: StoreKey) -> StoreEntry {
            StoreEntry(
                key: key, value: value, version: version, created: created, owner: lease.map { SessionID($0.text) })
        }
    }

    /// An answer that was given with status 200.
    struct GatewayAnswer: Hashable, Sendable {
        var body: JSONObject
        var header: AnswerHeader

        init?(_ body: JSONObject) {
            guard let header = AnswerHeader(body["header"]) else { return nil }
            self.body = body
            self.header = header
        }

        /// The keys of a range; nil when one of them cannot be read, for then the others are no cut.
        static func keyValues(_ range: JSONValue?) -> [KeyValue]? {
            guard let list = range?["kvs"] else { return [] }
            guard let elements = list.array else { return nil }
            var found: [KeyValue] = []
            for element in elements {
                guard let keyValue = KeyValue(element) else { return nil }
                found.append(keyValue)
            }
            return found
        }
    }
#endif
