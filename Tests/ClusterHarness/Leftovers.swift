package import Glibc
import Synchronization

/// What the harness must not leave behind, known to whoever has to clean up in an emergency.
package enum Leftovers {
    private static let known = Mutex<[String: [String]]>([:])

    static func register(_ directory: String, disk: String? = nil) {
        known.withLock { $0[directory, default: []] += disk.map { [$0] } ?? [] }
    }

    /// Processes that work in a directory or were started with a file of it.
    package static func processes(of directory: String) -> [pid_t] {
        guard let proc = opendir("/proc") else { return [] }
        defer { closedir(proc) }
        var result: [pid_t] = []
        while let entry = readdir(proc) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard let pid = pid_t(name), pid != getpid(), isAlive(pid) else { continue }
            let works = linkTarget("/proc/\(pid)/cwd")?.hasPrefix(directory) ?? false
            if works || (readText("/proc/\(pid)/cmdline") ?? "").contains(directory + "/") { result.append(pid) }
        }
        return result
    }

    /// Ends a cluster's processes, unmounts its disks and removes its directory.
    static func clean(_ directory: String, disks: [String], keeps: Bool) {
        _ = try? waitUntil("nothing is left", within: 10) {
            let left = processes(of: directory)
            for pid in left { kill(pid, SIGKILL) }
            return left.isEmpty
        }
        if !keeps {
            for disk in disks { SmallDisk.unmount(disk) }
            removeTree(directory)
        }
        _ = known.withLock { $0.removeValue(forKey: directory) }
    }

    /// The same for every cluster of this process: called when it must end at once.
    package static func cleanAll() {
        for (directory, disks) in known.withLock({ $0 }) { clean(directory, disks: disks, keeps: false) }
    }
}
