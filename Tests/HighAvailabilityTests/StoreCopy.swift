import Simulation

extension SimulatedCluster {
    /// The store as it is now, for comparisons with nil in `#expect`: those read an optional of `store`, which is lent by a
    /// coroutine, after it has been given back (the address sanitizer's word, Swift 6.3).
    var storeCopy: ModelStore {
        let copy = store
        return copy
    }
}
