import Logging
import PluginInterfaces
import Testing

@testable import ChildProcesses

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

@Suite(.timeLimit(.minutes(2)))
struct ChildProcessTests {
    static let path = ["PATH": "/usr/local/bin:/usr/bin:/bin"]

    private func shell(_ body: String, deadline: Duration? = .seconds(30)) -> PluginCommand {
        PluginCommand("/bin/sh", ["-c", body], deadline: deadline)
    }

    @Test("The exit status is told", arguments: [0, 1, 3, 127, 255])
    func exitStatus(_ status: Int32) async {
        #expect(await ChildProcess.run(shell("exit \(status)")) == .exited(status))
    }

    @Test("A signal that ended it is told")
    func signalled() async {
        #expect(await ChildProcess.run(shell("kill -9 $$")) == .signalled(SIGKILL))
    }

    @Test("Lines of both streams come while it runs")
    func streams() async throws {
        let scratch = try Scratch()
        let lines = Collected<String>()
        let kinds = Collected<StreamKind>()
        let body = """
            echo first; echo second >&2
            while [ ! -e '\(scratch.path)/go' ]; do sleep 0.02; done
            printf 'a\\rb\\r\\nlast'
            """
        async let end = ChildProcess.run(shell(body)) { kind, line in
            lines.add(line)
            kinds.add(kind)
        }
        #expect(await eventually { lines.all.count == 2 })
        #expect(Set(lines.all) == ["first", "second"])
        #expect(Set(kinds.all) == [.standardOutput, .standardError])
        try scratch.write("go", "")
        #expect(await end == .exited(0))
        #expect(Array(lines.all.dropFirst(2)) == ["a", "b", "last"])
    }

    @Test("All of a large output arrives before the end is told")
    func large() async {
        let lines = Collected<Int>()
        let end = await ChildProcess.run(shell("seq 1 200000")) { _, line in lines.add(Int(line) ?? -1) }
        #expect(end == .exited(0))
        #expect(lines.all == Array(1...200_000))
    }

    @Test("Collected output is bounded, and can be of one stream")
    func collecting() async {
        #expect(await ChildProcess.runCollecting(shell("seq 1 3")) == (.exited(0), "1\n2\n3\n"))
        let (end, text) = await ChildProcess.runCollecting(shell("seq 1 100000"), limit: 10)
        #expect(end == .exited(0))
        #expect(text == "1\n2\n3\n4\n5\n")
        let both = shell("echo out; echo err >&2; exit 2")
        #expect(await ChildProcess.runCollecting(both, only: .standardOutput) == (.exited(2), "out\n"))
        #expect(await ChildProcess.runCollecting(both, only: .standardError) == (.exited(2), "err\n"))
    }

    @Test("A deadline ends the whole group, grandchildren included")
    func deadline() async throws {
        let scratch = try Scratch()
        let body = """
            sleep 300 & echo $! > '\(scratch.path)/grandchild'
            (sleep 300 & echo $! > '\(scratch.path)/greatgrandchild'; wait) &
            echo $$ > '\(scratch.path)/child'
            wait
            """
        let end = await ChildProcess.run(shell(body, deadline: .milliseconds(700)))
        #expect(end == .timedOut)
        for name in ["child", "grandchild", "greatgrandchild"] {
            let process = scratch.read(name)
            #expect(process != nil)
            #expect(!isAlive(process), "\(name)")
        }
    }

    @Test("Who does not listen to SIGTERM is killed after the grace, with its children")
    func stubborn() async throws {
        let scratch = try Scratch()
        let body = """
            trap 'echo asked' TERM
            sh -c 'trap "" TERM; echo $$ > "\(scratch.path)/grandchild"; while :; do sleep 1; done' &
            echo $$ > '\(scratch.path)/child'
            while :; do sleep 0.1; done
            """
        let lines = Collected<String>()
        let clock = ContinuousClock()
        let start = clock.now
        let end = await ChildProcess.run(shell(body, deadline: .milliseconds(800)), grace: .milliseconds(500)) {
            lines.add($1)
        }
        #expect(end == .timedOut)
        #expect(lines.all.contains("asked"))
        #expect(clock.now - start >= .milliseconds(1300))
        #expect(!isAlive(scratch.read("child")))
        #expect(!isAlive(scratch.read("grandchild")))
    }

    @Test("A child that ends at SIGTERM does not save a grandchild that ignores it")
    func survivor() async throws {
        let scratch = try Scratch()
        let body = """
            sh -c 'trap "" TERM; echo $$ > "\(scratch.path)/grandchild"; while :; do sleep 1; done' &
            wait
            """
        let end = await ChildProcess.run(shell(body, deadline: .milliseconds(700)), grace: .milliseconds(200))
        #expect(end == .timedOut)
        #expect(scratch.read("grandchild") != nil)
        #expect(!isAlive(scratch.read("grandchild")))
    }

