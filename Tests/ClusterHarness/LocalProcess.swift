package import Glibc

/// A process that a test started, and ends by its pid.
package final class LocalProcess {
    package let pid: pid_t
    package let name: String
    package private(set) var status: Int32?

    /// Starts a program, as the account when there is one (`setpriv` becomes the program: the pid is the program's).
    /// Its output goes to a file, appended; its input comes from one.
    package init(
        _ name: String, _ arguments: [String], account: String?, directory: String, log: String,
        environment: [String: String] = [:], input: String = "/dev/null", umask: UInt32? = nil,
        on host: Host = .loopback
    ) throws {
        self.name = name
        // Each of these becomes the next: the process that is started is the program's.
        var words = arguments
        if let umask { words = ["/bin/sh", "-c", "umask \(String(umask, radix: 8)); exec \"$@\"", "sh"] + words }
        if let account {
            words = ["/usr/bin/setpriv", "--reuid=\(account)", "--regid=\(account)", "--init-groups", "--"] + words
        }
        words = ["/usr/bin/env", "--chdir=\(directory)", "--"] + words
        var variables = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]
        // The sanitizers' options among them: where an instrumented program tells what it found.
        for key in ["TMPDIR", "LD_LIBRARY_PATH", "JAVA_HOME", "TSAN_OPTIONS", "ASAN_OPTIONS", "LSAN_OPTIONS"] {
            if let value = SystemEnvironment.variable(key) { variables.append("\(key)=\(value)") }
        }
        variables += environment.map { "\($0.key)=\($0.value)" }

        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, input, O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o644)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        var all = sigset_t()
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(
            &attributes,
            Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP))

        var argv: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
        argv.append(nil)
        var envp: [UnsafeMutablePointer<CChar>?] = variables.map { strdup($0) }
        envp.append(nil)
        defer { for word in argv + envp { free(word) } }
        var pid = pid_t()
        let code = try host.inside { posix_spawn(&pid, words[0], &actions, &attributes, argv, envp) }
        guard code == 0 else { throw SystemFailure("cannot start \(words[0]): \(String(cString: strerror(code)))") }
        self.pid = pid
    }

    /// Whether it is still there; reaps it when it is not.
    package var isRunning: Bool {
        if status != nil { return false }
        var code: Int32 = 0
        let result = waitpid(pid, &code, WNOHANG)
        if result == pid || (result < 0 && errno == ECHILD) {
            status = code
            return false
        }
        return true
    }

    /// Its exit status, or 128 and the signal; nil while it runs.
    package var exitStatus: Int32? {
        guard !isRunning, let status else { return nil }
        return status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
    }

    package func send(_ signal: Int32) {
        if isRunning { kill(pid, signal) }
    }

    package func waitForEnd(within seconds: Double) throws {
        try waitUntil("\(name) (pid \(pid)) ends", within: seconds, every: 0.02) { !isRunning }
    }
}

/// A program run to its end, with its output.
package struct CommandResult {
    package var status: Int32
    package var output: String

    /// Runs a command and reads what it says (both streams); kills it when the time is over.
    package static func run(
        _ arguments: [String], account: String? = nil, directory: String, within seconds: Double = 30,
        environment: [String: String] = [:], input: String? = nil
    ) throws -> CommandResult {
        let log = "\(directory)/command.\(getpid()).\(Int.random(in: 0..<1 << 40)).out"
        if let input { try writePrivate(input, to: log + ".in", account: account) }
        // Made here, so that the account may write it.
        let descriptor = open(log, O_WRONLY | O_CREAT | O_EXCL, 0o666)
        if descriptor >= 0 {
            fchmod(descriptor, 0o666)
            close(descriptor)
        }
        defer {
            unlink(log)
            if input != nil { unlink(log + ".in") }
        }
        let process = try LocalProcess(
            arguments[0], arguments, account: account, directory: directory, log: log, environment: environment,
            input: input.map { _ in log + ".in" } ?? "/dev/null")
        do {
            try process.waitForEnd(within: seconds)
        } catch {
            process.send(SIGKILL)
            try? process.waitForEnd(within: 5)
            throw SystemFailure("\(arguments.joined(separator: " ")): \(error); so far: \(readText(log) ?? "")")
        }
        return CommandResult(status: process.exitStatus ?? -1, output: readText(log) ?? "")
    }
}

