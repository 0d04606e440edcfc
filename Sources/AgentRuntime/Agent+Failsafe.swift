import ClusterModel
import HighAvailability
import PeerClient

extension Agent {
    /// Asks each of these at once. Nobody waits for what a withdrawal is answered.
    func requestGrants(_ id: EffectID, _ addresses: [PeerAddress], _ request: GrantRequest, within limit: Duration) {
        let peers = self.peers
        let yield = self.yield
        let isWithdrawal = request.lasts == .zero
        let body = FailsafeExchange.body(of: request)
        for address in addresses {
            Task {
                let answer: GrantAnswer
                switch await peers.postFailsafe(body, to: address.apiURL, within: limit) {
                case .success(let reply): answer = FailsafeExchange.answer(reply)
                case .failure(let error): answer = .silent(error.description)
                }
                if !isWithdrawal { yield(.grantAnswered(id, address.name, answer)) }
            }
        }
    }
}

/// The failsafe exchange as Patroni speaks it, with a field and a header of ours beside it that others do not read.
enum FailsafeExchange {
    static func body(of request: GrantRequest) -> JSONValue {
        let slots = request.slots.sorted { $0.key < $1.key }.map { slot in
            (slot.key, JSONValue.integer(Int64(clamping: slot.value.bytes)))
        }
        var own: JSONObject = [
            "round": .string(String(request.round)), "instance": .string(String(request.instance)),
        ]
        if let lasts = request.lasts { own["lease_ms"] = .integer(lasts.milliseconds) }
        if let fence = request.fence { own["term"] = .string(fence.description) }
        return .object([
            "name": .string(request.name), "conn_url": .string(request.connURL), "api_url": .string(request.apiURL),
            "slots": .object(JSONObject(slots)), Member.ownField: .object(own),
        ])
    }

    /// Only 200 with exactly this body is a grant.
    static func answer(_ reply: FailsafeReply) -> GrantAnswer {
        if reply.status == 200, reply.body == "Accepted" { return .granted(reply.lasts, position: reply.position) }
        if reply.status == 502 { return .off }
        return .refused("\(reply.status) \(reply.body.prefix(200))")
    }
}
