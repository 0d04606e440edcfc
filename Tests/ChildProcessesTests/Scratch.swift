import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// A temporary directory with scripts in it, removed with the object.
final class Scratch: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/matriarch-test-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw Trouble("mkdtemp: \(String(cString: strerror(errno)))") }
        path = String(cString: made)
    }

    deinit {
        // A script's own words, in the foreground: nothing of ours is tested here.
        _ = Self.system("rm -rf -- '\(path)'")
    }

    struct Trouble: Error, CustomStringConvertible {
        var description: String

        init(_ description: String) {
            self.description = description
        }
    }

    /// Writes an executable sh script and returns its path.
    @discardableResult
    func script(_ name: String, _ body: String, shebang: Bool = true) throws -> String {
        let file = try write(name, (shebang ? "#!/bin/sh\n" : "") + body + "\n")
        chmod(file, 0o755)
        return file
    }

    @discardableResult
    func write(_ name: String, _ text: String) throws -> String {
        let file = "\(path)/\(name)"
        guard let stream = fopen(file, "we") else { throw Trouble("cannot write \(file)") }
        fputs(text, stream)
        fclose(stream)
        return file
    }

    /// A file's text; nil when it is not there.
    func read(_ name: String) -> String? {
        guard let stream = fopen("\(path)/\(name)", "re") else { return nil }
        defer { fclose(stream) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = fread(&buffer, 1, buffer.count, stream)
            if count == 0 { break }
            bytes += buffer[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func system(_ line: String) -> Int32 {
        #if canImport(Glibc)
            Glibc.system(line)
        #else
            Musl.system(line)
        #endif
    }
}

/// Waits until a condition holds; false when it does not in time.
func eventually(within limit: Duration = .seconds(10), _ condition: () -> Bool) async -> Bool {
    let clock = ContinuousClock()
    let deadline = clock.now + limit
    while !condition() {
        if clock.now >= deadline { return false }
        try? await Task.sleep(for: .milliseconds(5))
    }
    return true
}

/// Whether a process lives; a zombie does not.
func isAlive(_ process: String?) -> Bool {
    guard let process = process?.split(whereSeparator: \.isWhitespace).first, let id = pid_t(process) else {
        return false
    }
    guard let stream = fopen("/proc/\(id)/stat", "re") else { return false }
    defer { fclose(stream) }
    var buffer = [UInt8](repeating: 0, count: 512)
    let count = fread(&buffer, 1, buffer.count, stream)
    guard let end = buffer[..<count].lastIndex(of: UInt8(ascii: ")")), end + 2 < count else { return false }
    return buffer[end + 2] != UInt8(ascii: "Z")
}

/// A thread-safe list.
final class Collected<Element: Sendable>: Sendable {
    private let elements = Mutex<[Element]>([])

    func add(_ element: Element) { elements.withLock { $0.append(element) } }
    var all: [Element] { elements.withLock { $0 } }
}
