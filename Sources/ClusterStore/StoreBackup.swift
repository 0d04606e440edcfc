public import ClusterModel
public import PluginInterfaces

/// A cluster's keys in one JSON document, and what a store gets of them. Pure.
///
/// What hangs on sessions (leader, members) belongs to the living and is left out; so is a pending request, which must
/// not be carried out a second time. `sync` is kept for the reader and never restored: who is in step now is not known
/// from a backup, and a wrong answer lets a member lead that lacks acknowledged writes.
public struct StoreBackup: Hashable, Sendable {
    /// The document's own version.
    public static let format: Int64 = 1

    public var scope: String
    /// `/namespace/scope/`.
    public var root: String
    /// The configuration section of the store that it was taken from: `zookeeper`.
    public var store: String
    public var takenAt: String
    /// The store's revision that all entries are of.
    public var revision: StoreRevision
    public var entries: [StoreKey: [UInt8]]
    /// Keys that hung on sessions when it was taken.
    public var leftOut: [StoreKey]

    public init(of snapshot: StoreSnapshot, scope: String, root: String, store: String, takenAt: String) {
        self.scope = scope
        self.root = root
        self.store = store
        self.takenAt = takenAt
        revision = snapshot.revision
        entries = [:]
        leftOut = []
        for entry in snapshot.entries {
            if entry.owner != nil || entry.key == ClusterKey.leader || entry.key.hasPrefix(ClusterKey.memberPrefix)
                || entry.key == ClusterKey.failover
            {
                leftOut.append(entry.key)
            } else {
                entries[entry.key] = entry.value
            }
        }
        leftOut.sort()
    }

    /// Why a text is no backup.
    public struct Problem: Error, Hashable, Sendable, CustomStringConvertible {
        public var description: String

        init(_ description: String) {
            self.description = description
        }
    }

    /// Reads what `text` wrote.
    public init(text: String) throws(Problem) {
        let value: JSONValue
        do {
            value = try JSONValue.parse(text)
        } catch {
            throw Problem("no JSON: \(error)")
        }
        guard let document = value.object, let format = document["matriarch_backup"] else {
            throw Problem("no backup of a cluster's keys: it has no 'matriarch_backup'")
        }
        guard format == .integer(Self.format) else {
            throw Problem("a backup of format \(format.serialized()), which this version cannot read")
        }
        func word(_ key: String) throws(Problem) -> String {
            guard let word = document[key]?.string else { throw Problem("'\(key)' is missing or no text") }
            return word
        }
        scope = try word("scope")
        root = try word("root")
        store = try word("store")
        takenAt = try word("taken_at")
        revision = StoreRevision(number: 0)
        if case .integer(let number)? = document["revision"], number > 0 {
            revision = StoreRevision(number: UInt64(number))
        }
        leftOut = document["left_out"]?.array?.compactMap(\.string) ?? []
        guard let stored = document["entries"]?.object else { throw Problem("'entries' is missing or no object") }
        entries = [:]
        for (key, value) in stored.members {
            if key.isEmpty || key.hasPrefix("/") || key.hasSuffix("/") || key.contains("//") {
                throw Problem("entries: '\(key)' is no key")
            }
            if let text = value.string {
                entries[key] = Array(text.utf8)
            } else if let bytes = value["hex"]?.string.flatMap(Self.bytes(hex:)) {
                entries[key] = bytes
            } else {
                throw Problem("entries: the value of '\(key)' is neither a text nor {\"hex\": ...}")
            }
        }
    }

    /// The document, for people too: keys in order, values that are texts as texts.
    public var text: String {
        var stored = JSONObject()
        for (key, value) in entries.sorted(by: { $0.key < $1.key }) {
            if let text = String(validating: value, as: UTF8.self) {
                stored[key] = .string(text)
            } else {
                stored[key] = ["hex": .string(Self.hex(value))]
            }
        }
        let document: JSONObject = [
            "matriarch_backup": .integer(Self.format), "scope": .string(scope), "root": .string(root),
            "store": .string(store), "taken_at": .string(takenAt),
            "revision": .integer(Int64(clamping: revision.number)), "entries": .object(stored),
            "left_out": .array(leftOut.map(JSONValue.string)),
        ]
        return JSONValue.object(document).serializedPretty() + "\n"
    }