    @Test("A suspended child is ended as well")
    func suspended() async throws {
        let end = await ChildProcess.run(shell("kill -STOP $$", deadline: .milliseconds(300)))
        #expect(end == .timedOut)
    }

    @Test("Cancelling the task ends the whole group")
    func cancelled() async throws {
        let scratch = try Scratch()
        let task = Task {
            await ChildProcess.run(
                shell("sleep 300 & echo $! > '\(scratch.path)/grandchild'; echo $$ > '\(scratch.path)/child'; wait"))
        }
        #expect(await eventually { scratch.read("child")?.isEmpty == false })
        #expect(isAlive(scratch.read("grandchild")))
        task.cancel()
        #expect(await task.value == .cancelled)
        #expect(!isAlive(scratch.read("child")))
        #expect(!isAlive(scratch.read("grandchild")))
    }

    @Test("A task cancelled before starts nothing")
    func cancelledBefore() async throws {
        let scratch = try Scratch()
        let gate = Collected<Int>()
        let task = Task {
            _ = await eventually { !gate.all.isEmpty || Task.isCancelled }
            return await ChildProcess.run(shell("touch '\(scratch.path)/ran'"))
        }
        task.cancel()
        #expect(await task.value == .cancelled)
        #expect(scratch.read("ran") == nil)
    }

    @Test("Cancelling at any moment of the start ends it", arguments: 0..<20)
    func cancelledEarly(_ number: Int) async throws {
        let task = Task { await ChildProcess.run(shell("sleep 300")) }
        try await Task.sleep(for: .microseconds(number * 300))
        task.cancel()
        #expect(await task.value == .cancelled)
    }

    @Test("What a script leaves in the background does not hold up its end, and lives on")
    func background() async throws {
        let scratch = try Scratch()
        let body = """
            (while [ ! -e '\(scratch.path)/stop' ]; do echo still here; sleep 0.05; done; touch '\(scratch.path)/done') &
            echo $! > '\(scratch.path)/background'
            echo ready
            """
        let lines = Collected<String>()
        #expect(await ChildProcess.run(shell(body)) { lines.add($1) } == .exited(0))
        #expect(lines.all.contains("ready"))
        let count = lines.all.count
        let background = scratch.read("background")
        // Several writes to a pipe whose reader has returned: without a reader they would be fatal.
        try await Task.sleep(for: .milliseconds(300))
        #expect(isAlive(background))
        #expect(lines.all.count == count, "no line after the return")
        try scratch.write("stop", "")
        #expect(await eventually { scratch.read("done") != nil && !isAlive(background) })
        #expect(await eventually { OutputLoop.shared?.lingeringCount == 0 })
    }

