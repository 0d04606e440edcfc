/// The pending switchover or failover request: `failover`.
public struct FailoverRequest: Hashable, Sendable {
    /// Present for a switchover, which is valid only while that member leads.
    public var leader: String?
    /// Stored as `member`.
    public var candidate: String?
    public var scheduledAt: WallTime?
    /// The text as stored, to keep what another program wrote.
    public var scheduledText: String?

    public init(leader: String? = nil, candidate: String? = nil, scheduledAt: WallTime? = nil) {
        self.leader = leader
        self.candidate = candidate
        self.scheduledAt = scheduledAt
        // Without a fraction when there is none, as other programs of the cluster write it.
        self.scheduledText = scheduledAt.map { $0.iso8601(fractionDigits: $0.microseconds % 1_000_000 == 0 ? 0 : 6) }
    }

    public var isEmpty: Bool { leader == nil && candidate == nil }
    public var isSwitchover: Bool { leader != nil }

    public func storedValue() -> JSONValue {
        var object = JSONObject()
        if let leader { object["leader"] = .string(leader) }
        if let candidate { object["member"] = .string(candidate) }
        if let scheduledText { object["scheduled_at"] = .string(scheduledText) }
        return .object(object)
    }

    /// Reads the stored value; nil when idle. A request that cannot be read is no request, and a problem.
    public static func read(_ value: [UInt8]) -> (request: FailoverRequest?, problem: String?) {
        let text = String(decoding: value, as: UTF8.self)
        guard let parsed = try? JSONValue.parse(value), let object = parsed.object else {
            let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
            if parts.count == 2, !text.contains("{"), !text.contains("\"") {
                let request = FailoverRequest(
                    leader: parts[0].isEmpty ? nil : parts[0], candidate: parts[1].isEmpty ? nil : parts[1])
                return (request.isEmpty ? nil : request, nil)
            }
            return (nil, text.isEmpty ? nil : "failover: neither a JSON object nor leader:member")
        }
        var request = FailoverRequest(
            leader: object["leader"]?.string.flatMap { $0.isEmpty ? nil : $0 },
            candidate: object["member"]?.string.flatMap { $0.isEmpty ? nil : $0 })
        if request.isEmpty { return (nil, nil) }
        if let text = object["scheduled_at"]?.string, !text.isEmpty {
            guard let (time, _) = WallTime.parse(text) else {
                return (nil, "failover: scheduled_at: '\(text)' is no ISO 8601 time; the request is not carried out")
            }
            request.scheduledAt = time
            request.scheduledText = text
        }
        return (request, nil)
    }
}

/// Positions that the leader publishes: `status`.
public struct ClusterStatus: Hashable, Sendable {
    public var optime: LSN?
    public var slots: [String: LSN]
    public var retainSlots: [String]

    public init(optime: LSN? = nil, slots: [String: LSN] = [:], retainSlots: [String] = []) {
        self.optime = optime
        self.slots = slots
        self.retainSlots = retainSlots
    }

    public func storedValue() -> JSONValue {
        var object = JSONObject()
        if let optime { object["optime"] = .integer(Int64(clamping: optime.bytes)) }
        if !slots.isEmpty {
            object["slots"] = .object(
                JSONObject(slots.sorted { $0.key < $1.key }.map { ($0.key, .integer(Int64(clamping: $0.value.bytes))) })
            )
        }
        if !retainSlots.isEmpty { object["retain_slots"] = .array(retainSlots.sorted().map(JSONValue.string)) }
        return .object(object)
    }

    /// Reads the object, the plain number of old members, and objects put as texts.
    public static func read(_ value: [UInt8]) -> (status: ClusterStatus?, problem: String?) {
        func unwrapped(_ value: JSONValue?) -> JSONValue? {
            if let text = value?.string { return try? JSONValue.parse(text) }
            return value
        }
        guard let parsed = try? JSONValue.parse(value) else { return (nil, "status: no JSON") }
        if let number = parsed.lenientInteger, number >= 0 {
            return (ClusterStatus(optime: LSN(UInt64(number))), nil)
        }
        guard let object = parsed.object else { return (nil, "status: neither an object nor a position") }
        var status = ClusterStatus()
        if let number = object["optime"]?.lenientInteger, number >= 0 { status.optime = LSN(UInt64(number)) }
        for (name, value) in unwrapped(object["slots"])?.object?.members ?? [] {
            if let number = value.lenientInteger, number >= 0 { status.slots[name] = LSN(UInt64(number)) }
        }
        status.retainSlots = unwrapped(object["retain_slots"])?.array?.compactMap(\.string) ?? []
        return (status, nil)
    }
}

/// The synchronous state: `sync`. Kept and respected; the synchronous modes themselves come later.
public struct SyncState: Hashable, Sendable {
    public var leader: String?
    public var quorum: Int
    public var standbys: [String]

    public init(leader: String? = nil, quorum: Int = 0, standbys: [String] = []) {
        self.leader = leader
        self.quorum = quorum
        self.standbys = standbys
    }

    public var isEmpty: Bool { leader == nil }

    /// Whether a member may be elected under this state; names compare without case, as PostgreSQL does.
    public func admits(_ name: String) -> Bool {
        guard let leader else { return true }
        let wanted = name.lowercased()
        return leader.lowercased() == wanted || standbys.contains { $0.lowercased() == wanted }
    }

    /// All three members, standbys sorted; an empty object for the empty state.
    public func storedValue() -> JSONValue {
        guard let leader else { return [:] }
        return [
            "leader": .string(leader), "quorum": .integer(Int64(quorum)),
            "sync_standby": standbys.isEmpty ? .null : .string(standbys.sorted().joined(separator: ",")),
        ]
    }

