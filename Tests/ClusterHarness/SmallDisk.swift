import CClusterHarness
import Glibc

/// A file system of a few hundred megabytes in memory, to be filled.
package enum SmallDisk {
    package static func mount(at path: String, bytes: UInt64, account: String?) throws {
        let entry = account.flatMap { getpwnam($0) }?.pointee
        let code = ch_mount_small_disk(path, bytes, entry?.pw_uid ?? getuid(), entry?.pw_gid ?? getgid())
        guard code == 0 else {
            throw SystemFailure("cannot mount a small disk at \(path): \(String(cString: strerror(errno)))")
        }
    }

    package static func unmount(_ path: String) {
        _ = ch_unmount(path)
    }

    /// Why nothing can be mounted here; nil when it can.
    package static func obstacle() -> String? {
        var template = Array("\(SystemEnvironment.workPlace)/disk.XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { return "cannot make a directory" }
        let path = String(cString: made)
        defer { rmdir(path) }
        do {
            try mount(at: path, bytes: 1 << 20, account: nil)
            unmount(path)
            return nil
        } catch {
            return "\(error)"
        }
    }

    /// Writes a file until nothing more fits.
    package static func fill(_ path: String) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw SystemFailure("cannot make \(path): \(String(cString: strerror(errno)))") }
        defer { close(descriptor) }
        var size = 1 << 20
        while size >= 512 {
            let block = [UInt8](repeating: 0x55, count: size)
            while write(descriptor, block, size) == size {}
            size /= 2
        }
    }
}
