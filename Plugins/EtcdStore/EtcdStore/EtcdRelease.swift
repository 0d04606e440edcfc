#if Etcd
    /// A release of etcd's servers.
    struct EtcdRelease: Hashable, Sendable, Comparable, CustomStringConvertible {
        var major: Int
        var minor: Int
        var patch: Int

        init(_ major: Int, _ minor: Int, _ patch: Int) {
            self.major = major
            self.minor = minor
            self.patch = patch
        }

        /// `3.5.13`, `3.6.0-rc.1`; nil for anything else.
        init?(_ text: String) {
            let parts = text.prefix { $0 != "-" && $0 != "+" }.split(separator: ".", omittingEmptySubsequences: false)
            guard parts.count == 3, let major = Int(parts[0]), let minor = Int(parts[1]), let patch = Int(parts[2])
            else { return nil }
            self.init(major, minor, patch)
        }

        var description: String { "\(major).\(minor).\(patch)" }

        static func < (left: EtcdRelease, right: EtcdRelease) -> Bool {
            (left.major, left.minor, left.patch) < (right.major, right.minor, right.patch)
        }

        /// The first release with the JSON gateway as it is used here.
        static let oldest = EtcdRelease(3, 4, 0)

        /// Whether a leader that was deposed while it stood still no longer revokes leases (etcd issue 15247): fixed in
        /// 3.4.31, 3.5.13 and 3.6.0.
        var leavesForeignLeases: Bool {
            switch (major, minor) {
            case (3, 4): patch >= 31
            case (3, 5): patch >= 13
            default: self >= EtcdRelease(3, 6, 0)
            }
        }

        /// What an operator should know of it; nil when there is nothing.
        var warning: String? {
            if self < Self.oldest { return "etcd \(self) is too old: 3.4 is the oldest that is supported" }
            if leavesForeignLeases { return nil }
            return "etcd \(self) can revoke a lease before its time when its leader stands still and is deposed "
                + "(etcd issue 15247); upgrade to 3.4.31, 3.5.13, 3.6 or later"
        }
    }
#endif
