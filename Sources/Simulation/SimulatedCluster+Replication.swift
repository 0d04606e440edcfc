import ClusterModel
import HighAvailability

/// What standbys have.
extension SimulatedCluster {
    /// Standbys have what their upstream has, if it can be reached and is their future.
    func replicate() {
        // Twice: a standby of a standby has what that one has just got.
        for _ in 0..<2 {
            var moved = false
            for member in all {
                guard let run = member.postgres.run, !run.isPrimary, run.isReady else { continue }
                if member.isServerFrozen || member.isHostPaused { continue }
                moved = stream(member, run.upstream) || moved
            }
            if !moved { return }
        }
    }

    private func stream(_ node: SimulatedMember, _ upstream: String?) -> Bool {
        guard let upstream, let source = member(upstream), source.postgres.run?.isReady == true,
            reachable(node, source), !source.isServerFrozen, node.postgres.isPast(of: source.postgres),
            node.postgres.identifier == source.postgres.identifier, keepsWAL(source, for: node)
        else {
            node.postgres.isStreaming = false
            return false
        }
        if node.postgres.isTwin(of: source.postgres) {
            complain("\(node.name) streams from a twin of its timeline")
        }
        node.postgres.isStreaming = true
        if node.postgres.isReplicationHeld { return false }
        if node.postgres.lsn == source.postgres.lsn, node.postgres.branch == source.postgres.branch { return false }
        node.postgres.lsn = source.postgres.lsn
        node.postgres.branch = source.postgres.branch
        node.postgres.past = source.postgres.past
        node.postgres.controlTimeline = source.postgres.controlTimeline
        node.postgres.checkpoint = source.postgres.checkpoint
        if source.postgres.slots[node.name] != nil { source.postgres.slots[node.name] = node.postgres.lsn }
        return true
    }

    /// Whether the source still has the WAL that this standby needs next: by its own limit, or by a slot.
    private func keepsWAL(_ source: SimulatedMember, for node: SimulatedMember) -> Bool {
        guard let kept = source.postgres.walKept else { return true }
        if source.postgres.slots[node.name] != nil { return true }
        return source.postgres.lsn.bytes(aheadOf: node.postgres.lsn) <= kept
    }

    /// Nothing of this PostgreSQL is left.
    func silent(_ node: SimulatedMember, exit: String?) {
        node.isServerFrozen = false
        node.guardian.posture = .replica
        node.guardian.isEnforced = false
        node.guardian.hasPromoted = false
        node.guardian.graceUntil = nil
        // Only the guard tells; one that stands still tells when it runs again.
        tellSilence(node, exit)
    }

    private func tellSilence(_ node: SimulatedMember, _ exit: String?) {
        if node.isGuardFrozen {
            after(.milliseconds(50)) { [unowned self, unowned node] in
                guard node.postgres.run == nil else { return }
                self.tellSilence(node, exit)
            }
            return
        }
        deliverInOrder(node, .guardSilent, after: .milliseconds(5))
        deliverInOrder(node, .server(.down(node.postgres.data, exit: exit)), after: .milliseconds(5))
    }
}
