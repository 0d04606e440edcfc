import Dispatch
import Glibc

/// Runs commands for the tests: PostgreSQL refuses to be root, so a root test runs it as the account `postgres`.
enum Shell {
    static let isRoot = getuid() == 0
    static let account = isRoot ? "setpriv --reuid=postgres --regid=postgres --init-groups " : ""

    struct Failure: Error, CustomStringConvertible {
        var description: String
    }

    /// Runs through `sh`; gives what it wrote to stdout and stderr.
    @discardableResult
    static func run(_ command: String) async throws -> String {
        let (status, output) = await withCheckedContinuation { (waiter: CheckedContinuation<(Int32, String), Never>) in
            DispatchQueue.global().async { waiter.resume(returning: runBlocking(command)) }
        }
        guard status == 0 else { throw Failure(description: "\(command): status \(status): \(output)") }
        return output
    }

    @discardableResult
    static func runAsAccount(_ command: String) async throws -> String {
        try await run(account + command)
    }

    private static func runBlocking(_ command: String) -> (Int32, String) {
        guard let pipe = popen("(\(command)) 2>&1 </dev/null", "r") else { return (-1, "popen failed") }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = fread(&buffer, 1, buffer.count, pipe)
            if count == 0 { break }
            bytes.append(contentsOf: buffer[..<count])
        }
        return (pclose(pipe), String(decoding: bytes, as: UTF8.self))
    }
}

/// The processes whose working directory this is: a PostgreSQL's, all of them.
func processes(in directory: String) -> [Int32] {
    guard let listing = opendir("/proc") else { return [] }
    defer { closedir(listing) }
    var found: [Int32] = []
    var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
    while let entry = readdir(listing) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        guard let pid = Int32(name) else { continue }
        let length = readlink("/proc/\(pid)/cwd", &buffer, buffer.count)
        guard length > 0 else { continue }
        let path = String(decoding: buffer.prefix(length).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        if path == directory { found.append(pid) }
    }
    return found
}
