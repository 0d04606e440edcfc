import ClusterModel
import HighAvailability

/// What clients were told is safe: by making of a timeline, how far.
struct AcknowledgedWrites {
    /// The highest position acknowledged on each branch, when, and whether others had it by then.
    var highest: [Int: (lsn: LSN, at: Instant, isSynchronous: Bool)] = [:]
    var count = 0
    var lostBytes: UInt64 = 0
}

/// What must hold at every step.
extension SimulatedCluster {
    /// Invariants 2 and 3 of the safety rules: one writer, and only with the lease.
    func check() {
        var writers = 0
        var excused = 0
        var first: SimulatedMember?
        for member in all where member.canAcknowledge {
            if member.isExcused {
                excused += 1
                continue
            }
            if member.isUnfenced { continue }
            writers += 1
            if first == nil { first = member }
            if writers > 1 {
                complain("\(first?.name ?? "") and \(member.name) can both acknowledge")
            } else if !isStoreStopped, !stoppedStores.contains(ruling), !store.wasLeaderDeleted,
                store.leader?.value.name != member.name, now >= member.backedUntil
            {
                complain("\(member.name) can acknowledge and \(store.leader?.value.name ?? "nobody") holds the lease")
            }
        }
        if writers > 0, excused > 0 { residualDoubles += 1 }
    }

    /// Section 3: whoever held the lease that just expired is silent, and nothing would let it write any longer.
    func judgeExpiry(_ name: String, _ fence: Fence) {
        guard let member = member(name), !member.isExcused, !member.isUnfenced else { return }
        if let deadlines = member.guardian.deadlines, member.guardian.term == fence,
            member.global(deadlines.end) > max(now, member.backedUntil), member.guardian.posture != .paused
        {
            complain(
                "\(name): the deadline of \(fence) outlives the store's expiry by "
                    + "\((member.global(deadlines.end) - now).milliseconds) ms")
        }
    }

    /// Whatever a deadline was reckoned from, the store has promised at least as much.
    func judgeDeadline(_ member: SimulatedMember, _ fence: Fence, _ deadlines: LeaseDeadlines) {
        let end = member.global(deadlines.end)
        if judgeGrants(member, deadlines) { return }
        guard let id = member.sessions[ruling], let session = store.sessions[id], store.leader?.value.session == id
        else {
            return
        }
        if end > session.promised, end > member.backedUntil {
            complain(
                "\(member.name): the deadline of \(fence) outlives the store's promise by "
                    + "\((end - session.promised).milliseconds) ms")
        }
    }

    /// A new branch begins: what was acknowledged and is not on it is lost. Asynchronous: no more than configured.
    func judgePromotion(_ member: SimulatedMember) {
        let postgres = member.postgres
        func covered(_ branch: Int) -> LSN {
            if postgres.branch.number == branch { return postgres.lsn }
            return postgres.past.last { $0.branch.number == branch }?.end ?? .zero
        }
        for (branch, write) in clients.highest.sorted(by: { $0.key < $1.key }) {
            let end = covered(branch)
            guard write.lsn > end else { continue }
            let lost = write.lsn.bytes(aheadOf: end)
            // Who leads by an operator's word and is not one of the pair acknowledges alone.
            if !postgres.synchronousNames.isEmpty, write.isSynchronous {
                complain("\(member.name): \(lost) acknowledged bytes of branch \(branch) are lost in synchronous mode")
            }
            if let confirmed, confirmed.name == member.name, confirmed.branch.number == branch, end < confirmed.end {
                complain("\(member.name): \(lost) acknowledged bytes are lost by a confirmed hand-over")
            }
            clients.lostBytes += lost
            clients.highest[branch] = end == .zero ? nil : (end, write.at, write.isSynchronous)
        }
        confirmed = nil
        // What is acknowledged is on those whom `/sync` names; that another one has it as well was luck.
        if let sync = store.sync?.value, !sync.admits(member.name) {
            complain("\(member.name): promoted, and /sync does not name it")
        }
        if let bound = member.boundAtAcquisition, postgres.lsn < bound {
            complain(
                "\(member.name): promoted at \(postgres.lsn), \(bound.bytes(aheadOf: postgres.lsn)) bytes beyond the "
                    + "configured loss")
        }
        tally["promotions", default: 0] += 1
    }