/// A file's text; nil when it cannot be read.
package func readText(_ path: String) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
        let count = read(descriptor, &buffer, buffer.count)
        if count <= 0 { break }
        bytes += buffer[..<count]
    }
    return String(decoding: bytes, as: UTF8.self)
}

/// Writes a file that its owner alone can read, and gives it to the account.
package func writePrivate(_ text: String, to path: String, account: String?) throws {
    unlink(path)
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw SystemFailure("cannot write \(path): \(String(cString: strerror(errno)))") }
    defer { close(descriptor) }
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
        let count = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        guard count > 0 else { throw SystemFailure("cannot write \(path)") }
        bytes = bytes.dropFirst(count)
    }
    try give(path, to: account)
}

/// Makes a directory for the account.
package func makeDirectory(_ path: String, mode: mode_t = 0o700, account: String?) throws {
    guard mkdir(path, mode) == 0 || errno == EEXIST else {
        throw SystemFailure("cannot make \(path): \(String(cString: strerror(errno)))")
    }
    chmod(path, mode)
    try give(path, to: account)
}

private func give(_ path: String, to account: String?) throws {
    guard let account else { return }
    guard let entry = getpwnam(account) else { throw SystemFailure("there is no account \(account)") }
    guard chown(path, entry.pointee.pw_uid, entry.pointee.pw_gid) == 0 else {
        throw SystemFailure("cannot give \(path) to \(account)")
    }
}

/// Removes a directory with everything in it.
package func removeTree(_ path: String) {
    guard path.hasPrefix("/"), path.split(separator: "/").count >= 2 else { return }
    _ = try? CommandResult.run(["/bin/rm", "-rf", path], directory: "/tmp")
}

/// The pid in the first line of a file, if a process of that number is there and is no zombie.
package func livingPid(inFile path: String) -> pid_t? {
    guard let line = readText(path)?.split(separator: "\n").first, let pid = pid_t(line.filter(\.isNumber)), pid > 1
    else { return nil }
    return isAlive(pid) ? pid : nil
}

package func isAlive(_ pid: pid_t) -> Bool {
    guard let status = readText("/proc/\(pid)/stat"), let end = status.lastIndex(of: ")") else { return false }
    let state = status[end...].dropFirst(2).first
    return state != "Z" && state != "X"
}

/// The children of a process (of its threads).
package func children(of pid: pid_t) -> [pid_t] {
    guard let tasks = opendir("/proc/\(pid)/task") else { return [] }
    defer { closedir(tasks) }
    var result: [pid_t] = []
    while let entry = readdir(tasks) {
        let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        }
        guard name.first?.isNumber == true else { continue }
        result += (readText("/proc/\(pid)/task/\(name)/children") ?? "").split(separator: " ").compactMap { pid_t($0) }
    }
    return result
}

/// All that descends from a process, itself not.
package func descendants(of pid: pid_t) -> [pid_t] {
    var result: [pid_t] = []
    var open = [pid]
    while let next = open.popLast(), result.count < 10_000 {
        let found = children(of: next)
        result += found
        open += found
    }
    return result
}

/// Where a symbolic link points; nil when it is none.
package func linkTarget(_ path: String) -> String? {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = buffer.withUnsafeMutableBytes { bytes in
        guard let base = bytes.baseAddress else { return -1 }
        return readlink(path, base.assumingMemoryBound(to: CChar.self), bytes.count)
    }
    return count > 0 ? String(decoding: buffer[..<count], as: UTF8.self) : nil
}

/// A process in a few words, for a message.
package func describeProcess(_ pid: pid_t) -> String {
    let words = (readText("/proc/\(pid)/cmdline") ?? "").map { $0 == "\0" ? " " : $0 }
    return "\(pid) \(String(words.prefix(120)))"
}