    @Test("Why nothing was started is told")
    func notStarted() async throws {
        let scratch = try Scratch()
        try scratch.write("plain", "text")
        try scratch.script("nointerpreter", "#!/nonexistent/interpreter\n", shebang: false)
        try scratch.script("noformat", "echo hello", shebang: false)
        let cases = [
            ("matriarch-no-such-program", "matriarch-no-such-program: no such program in PATH"),
            ("/nonexistent/program", "/nonexistent/program: no such file"),
            ("./plain", "./plain: is not executable by this account"),
            ("/tmp", "/tmp: is a directory"),
            ("", "the command is empty"),
            ("./nointerpreter", "./nointerpreter: No such file or directory"),
            ("./noformat", "./noformat: Exec format error"),
        ]
        for (executable, why) in cases {
            let end = await ChildProcess.run(PluginCommand(executable, []), workingDirectory: scratch.path)
            guard case .notStarted(let text) = end else {
                Issue.record("\(executable): \(end)")
                continue
            }
            #expect(text.hasPrefix(why), "\(text)")
        }
        let nowhere = await ChildProcess.run(PluginCommand("true", []), workingDirectory: "/nonexistent")
        guard case .notStarted(let text) = nowhere else {
            Issue.record("\(nowhere)")
            return
        }
        #expect(text.contains("/nonexistent"), "\(text)")
        #expect(
            await ChildProcess.run(PluginCommand("true", ["a\0b"]))
                == .notStarted("an argument contains a NUL character"))
    }

    @Test("A name is looked up in PATH, a path is relative to the working directory")
    func lookUp() async throws {
        let scratch = try Scratch()
        try scratch.script("tool", "echo \"$0 in $(pwd)\"")
        let byName = await ChildProcess.runCollecting(
            PluginCommand("tool", []), workingDirectory: "/", environment: ["PATH": "/bin:\(scratch.path)"])
        #expect(byName == (.exited(0), "\(scratch.path)/tool in /\n"))
        let byPath = await ChildProcess.runCollecting(
            PluginCommand("./tool", []), workingDirectory: scratch.path, environment: Self.path)
        #expect(byPath == (.exited(0), "./tool in \(scratch.path)\n"))
        // PATH set for the command counts.
        let own = await ChildProcess.run(
            PluginCommand("tool", [], environment: ["PATH": scratch.path]), environment: Self.path)
        #expect(own == .exited(0))
    }

    @Test("Settings of the agent stay with the agent")
    func environment() async throws {
        let base = [
            "PATH": "/usr/bin:/bin", "HOME": "/root", "PATRONI_SUPERUSER_PASSWORD": "x", "MATRIARCH_CONFIG": "x",
            "KUBERNETES_SERVICE_HOST": "x", "NOTIFY_SOCKET": "x", "LISTEN_FDS": "1", "PGHOST": "kept", "1ST": "x",
        ]
        #expect(ChildEnvironment.sanitized(base) == ["PATH": "/usr/bin:/bin", "HOME": "/root", "PGHOST": "kept"])
        #expect(ChildEnvironment.inherited()["PATH"] != nil)
        let command = PluginCommand("env", [], environment: ["MATRIARCH_FENCE": "1.2", "PGPASSFILE": "/x"])
        let (_, text) = await ChildProcess.runCollecting(command, environment: base)
        #expect(
            text.split(separator: "\n").sorted() == [
                "HOME=/root", "MATRIARCH_FENCE=1.2", "PATH=/usr/bin:/bin", "PGHOST=kept", "PGPASSFILE=/x",
            ])
    }

    @Test("It has no input, three descriptors, a group of its own and default signals")
    func surroundings() async throws {
        // The fourth is the directory that ls reads.
        let descriptors = await ChildProcess.runCollecting(
            PluginCommand("ls", ["/proc/self/fd"]), environment: Self.path)
        #expect(descriptors == (.exited(0), "0\n1\n2\n3\n"))
        let (end, text) = await ChildProcess.runCollecting(
            shell("cat; ps -o pgid= -p $$ | tr -d ' '; echo $$"), environment: Self.path)
        #expect(end == .exited(0))
        let lines = text.split(separator: "\n").map(String.init)
        #expect(lines.count == 2)
        #expect(lines.first == lines.last)
        let (_, masks) = await ChildProcess.runCollecting(
            PluginCommand("grep", ["-E", "^Sig(Blk|Ign)", "/proc/self/status"]), environment: Self.path)
        // Above 31 the C library keeps signals for itself.
        for line in masks.split(separator: "\n") {
            let mask = try #require(UInt64(line.dropFirst("SigBlk:\t".count), radix: 16))
            #expect(mask & 0x7FFF_FFFF == 0, "\(line)")
        }
        #expect(masks.split(separator: "\n").count == 2)
    }

    @Test("Arguments arrive as they are")
    func arguments() async {
        let words = ["", " ", "a b", "$HOME", "'", "\"", "\\", "ä", "--x=y z", "*"]
        let command = PluginCommand("/bin/sh", ["-c", #"for word; do printf '<%s>' "$word"; done"#, "sh"] + words)
        let (_, text) = await ChildProcess.runCollecting(command)
        #expect(text == words.map { "<\($0)>" }.joined())
    }

    @Test("Neither descriptors nor zombies are left behind")
    func leaks() async throws {
        _ = await ChildProcess.run(shell("true"))
        func count() -> Int {
            guard let directory = opendir("/proc/self/fd") else { return -1 }
            defer { closedir(directory) }
            var count = 0
            while readdir(directory) != nil { count += 1 }
            return count
        }
        let before = count()
        let scratch = try Scratch()
        try scratch.script("noformat", "echo hello", shebang: false)
        for number in 0..<300 {
            switch number % 5 {
            case 0: _ = await ChildProcess.run(shell("echo x; exit 1"))
            case 1: _ = await ChildProcess.run(shell("sleep 300", deadline: .milliseconds(10)))
            case 2: _ = await ChildProcess.run(PluginCommand("/nonexistent", []))
            case 3: _ = await ChildProcess.run(PluginCommand("\(scratch.path)/noformat", []))
            default: _ = await ChildProcess.run(PluginCommand("true", []), workingDirectory: "/nonexistent")
            }
        }
        // Other tests of this suite run at the same time and hold some; a leak would be more.
        #expect(await eventually { count() <= before + 40 })
        #expect(
            await eventually {
                var info = siginfo_t()
                let code = waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT)
                return code != 0 || info.si_signo == 0
            })
    }

    @Test("Many at once")
    func many() async {
        let ends = await withTaskGroup(of: (Int, CommandEnd, String).self) { group in
            for number in 0..<40 {
                group.addTask {
                    let (end, text) = await ChildProcess.runCollecting(
                        PluginCommand("/bin/sh", ["-c", "echo \(number); exit \(number)"]))
                    return (number, end, text)
                }
            }
            var all: [(Int, CommandEnd, String)] = []
            for await one in group { all.append(one) }
            return all
        }
        #expect(ends.count == 40)
        for (number, end, text) in ends {
            #expect(end == .exited(Int32(number)))
            #expect(text == "\(number)\n")
        }
    }
}
