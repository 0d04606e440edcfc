#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// Finds the file that a command's first word means.
enum ExecutableSearch {
    enum Found: Equatable {
        case file(String)
        /// Nothing can be started; why, in words.
        case nothing(String)
    }

    /// A word with a slash is a path, relative to the working directory; any other is looked up in PATH.
    static func find(_ word: String, workingDirectory: String?, path: String?) -> Found {
        if word.isEmpty { return .nothing("the command is empty") }
        if word.utf8.contains(0) { return .nothing("the command's name contains a NUL character") }
        if word.contains("/") {
            if let why = obstacle(absolute(word, workingDirectory)) { return .nothing("\(word): \(why)") }
            return .file(word)
        }
        let path = path ?? "/usr/local/bin:/usr/bin:/bin"
        var refused: String?
        for directory in path.split(separator: ":", omittingEmptySubsequences: false) {
            // An empty element means the working directory, which is what nobody wants of a search.
            if directory.isEmpty { continue }
            let file = directory.hasSuffix("/") ? "\(directory)\(word)" : "\(directory)/\(word)"
            guard let why = obstacle(absolute(file, workingDirectory)) else { return .file(file) }
            if why != notThere { refused = refused ?? "\(file): \(why)" }
        }
        return .nothing(refused ?? "\(word): no such program in PATH (\(path))")
    }

    private static let notThere = "no such file"

    /// Why the file cannot be executed; nil when it can.
    private static func obstacle(_ file: String) -> String? {
        var facts = stat()
        guard stat(file, &facts) == 0 else {
            return errno == ENOENT || errno == ENOTDIR ? notThere : String(cString: strerror(errno))
        }
        if facts.st_mode & S_IFMT == S_IFDIR { return "is a directory" }
        return access(file, X_OK) == 0 ? nil : "is not executable by this account"
    }

    private static func absolute(_ file: String, _ workingDirectory: String?) -> String {
        guard !file.hasPrefix("/"), let workingDirectory else { return file }
        return "\(workingDirectory)/\(file)"
    }
}
