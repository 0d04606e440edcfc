#if Etcd
    import PluginInterfaces

    /// Where the cluster's keys are among etcd's.
    struct EtcdKeys: Hashable, Sendable {
        /// `/service/demo/`: every key begins with it.
        let root: [UInt8]

        init(root: String) {
            let parts = root.split(separator: "/")
            self.root = Array((parts.map { "/" + $0 }.joined() + "/").utf8)
        }

        var name: String { String(decoding: root, as: UTF8.self) }

        func bytes(_ key: StoreKey) -> [UInt8] { root + key.utf8 }

        func encoded(_ key: StoreKey) -> String { Base64.encode(bytes(key)) }

        /// The key of an entry below the root; nil for others, and for names that are no text.
        func key(_ bytes: [UInt8]) -> StoreKey? {
            guard bytes.count > root.count, bytes.starts(with: root) else { return nil }
            return String(validating: bytes[root.count...], as: UTF8.self)
        }

        var encodedRoot: String { Base64.encode(root) }
        /// The first key behind all of the cluster's.
        var encodedEnd: String { Base64.encode(Self.end(ofPrefix: root)) }

        /// The smallest key that is larger than every key with a prefix; `[0]`, which stands for no end, if there is none.
        static func end(ofPrefix prefix: [UInt8]) -> [UInt8] {
            var end = prefix
            while let last = end.last {
                if last < 0xFF {
                    end[end.count - 1] = last + 1
                    return end
                }
                end.removeLast()
            }
            return [0]
        }

        /// The entry that the lease is about.
        static let leader: StoreKey = "leader"
        /// Ours, beside Patroni's: see `SessionFence`. Never shown as entries.
        private static let fences = "sessions/"

        static func fence(_ lease: LeaseID) -> StoreKey { fences + lease.text }

        static func isFence(_ key: StoreKey) -> Bool { key.hasPrefix(fences) }
    }

    /// etcd's number of a lease; never 0, which stands for none.
    struct LeaseID: Hashable, Sendable {
        var number: Int64

        init?(_ number: Int64) {
            guard number != 0 else { return nil }
            self.number = number
        }

        /// As etcdctl shows it.
        var text: String { String(UInt64(bitPattern: number), radix: 16) }

        init?(text: String) {
            guard text.utf8.allSatisfy({ (48...57).contains($0) || (97...102).contains($0) }),
                let bits = UInt64(text, radix: 16)
            else { return nil }
            self.init(Int64(bitPattern: bits))
        }
    }
#endif
