#if ZooKeeper
    import ClusterModel

    /// What ZooKeeper knows of a node besides its value.
    struct NodeStat: Hashable, Sendable {
        /// The transaction that created the node: its identity, for version numbers start anew with each creation.
        var created: UInt64
        /// The transaction that last changed the value.
        var modified: UInt64
        /// The transaction that last added or removed a child.
        var childrenModified: UInt64
        /// The value's version, from 0.
        var version: Int32
        /// The session of an ephemeral node; 0 for a permanent one.
        var owner: Int64
        var children: Int32

        /// The highest transaction that this node shows to have happened.
        var newest: UInt64 { max(created, modified, childrenModified) }

        var entryVersion: EntryVersion { EntryVersion(created: created, number: UInt64(UInt32(bitPattern: version))) }

        /// The owner as the model names it. Containers and nodes with a lifetime of their own use values that are no
        /// session's.
        var ownerSession: SessionID? {
            owner == 0 || owner == .min || UInt64(bitPattern: owner) >> 56 == 0xff ? nil : SessionID(zooKeeper: owner)
        }
    }

    /// A node with its value.
    struct Node: Hashable, Sendable {
        var value: [UInt8]
        var stat: NodeStat
    }

    /// A node's children.
    struct NodeChildren: Hashable, Sendable {
        var names: [String]
        var stat: NodeStat
    }

    /// A session's number and password: all that is needed to take it up again.
    struct ClientIdentity: Hashable, Sendable, CustomStringConvertible {
        var number: Int64
        /// 16 bytes, secret.
        var password: [UInt8]

        static let encodedCount = 24

        init(number: Int64, password: [UInt8]) {
            self.number = number
            self.password = password
        }

        /// Reads what `encoded` wrote; nil for anything else.
        init?(encoded: [UInt8]) {
            guard encoded.count == Self.encodedCount else { return nil }
            let bits = encoded.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            guard bits != 0 else { return nil }
            self.init(number: Int64(bitPattern: bits), password: Array(encoded.dropFirst(8)))
        }

        var encoded: [UInt8] {
            let bits = UInt64(bitPattern: number)
            return (0..<8).map { UInt8(truncatingIfNeeded: bits >> (56 - 8 * UInt64($0))) } + password
        }

        var session: SessionID { SessionID(zooKeeper: number) }
        /// Without the password.
        var description: String { session.text }
    }

    extension SessionID {
        /// ZooKeeper's own notation of a session's number.
        init(zooKeeper number: Int64) {
            self.init("0x" + String(UInt64(bitPattern: number), radix: 16))
        }
    }
#endif
