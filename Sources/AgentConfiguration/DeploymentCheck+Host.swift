import Glibc

extension DeploymentCheck.Probes {
    /// The host this runs on.
    public static let host = DeploymentCheck.Probes(
        bindingFailure: { HostProbes.bindingFailure($0) },
        majorVersion: { HostProbes.majorVersion($0) },
        isExecutable: { HostProbes.locate($0) != nil },
        isReadable: { access($0, R_OK) == 0 },
        dataDirectory: { HostProbes.dataDirectory($0) })
}

private enum HostProbes {
    /// How long a program may take to print its version.
    static let patience: Int32 = 5000

    static func bindingFailure(_ place: HostPort) -> String? {
        var hints = addrinfo()
        hints.ai_flags = AI_PASSIVE
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        let host: String? = ["", "*"].contains(place.host) ? nil : place.host
        let code = getaddrinfo(host, String(place.port), &hints, &found)
        guard code == 0 else { return String(cString: gai_strerror(code)) }
        defer { freeaddrinfo(found) }
        var failure: String? = "no address"
        var next = found
        while let address = next {
            next = address.pointee.ai_next
            let descriptor = socket(
                address.pointee.ai_family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            guard descriptor >= 0 else { continue }
            defer { close(descriptor) }
            var one: Int32 = 1
            setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
            if bind(descriptor, address.pointee.ai_addr, address.pointee.ai_addrlen) == 0, listen(descriptor, 1) == 0 {
                failure = nil
            } else if errno == EADDRINUSE {
                return lastError()
            } else if failure != nil {
                failure = lastError()
            }
        }
        return failure
    }

    /// A path as it is, a name as the first executable along `PATH`.
    static func locate(_ program: String) -> String? {
        if program.contains("/") { return access(program, X_OK) == 0 ? program : nil }
        guard let path = getenv("PATH").map({ String(cString: $0) }) else { return nil }
        return path.split(separator: ":").map { "\($0)/\(program)" }.first { access($0, X_OK) == 0 }
    }

    static func majorVersion(_ program: String) -> Result<Int, DeploymentCheck.ProbeFailure> {
        guard let path = locate(program) else { return .failure(.init("not found")) }
        guard let output = output(of: path, argument: "--version") else { return .failure(.init("it printed nothing")) }
        // postgres (PostgreSQL) 15.18 (Debian ...), 19devel
        guard let word = output.split(separator: " ").dropFirst().first(where: { $0.first?.isNumber == true }),
            let major = Int(word.prefix { $0.isNumber })
        else { return .failure(.init("it printed '\(output.prefix(60))'")) }
        return .success(major)
    }

    /// The first line a program prints within the patience; nil when there is none.
    private static func output(of path: String, argument: String) -> String? {
        var pipes: [Int32] = [-1, -1]
        guard pipe(&pipes) == 0 else { return nil }
        for descriptor in pipes { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
        defer { close(pipes[0]) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, pipes[1], 1)
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        var arguments: [UnsafeMutablePointer<CChar>?] = [strdup(path), strdup(argument), nil]
        var variables: [UnsafeMutablePointer<CChar>?] = [strdup("LC_ALL=C"), nil]
        defer { for pointer in arguments + variables { free(pointer) } }
        var pid: pid_t = 0
        let code = posix_spawn(&pid, path, &actions, nil, &arguments, &variables)
        close(pipes[1])
        guard code == 0 else { return nil }
        var bytes: [UInt8] = []
        var waiting = pollfd(fd: pipes[0], events: Int16(POLLIN), revents: 0)
        while bytes.count < 4096, !bytes.contains(UInt8(ascii: "\n")), poll(&waiting, 1, patience) == 1 {
            var buffer = [UInt8](repeating: 0, count: 512)
            let count = read(pipes[0], &buffer, buffer.count)
            guard count > 0 else { break }
            bytes.append(contentsOf: buffer[..<count])
        }
        // It has said what it has to say, or took too long: either way it is not waited for any longer.
        kill(pid, SIGKILL)
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        let line = String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
        return line.isEmpty ? nil : line
    }

    static func dataDirectory(_ path: String) -> DeploymentCheck.DataDirectory {
        guard let directory = opendir(path) else {
            return errno == ENOENT ? .missing : .unreadable(lastError())
        }
        defer { closedir(directory) }
        var isEmpty = true
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { raw in
                String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix("."), name != "lost+found" { isEmpty = false }
        }
        if isEmpty { return .empty }
        guard access(path + "/global/pg_control", F_OK) == 0 else {
            // Without the right to enter it, nothing can be said of what it is.
            return errno == EACCES ? .unreadable(lastError()) : .foreign
        }
        let descriptor = open(path + "/PG_VERSION", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return errno == ENOENT ? .foreign : .unreadable(lastError()) }
        defer { close(descriptor) }
        var buffer = [UInt8](repeating: 0, count: 16)
        let count = read(descriptor, &buffer, buffer.count)
        guard count > 0,
            let major = Int(String(decoding: buffer[..<count].prefix { (48...57).contains($0) }, as: UTF8.self))
        else { return .foreign }
        return .cluster(majorVersion: major)
    }

    private static func lastError() -> String { String(cString: strerror(errno)) }
}
