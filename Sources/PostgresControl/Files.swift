import Dispatch
import Glibc

/// The few file operations this module needs, with errors that name the path.
enum Files {
    /// What `stat` tells, as far as it is needed here.
    struct Facts: Hashable {
        var isDirectory: Bool
        var isLink: Bool
        var mode: UInt32
        var device: UInt64
        var inode: UInt64
        var size: Int64
        var modified: Int64
    }

    static func failure(_ what: String, _ path: String, _ code: Int32 = errno) -> PostgresError {
        PostgresError(.file, "cannot \(what) \(path): \(String(cString: strerror(code)))")
    }

    /// The facts of a path; nil when nothing is there. Follows links unless told not to.
    static func facts(_ path: String, followingLinks: Bool = true) -> Facts? {
        var buffer = stat()
        guard (followingLinks ? stat(path, &buffer) : lstat(path, &buffer)) == 0 else { return nil }
        let kind = buffer.st_mode & S_IFMT
        return Facts(
            isDirectory: kind == S_IFDIR, isLink: kind == S_IFLNK, mode: UInt32(buffer.st_mode & 0o7777),
            device: UInt64(buffer.st_dev), inode: UInt64(buffer.st_ino), size: Int64(buffer.st_size),
            modified: Int64(buffer.st_mtim.tv_sec))
    }

    static func exists(_ path: String) -> Bool { facts(path, followingLinks: false) != nil }

    /// The file's first `limit` bytes; nil when there is no such file.
    static func read(_ path: String, limit: Int = 16 << 20) throws(PostgresError) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT || errno == ENOTDIR { return nil }
            throw failure("read", path)
        }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while bytes.count < limit {
            let count = Glibc.read(descriptor, &buffer, min(buffer.count, limit - bytes.count))
            if count < 0 {
                if errno == EINTR { continue }
                throw failure("read", path)
            }
            if count == 0 { break }
            bytes.append(contentsOf: buffer[0..<count])
        }
        return bytes
    }

    static func readText(_ path: String) throws(PostgresError) -> String? {
        try read(path).map { String(decoding: $0, as: UTF8.self) }
    }

    /// Bytes at an offset; nil when the file is not there or too short.
    static func read(_ path: String, at offset: Int64, count: Int) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var buffer = [UInt8](repeating: 0, count: count)
        guard pread(descriptor, &buffer, count, off_t(offset)) == count else { return nil }
        return buffer
    }

    /// Replaces the file at once and durably: a temporary file, fsync, rename, fsync of the directory.
    static func replace(_ path: String, with bytes: [UInt8], mode: UInt32) throws(PostgresError) {
        let temporary = path + ".new"
        unlink(temporary)
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode_t(mode))
        guard descriptor >= 0 else { throw failure("create", temporary) }
        var written = 0
        while written < bytes.count {
            let count = bytes[written...].withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 {
                if errno == EINTR { continue }
                let code = errno
                close(descriptor)
                unlink(temporary)
                throw failure("write", temporary, code)
            }
            written += count
        }
        // The mode is set again because the umask may have taken bits away.
        guard fchmod(descriptor, mode_t(mode)) == 0, fsync(descriptor) == 0 else {
            let code = errno
            close(descriptor)
            unlink(temporary)
            throw failure("write", temporary, code)
        }
        close(descriptor)
        guard rename(temporary, path) == 0 else {
            let code = errno
            unlink(temporary)
            throw failure("replace", path, code)
        }
        try syncDirectory(parent(path))
    }

    /// Replaces the file if its content differs; tells whether it did.
    @discardableResult
    static func replaceIfChanged(_ path: String, with text: String, mode: UInt32) throws(PostgresError) -> Bool {
        try replaceIfChanged(path, with: Array(text.utf8), mode: mode)
    }

    @discardableResult
    static func replaceIfChanged(_ path: String, with bytes: [UInt8], mode: UInt32) throws(PostgresError) -> Bool {
        if let facts = facts(path, followingLinks: false), !facts.isLink, facts.mode == mode, try read(path) == bytes {
            return false
        }
        try replace(path, with: bytes, mode: mode)
        return true
    }

    /// Renames, and makes that durable.
    static func move(_ from: String, to: String) throws(PostgresError) {
        guard rename(from, to) == 0 else {
            let code = errno
            throw PostgresError(.file, "cannot rename \(from) to \(to): \(String(cString: strerror(code)))")
        }
        try syncDirectory(parent(to))
        if parent(from) != parent(to) { try syncDirectory(parent(from)) }
    }

    /// Removes one file; tells whether there was one. Never a directory.
    @discardableResult
    static func remove(_ path: String) throws(PostgresError) -> Bool {
        if unlink(path) == 0 {
            try syncDirectory(parent(path))
            return true
        }
        if errno == ENOENT { return false }
        throw failure("remove", path)
    }

    static func makeDirectory(_ path: String, mode: UInt32) throws(PostgresError) {
        if mkdir(path, mode_t(mode)) != 0 {
            let code = errno
            guard code == EEXIST, facts(path)?.isDirectory == true else { throw failure("create", path, code) }
        }
        guard chmod(path, mode_t(mode)) == 0 else { throw failure("set the mode of", path) }
    }

    static func syncDirectory(_ path: String) throws(PostgresError) {
        let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("open", path) }
        defer { close(descriptor) }
        // Some file systems cannot sync a directory and say EINVAL: then there is nothing to be done.
        if fsync(descriptor) != 0, errno != EINVAL { throw failure("sync", path) }
    }

    /// The names in a directory, sorted; nil when there is no such directory.
    static func list(_ path: String) throws(PostgresError) -> [String]? {
        guard let directory = opendir(path) else {
            if errno == ENOENT { return nil }
            throw failure("list", path)
        }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { tuple in
                tuple.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: tuple.pointee)) {
                    String(cString: $0)
                }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// Where a symbolic link points to; nil when it is none.
    static func linkTarget(_ path: String) -> String? {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = buffer.withUnsafeMutableBytes { bytes in
            readlink(path, bytes.baseAddress!.assumingMemoryBound(to: CChar.self), bytes.count)
        }
        return count > 0 && count < buffer.count ? String(decoding: buffer[0..<count], as: UTF8.self) : nil
    }

    /// The directory that a path lies in.
    static func parent(_ path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }
}

/// Runs blocking work (file system calls) on threads of its own, never on the cooperative pool.
enum Blocking {
    static func run<Value: Sendable>(
        _ work: @escaping @Sendable () throws(PostgresError) -> Value
    ) async throws(PostgresError) -> Value {
        let result: Result<Value, PostgresError> = await withCheckedContinuation { waiter in
            // A serial queue has a thread of its own; global and concurrent ones share theirs with Swift's tasks.
            DispatchQueue(label: "matriarch.postgres.files").async {
                do throws(PostgresError) {
                    waiter.resume(returning: .success(try work()))
                } catch {
                    waiter.resume(returning: .failure(error))
                }
            }
        }
        return try result.get()
    }
}
