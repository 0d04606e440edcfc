#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// The process group that a child leads: everything it started and that did not leave the group on purpose.
struct ProcessGroup: Sendable {
    /// The leader's process id.
    let id: pid_t

    func send(_ signal: Int32) {
        // A group that is gone is what the caller wants.
        _ = kill(-id, signal)
    }

    /// Whether a process of the group is alive; a zombie which nobody has reaped yet is not.
    var hasLiveMembers: Bool {
        if kill(-id, 0) != 0, errno == ESRCH { return false }
        guard let directory = opendir("/proc") else { return true }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            guard let process = pid_t(name), let member = Self.member(process) else { continue }
            if member.group == id, !member.isDead { return true }
        }
        return false
    }

    /// A process's group and whether it has ended, from `/proc/<pid>/stat`; nil when it is gone.
    private static func member(_ process: pid_t) -> (group: pid_t, isDead: Bool)? {
        let file = open("/proc/\(process)/stat", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 512)
        let count = read(file, &bytes, bytes.count)
        guard count > 0 else { return nil }
        // The name in parentheses may hold anything; what counts stands behind the last one.
        guard let end = bytes[..<count].lastIndex(of: UInt8(ascii: ")")) else { return nil }
        let fields = String(decoding: bytes[(end + 1)..<count], as: UTF8.self).split(separator: " ")
        guard fields.count > 2, let group = pid_t(fields[2]) else { return nil }
        return (group, fields[0] == "Z" || fields[0] == "X")
    }
}
