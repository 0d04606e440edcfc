/// A member's tags: free-form, order and types kept, with the reserved ones read as the contract says.
public struct Tags: Hashable, Sendable {
    public var values: JSONObject

    public init(_ values: JSONObject = JSONObject()) {
        self.values = values
    }

    /// What is put into the store: the five switches are dropped when they are off, unless their numeric twin is there.
    public var published: JSONObject {
        var result = values
        for name in ["clonefrom", "nofailover", "noloadbalance", "nosync", "nostream"] {
            guard let value = result[name], !Self.isTruthy(value) else { continue }
            if name == "nofailover", result["failover_priority"] != nil { continue }
            if name == "nosync", result["sync_priority"] != nil { continue }
            result[name] = nil
        }
        return result
    }

    /// May not become leader by itself: `nofailover` decides alone when it is present, else a priority of 0 or less.
    public var isNoFailover: Bool {
        if let value = values["nofailover"] { return Self.isTruthy(value) }
        return (values["failover_priority"]?.lenientInteger ?? 1) <= 0
    }

    /// Among candidates at the same position, the higher one goes first; 0 means never.
    public var failoverPriority: Int64 {
        isNoFailover ? 0 : max(values["failover_priority"]?.lenientInteger ?? 1, values["nofailover"] == nil ? 0 : 1)
    }

    public var isCloneSource: Bool { values["clonefrom"].map(Self.isTruthy) ?? false }
    public var isNoLoadBalance: Bool { values["noloadbalance"].map(Self.isTruthy) ?? false }
    public var isNoSync: Bool {
        if let value = values["nosync"] { return Self.isTruthy(value) }
        return (values["sync_priority"]?.lenientInteger ?? 1) <= 0
    }
    public var isNoStream: Bool { values["nostream"].map(Self.isTruthy) ?? false }

    /// The member to stream from instead of the leader.
    public var replicateFrom: String? {
        guard let name = values["replicatefrom"]?.string, !name.isEmpty else { return nil }
        return name
    }

    /// Truth as other agents see it: false, 0, an empty or a negative text are not.
    static func isTruthy(_ value: JSONValue) -> Bool {
        switch value {
        case .null: false
        case .bool(let value): value
        case .integer(let value): value != 0
        case .number(let value): value != 0
        case .string(let text): !["", "false", "off", "no", "0"].contains(text.lowercased())
        case .array(let values): !values.isEmpty
        case .object(let object): !object.isEmpty
        }
    }
}