    /// A client on each member writes; what is acknowledged is remembered.
    func clientsWrite(_ bytes: UInt64) {
        for member in all where member.canAcknowledge && !member.postgres.isDiskFull {
            let postgres = member.postgres
            member.postgres.lsn = LSN(postgres.lsn.bytes + bytes)
            replicate()
            guard !member.isExcused, !member.isUnfenced || !postgres.synchronousNames.isEmpty else { continue }
            let wanted = postgres.synchronousNames.subtracting([member.name])
            if !wanted.isEmpty {
                // Each of them has it on disk and streams from here.
                let isSafe = wanted.allSatisfy { name in
                    guard let standby = self.member(name), !standby.isHostDown, standby.postgres.isStreaming else {
                        return false
                    }
                    return standby.postgres.branch == member.postgres.branch
                        && standby.postgres.lsn >= member.postgres.lsn
                }
                if !isSafe { continue }
            }
            clients.highest[member.postgres.branch.number] = (member.postgres.lsn, now, !wanted.isEmpty)
            clients.count += 1
        }
    }

    // MARK: - What must hold in the end

    package var primary: String? { all.first { $0.postgres.isWritable && !$0.isHostDown }?.name }
    package var leader: String? { store.leader?.value.name }

    /// Led, and every living member streams from the leader's line.
    func isHealthy(_ living: [SimulatedMember]) -> Bool {
        guard let leader = store.leader?.value.name, let primary = member(leader), primary.canAcknowledge,
            primary.machine?.world.term != nil
        else { return false }
        for member in living {
            guard member.machine != nil, member.home == ruling, store.members[member.name] != nil else { return false }
            if member === primary { continue }
            guard member.postgres.isStreaming, member.postgres.branch == primary.postgres.branch else { return false }
        }
        return true
    }

    /// What the leader keeps in the store is kept up: its position, and no request that nobody carries out.
    func judgeRecords(_ position: LSN) {
        // Less than a kilobyte is not worth a write.
        if position.bytes(aheadOf: store.status?.value.optime ?? .zero) >= 1024 {
            complain("the position in the store is older than two rounds of the loop")
        }
        if let request = store.failover?.value, request.scheduledAt == nil {
            complain("a request is left in the store: \(request)")
        }
    }

    /// Outside of a pause nobody's fence stays suspended, unless he cannot know that the pause is over.
    func judgeFences(_ living: [SimulatedMember]) {
        guard store.configuration?.value["pause"]?.bool != true else { return }
        for member in living where member.machine != nil && member.postgres.run != nil && member.isUnfenced {
            complain("\(member.name): unfenced, and nothing is paused")
        }
    }

    /// The history in the store is that of the primary's own line.
    func judgeHistory() {
        guard let primary, let member = member(primary) else { return }
        let wanted = member.postgres.past.map { ($0.branch.timeline, $0.end) }
        let rows = store.history?.value.rows ?? []
        let limit = member.settings.maxTimelinesHistory
        let expected = limit > 0 ? Array(wanted.suffix(limit)) : wanted
        let isSame =
            rows.count == expected.count
            && zip(rows, expected).allSatisfy { $0.timeline == $1.0 && $0.switchLSN == $1.1 }
        if !isSame {
            complain(
                "the history is not the primary's: \(rows.map { "\($0.timeline)@\($0.switchLSN)" }), its own "
                    + "\(expected.map { "\($0.0)@\($0.1)" })")
        }
        if let last = rows.last, last.newLeader == nil { complain("the history does not name the last leader") }
        if let current = member.postgres.past.isEmpty ? nil : member.postgres.branch.timeline,
            store.promotions?.value.records[current]?.isMade != true
        {
            complain("the timeline \(current) is not recorded as made")
        }
    }

    /// Every request that an operator made of a living agent has an answer.
    func judgeAnswers() {
        for (id, request) in open.sorted(by: { $0.key.number < $1.key.number }) {
            guard let member = member(request.member), member.instance == request.instance else { continue }
            let asked = (request.at - SimulatedCluster.origin).milliseconds
            complain("\(request.member): the request of \(asked) ms has no answer")
            open[id] = nil
        }
    }
}
