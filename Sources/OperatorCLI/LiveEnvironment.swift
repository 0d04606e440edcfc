import ClusterModel
public import PluginInterfaces

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

extension CommandEnvironment {
    /// The real terminal, files and clocks; without plugins, which `live(plugins:)` brings.
    static let live = live(plugins: PluginRegistry())

    /// The real terminal, files and clocks.
    public static func live(plugins: PluginRegistry) -> CommandEnvironment {
        CommandEnvironment(
            write: { text in writeAll(text, to: 1) },
            complain: { text in writeAll(text + "\n", to: 2) },
            ask: { question in
                writeAll(question, to: 1)
                return readLine(strippingNewline: true)
            },
            isTerminal: isatty(1) == 1,
            width: {
                if let text = getenv("COLUMNS").map({ String(cString: $0) }), let columns = Int(text), columns > 0 {
                    return columns
                }
                var size = winsize()
                guard isatty(1) == 1, ioctl(1, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return nil }
                return Int(size.ws_col)
            },
            variable: { name in getenv(name).map { String(cString: $0) } },
            now: {
                var time = timespec()
                clock_gettime(CLOCK_REALTIME, &time)
                return WallTime(microseconds: Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000)
            },
            sleep: { duration in try await Task.sleep(for: duration) },
            readConfiguration: { path in try ConfigurationReading.tree(path, plugins: plugins) },
            readYAML: { text, source in try ConfigurationReading.value(text, source: source) },
            readFile: { path in try readWhole(path) },
            fileExists: { path in access(path, F_OK) == 0 },
            edit: { text in try editText(text) },
            makeAPI: { configuration in try RESTClusterAPI(configuration) },
            validate: { path, host in ConfigurationReading.validate(path, host: host, plugins: plugins) },
            openStore: { path in try ConfigurationReading.openStore(path, plugins: plugins) },
            readStoreSection: { path in try ConfigurationReading.storeSection(path, plugins: plugins) },
            examine: { path, limit in
                await ConfigurationReading.examine(path, within: limit, plugins: plugins)
            },
            writeFile: { path, text in try writeWhole(path, text) })
    }
}

private func writeAll(_ text: String, to descriptor: Int32) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
        let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        if count < 0 {
            if errno == EINTR { continue }
            // Nobody reads any more (`| head`): there is nobody to tell either.
            return
        }
        bytes = bytes.dropFirst(count)
    }
}

private func readWhole(_ path: String) throws -> String {
    let descriptor = path == "-" ? dup(0) : open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
        throw CommandFailure("cannot read \(path): \(String(cString: strerror(errno)))")
    }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
        let count = read(descriptor, &buffer, buffer.count)
        if count < 0 {
            if errno == EINTR { continue }
            throw CommandFailure("cannot read \(path): \(String(cString: strerror(errno)))")
        }
        if count == 0 { break }
        bytes += buffer[..<count]
        if bytes.count > 4 << 20 { throw CommandFailure("cannot read \(path): longer than 4 MiB") }
    }
    return String(decoding: bytes, as: UTF8.self)
}

private func writeWhole(_ path: String, _ text: String) throws {
    func failed(_ what: String) -> CommandFailure {
        CommandFailure("cannot \(what) \(path): \(String(cString: strerror(errno)))")
    }
    let beside = "\(path).\(getpid()).new"
    let descriptor = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw failed("write") }
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
        let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        if count < 0 && errno == EINTR { continue }
        if count <= 0 {
            let failure = failed("write")
            close(descriptor)
            unlink(beside)
            throw failure
        }
        bytes = bytes.dropFirst(count)
    }
    let isWritten = fsync(descriptor) == 0
    guard close(descriptor) == 0, isWritten, rename(beside, path) == 0 else {
        let failure = failed("write")
        unlink(beside)
        throw failure
    }
}

/// Runs $VISUAL, $EDITOR or `vi` on a file (0600) that holds the text.
private func editText(_ text: String) throws -> String? {
    guard isatty(0) == 1, isatty(1) == 1 else {
        throw CommandFailure("there is no terminal to edit in; use --set, --pg, --apply or --replace", status: 2)
    }
    let directory = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
    var template = Array("\(directory)/matriarch-config.XXXXXX.yml".utf8CString)
    let descriptor = mkstemps(&template, 4)
    guard descriptor >= 0 else {
        throw CommandFailure("cannot make a file in \(directory): \(String(cString: strerror(errno)))")
    }
    let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer { unlink(path) }
    writeAll(text, to: descriptor)
    close(descriptor)
    func variable(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }
    let editor = variable("VISUAL") ?? variable("EDITOR") ?? "vi"
    // The variable may hold arguments (`code -w`): a shell splits it, the path is given apart.
    let words: [String] = ["sh", "-c", "\(editor) \"$1\"", "sh", path]
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
    arguments.append(nil)
    defer { for argument in arguments { free(argument) } }
    var process = pid_t()
    guard posix_spawn(&process, "/bin/sh", nil, nil, arguments, environ) == 0 else {
        throw CommandFailure("cannot start the editor")
    }
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 && errno == EINTR {}
    guard status == 0 else { throw CommandFailure("the editor failed; nothing is changed") }
    let edited = try readWhole(path)
    return edited == text ? nil : edited
}
