import ClusterModel
import HighAvailability
import PluginInterfaces

extension RequestHandler {
    /// `POST /failsafe`: 200 with exactly `Accepted`, or why not.
    func failsafe(_ body: JSONObject) async -> RESTAnswer {
        guard let request = Self.grantRequest(body) else {
            return .errorPage(400, "The body names no leader: name is missing")
        }
        let answer = await withDeadline(patience.grant) { [control] in await control.grant(request) }
        switch answer {
        case .granted(let lasts, let position)?:
            var granted = RESTAnswer.text("Accepted")
            if let position { granted.headers.append(("lsn", String(position.bytes))) }
            if let lasts { granted.headers.append(("matriarch-granted-ms", String(lasts.milliseconds))) }
            return granted
        case .refused(let why)?: return .text(why, status: 500)
        case .off?: return .errorPage(502, "failsafe_mode is not enabled")
        case .silent(let why)?: return .text(why, status: 503)
        case nil: return .text("The grant could not be given in time", status: 503)
        }
    }

    /// Reads the body, Patroni's or ours; nil when it does not say who asks.
    static func grantRequest(_ body: JSONObject) -> GrantRequest? {
        guard let name = body["name"]?.string, !name.isEmpty else { return nil }
        var request = GrantRequest(name: name)
        request.connURL = body["conn_url"]?.string ?? ""
        request.apiURL = body["api_url"]?.string ?? ""
        for (slot, position) in body["slots"]?.object?.members ?? [] {
            if let bytes = position.lenientInteger, bytes >= 0 { request.slots[slot] = LSN(UInt64(bytes)) }
        }
        if let own = body[Member.ownField]?.object {
            request.lasts = own["lease_ms"]?.integer.flatMap { $0 >= 0 ? .milliseconds($0) : nil }
            request.fence = own["term"]?.string.flatMap { Fence($0) }
            request.round = own["round"]?.string.flatMap { UInt64($0) } ?? 0
            request.instance = own["instance"]?.string.flatMap { UInt64($0) } ?? 0
        }
        return request
    }
}