    private static func hex(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef")
        return String(bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
    }

    private static func bytes(hex: String) -> [UInt8]? {
        let digits = Array(hex.utf8)
        guard digits.count.isMultiple(of: 2) else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let byte = UInt8(String(decoding: digits[index...index + 1], as: UTF8.self), radix: 16) else {
                return nil
            }
            bytes.append(byte)
        }
        return bytes
    }

    // MARK: - Restoring

    /// What a restore does to a store that looks like the snapshot.
    public struct Plan: Hashable, Sendable {
        /// In order: the keys that are written anew, those that are replaced, those that stay as they are and why.
        public var created: [StoreKey] = []
        public var replaced: [StoreKey] = []
        public var kept: [(key: StoreKey, why: String)] = []
        public var era: UInt32?
        public var transaction: StoreTransaction

        public var isEmpty: Bool { created.isEmpty && replaced.isEmpty }

        public static func == (left: Plan, right: Plan) -> Bool { left.transaction == right.transaction }

        public func hash(into hasher: inout Hasher) { hasher.combine(transaction) }
    }

    /// One transaction under compares of everything it touches: it takes effect as a whole, on just this state, or not.
    /// - Throws: why nothing can be restored.
    public func plan(
        for snapshot: StoreSnapshot, replacing: Bool, id: TransactionID
    ) throws(Problem) -> Plan {
        let leader = snapshot[ClusterKey.leader].map { String(decoding: $0.value, as: UTF8.self) }
        if let mine = entries[ClusterKey.initialize], let there = snapshot[ClusterKey.initialize], there.value != mine {
            throw Problem(
                "the store holds another cluster at \(root): its system identifier is "
                    + "\(String(decoding: there.value.prefix(40), as: UTF8.self)), the backup's "
                    + "\(String(decoding: mine.prefix(40), as: UTF8.self))")
        }
        if replacing, let leader {
            throw Problem(
                "\(leader) leads: what its cluster has written is newer than any backup; without --replace only what "
                    + "is missing is restored")
        }
        var plan = Plan(transaction: StoreTransaction(id: id, compares: [], writes: []))
        for (key, value) in entries.sorted(by: { $0.key < $1.key }) where key != ClusterKey.era {
            if key == ClusterKey.sync {
                plan.kept.append((key, "never restored: who is in step now is not known from a backup"))
            } else if let there = snapshot[key] {
                if there.value == value {
                    plan.kept.append((key, "the same already"))
                } else if replacing, there.owner == nil {
                    plan.transaction.compares.append(.version(key, there.version))
                    plan.transaction.writes.append(.put(key, value, .permanent))
                    plan.replaced.append(key)
                } else {
                    plan.kept.append((key, "the store has one; --replace would overwrite it"))
                }
            } else {
                plan.transaction.writes.append(.create(key, value, .permanent))
                plan.created.append(key)
            }
        }
        if plan.isEmpty { return plan }
        // A living leader's number is of this store and goes on; otherwise the store's numbers may begin anew.
        if leader == nil {
            plan.transaction.compares.append(.absent(ClusterKey.leader))
            let there = snapshot[ClusterKey.era]
            let before = max(ClusterCodec.storedEra(in: snapshot) ?? 0, savedEra)
            guard before < .max else { throw Problem("the era is at its end") }
            let text = Array(String(before + 1).utf8)
            plan.era = before + 1
            if let there {
                plan.transaction.compares.append(.version(ClusterKey.era, there.version))
                plan.transaction.writes.append(.put(ClusterKey.era, text, .permanent))
            } else {
                plan.transaction.writes.append(.create(ClusterKey.era, text, .permanent))
            }
        }
        return plan
    }

    private var savedEra: UInt32 {
        entries[ClusterKey.era].flatMap { UInt32(String(decoding: $0, as: UTF8.self)) } ?? 0
    }
}
