#if ZooKeeper
    import Glibc

    /// The sockets of this process, as the kernel lists them.
    enum OpenSockets {
        /// Duplicates of those open descriptors that fulfil a condition; the caller closes them.
        ///
        /// A duplicate cannot be closed and reused under our hands.
        static func duplicates(where condition: (Int32) -> Bool) -> [Int32] {
            var found: [Int32] = []
            for number in descriptors() {
                let copy = fcntl(number, F_DUPFD_CLOEXEC, 0)
                guard copy >= 0 else { continue }
                if condition(copy) { found.append(copy) } else { close(copy) }
            }
            return found
        }

        /// Whether a connection's other end is held by this process.
        ///
        /// Two ends have the same pair of addresses only if they are the ends of one connection, for as long as it lasts:
        /// so no other process can pass for us, nor anybody with our user's rights.
        ///
        /// Both ends are kept from child processes on the way. The libraries that made them do not see to it, and a child
        /// would keep a connection open that was closed here, and could use it.
        static func hold(from near: ServerAddress, to far: ServerAddress) -> Bool {
            keepFromChildren(far, near)
            return keepFromChildren(near, far)
        }

        /// Closes a connection's descriptor in programs started from now on; false when there is none.
        @discardableResult
        static func keepFromChildren(_ own: ServerAddress, _ peer: ServerAddress) -> Bool {
            for number in descriptors() {
                let copy = fcntl(number, F_DUPFD_CLOEXEC, 0)
                guard copy >= 0 else { continue }
                defer { close(copy) }
                guard ServerAddress.own(of: copy) == own, ServerAddress.peer(of: copy) == peer else { continue }
                _ = fcntl(number, F_SETFD, FD_CLOEXEC)
                return true
            }
            return false
        }

        private static func descriptors() -> [Int32] {
            guard let directory = opendir("/proc/self/fd") else { return [] }
            defer { closedir(directory) }
            // Closed in a moment, and its number taken by another.
            let own = dirfd(directory)
            var numbers: [Int32] = []
            while let entry = readdir(directory) {
                let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                    String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
                }
                if let number = Int32(name), number != own { numbers.append(number) }
            }
            return numbers
        }
    }
#endif
