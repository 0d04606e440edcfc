import ClusterModel
import HighAvailability

/// Why a request's body is not acted upon: the code and what the caller reads.
struct BodyRefusal: Error, Hashable {
    var code: Int
    var text: String
}

/// Reads the bodies of operators' requests. What only needs the body (and whether the cluster is paused) is decided
/// here; what needs the cluster is the state machine's.
enum OperatorBodies {
    /// `POST /switchover` and `POST /failover`. A failover that names a leader is a switchover.
    static func handOver(
        _ body: JSONObject, isFailover: Bool, isPaused: Bool, now: WallTime
    ) throws(BodyRefusal) -> OperatorRequest {
        let leader = try name("leader", in: body)
        var candidate = try name("candidate", in: body)
        if candidate == nil { candidate = try name("member", in: body) }
        if isFailover, candidate == nil {
            throw BodyRefusal(code: 400, text: "A failover needs the name of a candidate")
        }
        if !isFailover, leader == nil {
            throw BodyRefusal(code: 400, text: "A switchover needs the name of the present leader")
        }
        var scheduledAt: WallTime?
        if let value = body["scheduled_at"], !value.isNull, value.string != "" {
            if isFailover { throw BodyRefusal(code: 400, text: "A failover cannot be scheduled") }
            if isPaused {
                throw BodyRefusal(code: 400, text: "No switchover can be scheduled while the cluster is paused")
            }
            scheduledAt = try schedule(value, now: now)
        }
        if isPaused, candidate == nil {
            throw BodyRefusal(code: 400, text: "While the cluster is paused a switchover needs the name of a candidate")
        }
        if let leader, leader == candidate {
            throw BodyRefusal(code: 400, text: "Leader and candidate are the same member")
        }
        if let leader { return .switchover(leader: leader, candidate: candidate, scheduledAt: scheduledAt) }
        return .failover(candidate: candidate)
    }

    /// `POST /restart`.
    static func restart(_ body: JSONObject, isPaused: Bool, now: WallTime) throws(BodyRefusal) -> OperatorRequest {
        var request = RestartRequest()
        for (key, value) in body.members {
            switch key {
            case "schedule":
                if value.isNull { continue }
                if isPaused {
                    throw BodyRefusal(code: 500, text: "No restart can be scheduled while the cluster is paused")
                }
                request.scheduledAt = try schedule(value, now: now)
            case "role":
                guard let word = value.string, let role = MemberRole(stored: word),
                    [.primary, .standbyLeader, .replica].contains(role)
                else { throw BodyRefusal(code: 400, text: "role: expected primary, standby_leader or replica") }
                request.role = role
            case "postgres_version":
                guard let text = value.string, isVersion(text) else {
                    throw BodyRefusal(code: 400, text: "postgres_version: expected a version such as 15.4")
                }
                request.postgresVersion = text
            case "timeout":
                guard let timeout = duration(value), timeout > .zero else {
                    throw BodyRefusal(code: 400, text: "timeout: expected a time above zero, such as 30 or 5min")
                }
                request.timeout = timeout
            case "restart_pending":
                request.onlyPending = true
            default:
                throw BodyRefusal(code: 400, text: "Unknown key: \(key)")
            }
        }
        return .restart(request)
    }

    /// `POST /reinitialize`.
    static func reinitialize(_ body: JSONObject) -> OperatorRequest {
        .reinitialize(force: isOn(body["force"]), fromLeader: isOn(body["from_leader"]))
    }

    /// An instant of ISO 8601, which has to name its zone and lie ahead.
    static func schedule(_ value: JSONValue, now: WallTime) throws(BodyRefusal) -> WallTime {
        guard let text = value.string else {
            throw BodyRefusal(code: 422, text: "The time has to be a text such as 2026-01-31T10:00+00:00")
        }
        var normal = text
        for zone in [" UTC", " GMT", "UTC", "GMT"] where normal.hasSuffix(zone) {
            normal = String(normal.dropLast(zone.count)) + "Z"
            break
        }
        guard let (time, hasZone) = WallTime.parse(normal) else {
            throw BodyRefusal(
                code: 422, text: "'\(text.prefix(80))' is no time; expected one such as 2026-01-31T10:00+00:00")
        }
        guard hasZone else {
            throw BodyRefusal(code: 400, text: "The time has to name its zone, as in 2026-01-31T10:00+00:00")
        }
        guard time > now else { throw BodyRefusal(code: 422, text: "The time lies in the past") }
        return time
    }

    /// Seconds as a number, or a number with its unit.
    static func duration(_ value: JSONValue) -> Duration? {
        switch value {
        case .integer(let seconds): return seconds < 1_000_000_000 ? .seconds(seconds) : nil
        case .number(let seconds): return seconds.isFinite && abs(seconds) < 1e9 ? .seconds(seconds) : nil
        case .string(let text):
            let trimmed = text.filter { $0 != " " }
            let digits = trimmed.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
            let units: [Substring: Double] = [
                "": 1, "us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86_400,
            ]
            guard let number = Double(digits), let unit = units[trimmed.dropFirst(digits.count)] else { return nil }
            let seconds = number * unit
            return seconds.isFinite && seconds < 1e9 ? .seconds(seconds) : nil
        default: return nil
        }
    }

    private static func name(_ key: String, in body: JSONObject) throws(BodyRefusal) -> String? {
        switch body[key] {
        case nil, .null?: return nil
        case .string(let text)?: return text.isEmpty ? nil : text
        default: throw BodyRefusal(code: 400, text: "\(key): expected a member's name")
        }
    }

    private static func isVersion(_ text: String) -> Bool {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        return (2...3).contains(parts.count)
            && parts.allSatisfy { !$0.isEmpty && $0.utf8.count <= 2 && $0.utf8.allSatisfy { (48...57).contains($0) } }
    }

    private static func isOn(_ value: JSONValue?) -> Bool {
        switch value {
        case .bool(let value)?: value
        case .integer(let value)?: value != 0
        case .string(let text)?: ["true", "on", "yes", "1"].contains(text.lowercased())
        default: false
        }
    }
}
