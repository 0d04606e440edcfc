import ClusterModel
import Glibc
import PluginInterfaces
import StoreConformance
import Synchronization

/// A server's process under test, with a directory of its own below /tmp.
///
/// It dies with the tests: a shell beside it waits for the end of a connection that only this process holds open, then
/// kills the server and takes the directory away.
final class ServerProcess: Sendable {
    let directory: String
    private struct Running {
        var shell: pid_t
        var pipe: Int32
    }
    private let running = Mutex<Running?>(nil)

    /// - Parameter name: of the server, for the directory.
    init(_ name: String) throws {
        directory = try makeTemporaryDirectory(name)
    }

    deinit {
        stop()
    }

    /// The server's own process.
    var pid: pid_t? { (try? readFile(directory + "/pid")).flatMap { pid_t($0.filter { !$0.isWhitespace }) } }

    /// What it has said so far.
    var log: String { (try? readFile(directory + "/log")) ?? "no log" }

    /// Runs a command of the shell, or runs it again after `kill`.
    func start(_ command: String) throws {
        unlink(directory + "/pid")
        unlink(directory + "/keep")
        var ends: [Int32] = [0, 0]
        // No child may inherit our end, or it would keep the server alive; a pipe cannot be had like that at once.
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else { throw CaseFailure("no pair of sockets") }
        // Connections of the tests' own would outlive their end in the server's process: they are closed first.
        let script = """
            for file in /proc/$$/fd/*; do
                [ "${file##*/}" -gt 2 ] && [ "${file##*/}" -ne 255 ] && eval "exec ${file##*/}>&-"
            done
            \(command) </dev/null >>\(directory)/log 2>&1 &
            echo $! >\(directory)/pid.new && mv \(directory)/pid.new \(directory)/pid
            cat >/dev/null
            kill -CONT $! 2>/dev/null
            kill -KILL $! 2>/dev/null
            wait $! 2>/dev/null
            [ -e \(directory)/keep ] || rm -rf \(directory)
            """
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, ends[0], 0)
        var child: pid_t = 0
        var arguments: [UnsafeMutablePointer<CChar>?] = []
        for argument in ["bash", "-c", script] { arguments.append(strdup(argument)) }
        arguments.append(nil)
        defer { for argument in arguments { free(argument) } }
        let code = posix_spawn(&child, "/bin/bash", &actions, nil, arguments, environ)
        close(ends[0])
        guard code == 0 else {
            close(ends[1])
            throw CaseFailure("cannot start bash: \(code)")
        }
        let started = Running(shell: child, pipe: ends[1])
        running.withLock { $0 = started }
    }

    /// Ends the process without a word; its data stay.
    func kill() {
        let former = running.withLock { running in
            defer { running = nil }
            return running
        }
        guard let former else { return }
        // Without this file the shell takes the data away as well: so it does when the tests end.
        try? writeFile(directory + "/keep", "")
        close(former.pipe)
        var status: Int32 = 0
        let deadline = SystemClock.now() + .seconds(10)
        while waitpid(former.shell, &status, WNOHANG) == 0 {
            if SystemClock.now() > deadline {
                if let pid { _ = Glibc.kill(pid, SIGKILL) }
                _ = Glibc.kill(former.shell, SIGKILL)
            }
            usleep(2000)
        }
    }

    /// Stops the process; returns when all of its threads stand. On a busy machine the first of them to take the signal
    /// may take its time, and the others serve until then.
    func freeze() {
        guard let pid else { return }
        _ = Glibc.kill(pid, SIGSTOP)
        let deadline = SystemClock.now() + .seconds(5)
        while !stands(pid), SystemClock.now() < deadline { usleep(500) }
    }

    private func stands(_ pid: Int32) -> Bool {
        guard let tasks = opendir("/proc/\(pid)/task") else { return true }
        defer { closedir(tasks) }
        while let entry = readdir(tasks) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            guard Int32(name) != nil, let stat = try? readFile("/proc/\(pid)/task/\(name)/stat"),
                let state = stat[(stat.lastIndex(of: ")") ?? stat.startIndex)...].dropFirst(2).first
            else { continue }
            if state != "T" { return false }
        }
        return true
    }

    func thaw() { if let pid { _ = Glibc.kill(pid, SIGCONT) } }

    /// Ends the process and removes its files.
    func stop() {
        kill()
        removeTree(directory)
    }
}
