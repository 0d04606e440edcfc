/// The key `migration`: whether this store rules, is being left, has been left, or is being made ready.
///
/// A cluster that moves from one store to another has one in each. That of the old store decides: the cut-over is its change
/// from `leaving` to `moved`, in one transaction that compares the leader entry and the key's version. Ours; other programs
/// ignore it.
public struct MigrationMark: Hashable, Sendable {
    public enum State: String, Hashable, Sendable {
        /// In the old store: the leader copies. The old store rules.
        case leaving
        /// In the old store, for ever: the new store rules, nobody takes the lead here.
        case moved
        /// In the new store: a copy that may still be taken back. Nobody takes the lead here but who knows that the old
        /// store has been left.
        case arriving
        /// In the new store: it rules.
        case here
        /// None that this version knows: nobody takes the lead here.
        case unreadable
    }

    /// Names one migration.
    public var id: String
    public var state: State
    /// Who writes it.
    public var member: String
    /// The era that begins with it.
    public var era: UInt32
    /// The other store's section of the configuration, for people.
    public var store: String?

    public init(id: String, state: State, member: String, era: UInt32, store: String? = nil) {
        self.id = id
        self.state = state
        self.member = member
        self.era = era
        self.store = store
    }

    public func storedValue() -> JSONValue {
        var object: JSONObject = [
            "id": .string(id), "state": .string(state.rawValue), "member": .string(member), "era": .integer(Int64(era)),
        ]
        if let store { object["store"] = .string(store) }
        return .object(object)
    }

    /// Reads a value; whatever cannot be understood is `unreadable`.
    public static func read(_ value: [UInt8]) -> (mark: MigrationMark, problem: String?) {
        let nothing = MigrationMark(id: "", state: .unreadable, member: "", era: 0)
        let object: JSONObject?
        do {
            object = try JSONValue.parse(value).object
        } catch {
            return (nothing, "migration: no JSON: \(error)")
        }
        guard let object, let id = object["id"]?.string, !id.isEmpty,
            let state = object["state"]?.string.flatMap(State.init)
        else { return (nothing, "migration: no state that is known") }
        let era = object["era"]?.integer.flatMap { UInt32(exactly: $0) } ?? 0
        return (
            MigrationMark(
                id: id, state: state, member: object["member"]?.string ?? "", era: era, store: object["store"]?.string),
            nil
        )
    }
}
