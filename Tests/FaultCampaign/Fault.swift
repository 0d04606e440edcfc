import ClusterHarness

/// A fault of the catalogue: what is done to a healthy cluster, and what is promised about it.
struct Fault: Sendable {
    enum Group: String, CaseIterable, Sendable {
        case planned = "planned moves"
        case kill = "processes killed"
        case freeze = "processes stopped"
        case ensemble = "the store's servers"
        case outage = "the store lost"
        case network = "the network"
        case host = "whole hosts"
        case disk = "full disks"
        case archive = "a hanging archive"
        case recovery = "long crash recovery"
        case residual = "measured, not promised"
    }

    /// What the machine must allow.
    enum Need: String, Sendable {
        case networks = "network namespaces"
        case disks = "mounting a small disk"
        case storeServers = "a store with servers of its own"
    }

    /// The cluster that it is done to.
    enum Setting: String, CaseIterable, Sendable {
        case usual, smallDisk, archive, bigLog
        /// `failsafe_mode` is on, and each member has its own ways to the store.
        case failsafe
        /// The ways alone.
        case links
    }

    /// What becomes of writes that were acknowledged, where the leadership moves.
    enum Promise: Sendable {
        /// One writer at every instant; asynchronous replication may lose the last writes.
        case oneWriter
        /// One writer, and every acknowledged write is kept.
        case keepsAll
        /// Nothing: one of the residual risks. What happens is told.
        case nothing
    }

    var name: String
    var title: String
    var group: Group
    var needs: [Need] = []
    var setting = Setting.usual
    var promise = Promise.oneWriter
    /// Whether the short list has it.
    var isShort = false
    /// How long the cluster may take to be whole again after the fault, in seconds.
    var patience = 120.0
    var act: @Sendable (FaultRun) throws -> Void
}
