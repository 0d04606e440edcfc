#if ZooKeeper
    import CZooKeeper
    import Glibc

    /// The access list in the library's form.
    ///
    /// Sound as `Sendable`: written in `init` alone, and freed with the last reference.
    final class AccessListMemory: @unchecked Sendable {
        let vector: UnsafeMutablePointer<ACL_vector>
        private let rules: UnsafeMutablePointer<ACL>
        private var texts: [UnsafeMutablePointer<CChar>] = []

        init(_ list: [AccessRule]) {
            rules = .allocate(capacity: max(1, list.count))
            vector = .allocate(capacity: 1)
            for (index, rule) in list.enumerated() {
                let scheme = strdup(rule.scheme)
                let identity = strdup(rule.identity)
                texts += [scheme, identity].compactMap { $0 }
                (rules + index).initialize(
                    to: ACL(perms: rule.permissions.rawValue, id: Id(scheme: scheme, id: identity)))
            }
            vector.initialize(to: ACL_vector(count: Int32(list.count), data: rules))
        }

        deinit {
            vector.deallocate()
            rules.deallocate()
            for text in texts { free(text) }
        }
    }
#endif