    /// Reads the stored value. A state without a leader is empty, whatever else it says.
    public static func read(_ value: [UInt8]) -> (state: SyncState, problem: String?) {
        guard let object = (try? JSONValue.parse(value))?.object else {
            return (SyncState(), value.isEmpty ? nil : "sync: no JSON object")
        }
        let names = object["sync_standby"]?.string ?? ""
        return (
            SyncState(
                leader: object["leader"]?.string.flatMap { $0.isEmpty ? nil : $0 },
                quorum: Int(clamping: max(0, object["quorum"]?.lenientInteger ?? 0)),
                standbys: names.split(separator: ",").map(trimmed).filter { !$0.isEmpty }), nil
        )
    }
}

private func trimmed(_ text: Substring) -> String {
    var text = text
    while text.first?.isWhitespace == true { text.removeFirst() }
    while text.last?.isWhitespace == true { text.removeLast() }
    return String(text)
}

/// Where each timeline ended and who led the next: `history`.
public struct TimelineHistory: Hashable, Sendable {
    public struct Row: Hashable, Sendable {
        /// The timeline that ended.
        public var timeline: Timeline
        /// Where it ended.
        public var switchLSN: LSN
        public var reason: String
        public var timestamp: String?
        /// Who led the timeline that followed.
        public var newLeader: String?
        public init(
            timeline: Timeline, switchLSN: LSN, reason: String, timestamp: String? = nil, newLeader: String? = nil
        ) {
            self.timeline = timeline
            self.switchLSN = switchLSN
            self.reason = reason
            self.timestamp = timestamp
            self.newLeader = newLeader
        }
    }

    public var rows: [Row]
    /// The timeline whose history this is, where it is known: not always the one after the last that ended, for numbers
    /// that another promotion may have used are left out. Not stored.
    public var timeline: Timeline?

    public init(rows: [Row] = [], timeline: Timeline? = nil) {
        self.rows = rows
        self.timeline = timeline
    }

    /// The cluster's timeline: as far as the rows tell the one after the last that ended; 1 for an empty history.
    public var currentTimeline: Timeline { timeline ?? rows.last?.timeline.next ?? Timeline(1) }

    public func storedValue() -> JSONValue {
        .array(
            rows.map { row in
                var values: [JSONValue] = [
                    .integer(Int64(row.timeline.number)), .integer(Int64(clamping: row.switchLSN.bytes)),
                    .string(row.reason),
                ]
                if let timestamp = row.timestamp {
                    values.append(.string(timestamp))
                    if let leader = row.newLeader {
                        values.append(.string(leader))
                    }
                }
                return .array(values)
            })
    }

    public static func read(_ value: [UInt8]) -> (history: TimelineHistory?, problem: String?) {
        guard let parsed = try? JSONValue.parse(value), let rows = parsed.array else {
            return (nil, "history: no JSON array")
        }
        var history = TimelineHistory()
        var problem: String?
        for row in rows {
            guard let values = row.array, values.count >= 2, let timeline = values[0].lenientInteger,
                let lsn = values[1].lenientInteger, timeline > 0, timeline < Int64(UInt32.max), lsn >= 0
            else {
                problem = "history: a row is left out: \(row.serialized())"
                continue
            }
            history.rows.append(
                Row(
                    timeline: Timeline(UInt32(timeline)), switchLSN: LSN(UInt64(lsn)),
                    reason: values.count > 2 ? values[2].string ?? "" : "",
                    timestamp: values.count > 3 ? values[3].string : nil,
                    newLeader: values.count > 4 ? values[4].string : nil))
        }
        return (history, problem)
    }
}

/// Who was about to make which timeline, in which term: `promotions`, a key of ours that others ignore.
///
/// Written before a promotion begins, so that a timeline made twice (a promotion that failed half way, and a second one
/// elsewhere under the same number) can be told apart even when both ended at the same position.
public struct PromotionRecords: Hashable, Sendable {
    public struct Record: Hashable, Sendable {
        public var leader: String
        public var fence: Fence
        /// Whether the timeline is known to exist and to be the cluster's: the leader has recorded its history.
        public var isMade: Bool

        public init(leader: String, fence: Fence, isMade: Bool = false) {
            self.leader = leader
            self.fence = fence
            self.isMade = isMade
        }
    }

    /// The number that the next promotion from a timeline is to make: above every one that anybody meant to make, so that
    /// no number is made twice even if nothing is known of what became of a promotion.
    public func next(after timeline: Timeline) -> Timeline {
        max(timeline, records.keys.max() ?? timeline).next
    }

    /// By the number of the timeline made.
    public var records: [Timeline: Record]

    public init(records: [Timeline: Record] = [:]) {
        self.records = records
    }

    /// The newest records that are kept.
    public static let limit = 64

    public func storedValue() -> JSONValue {
        .object(
            JSONObject(
                records.sorted { $0.key < $1.key }.suffix(Self.limit).map { timeline, record in
                    (
                        timeline.description,
                        .object(
                            JSONObject(
                                [
                                    ("leader", .string(record.leader)), ("fence", .string(record.fence.description)),
                                ] + (record.isMade ? [("made", .bool(true))] : [])))
                    )
                }))
    }

    public static func read(_ value: [UInt8]) -> (records: PromotionRecords, problem: String?) {
        guard let object = (try? JSONValue.parse(value))?.object else {
            return (PromotionRecords(), value.isEmpty ? nil : "promotions: no JSON object")
        }
        var result = PromotionRecords()
        for (key, value) in object.members {
            guard let number = UInt32(key), let leader = value["leader"]?.string,
                let fence = value["fence"]?.string.flatMap({ Fence($0) })
            else { continue }
            result.records[Timeline(number)] = Record(
                leader: leader, fence: fence, isMade: value["made"]?.bool == true)
        }
        return (result, nil)
    }
}
