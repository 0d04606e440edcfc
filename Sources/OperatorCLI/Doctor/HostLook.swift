import AgentConfiguration
import ConfigurationTree
import Dispatch
import Glibc
import LeaseGuard

/// Looks at this host. Blocks, the guard's trial aside: not for the cooperative pool.
enum HostLook {
    static func facts(_ settings: Settings, configuration path: String) async -> HostFacts {
        let trial = await tryGuard(settings.guardProcess.executable)
        return await withCheckedContinuation { continuation in
            DispatchQueue(label: "matriarch.doctor").async {
                continuation.resume(returning: look(settings, path, trial))
            }
        }
    }

    private static func look(_ settings: Settings, _ path: String, _ trial: HostFacts.GuardTrial) -> HostFacts {
        var facts = HostFacts(account: geteuid())
        facts.fencing = trial
        let probes = DeploymentCheck.Probes.host
        facts.deployment = DeploymentCheck.run(settings, ignoringPorts: true, probes: probes)
        facts.server = settings.postgresql.executable(.postgres)
        if case .success(let version) = probes.majorVersion(facts.server) { facts.serverVersion = version }

        facts.configurationFiles = holdsSecrets(settings.tree) ? files(of: path) : []
        let api = settings.restAPI
        let control = settings.control
        let named = [api.keyFile, control.keyFile, settings.postgresql.pgpass, settings.store.node["key"]?.text]
        facts.secretFiles = Set(named.compactMap(\.self).filter { $0.hasPrefix("/") }).sorted()
        let data = settings.postgresql.dataDirectory
        let directories = [data, settings.stateDirectory].flatMap { [$0, DoctorRules.parent(of: $0)] }
        for place in directories + facts.configurationFiles + facts.secretFiles {
            facts.places[place] = self.place(place)
        }

        facts.isAgentRunning = isLocked(settings.stateDirectory + "/agent.lock")
        facts.isServerRunning = isRunning(data + "/postmaster.pid")
        facts.apiPortFailure = probes.bindingFailure(api.listen)
        for address in settings.postgresql.listenAddresses {
            let place = HostPort(host: address, port: settings.postgresql.port)
            facts.serverPortFailures[place.description] = probes.bindingFailure(place)
        }
        facts.hasWatchdog = access(settings.watchdog.device, F_OK) == 0
        facts.clockSource = firstLine("/sys/devices/system/clocksource/clocksource0/current_clocksource")
        facts.isClockSynchronized = HostClock.isSynchronized
        return facts
    }

    // MARK: Files

    private static func place(_ path: String) -> HostFacts.Place {
        var status = stat()
        guard stat(path, &status) == 0 else { return HostFacts.Place() }
        let kind: HostFacts.Place.Kind
        switch status.st_mode & S_IFMT {
        case S_IFDIR: kind = .directory
        case S_IFREG: kind = .file
        default: kind = .other
        }
        return HostFacts.Place(
            kind: kind, owner: status.st_uid, mode: status.st_mode & 0o777, device: UInt64(status.st_dev),
            isWritable: access(path, W_OK) == 0)
    }

    /// The file itself, or the YAML files of a directory.
    private static func files(of path: String) -> [String] {
        guard let directory = opendir(path) else { return [path] }
        defer { closedir(directory) }
        var found: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name.hasSuffix(".yml") || name.hasSuffix(".yaml") { found.append(path + "/" + name) }
        }
        return found.sorted()
    }

    /// Whether anything in there has the name of a secret.
    static func holdsSecrets(_ node: ConfigurationNode) -> Bool {
        switch node.content {
        case .map(let pairs):
            return pairs.contains { pair in
                let key = pair.key.lowercased()
                let isSecret = ["password", "token", "auth_data", "secret"].contains { key.contains($0) }
                return (isSecret && !(pair.value.text ?? "x").isEmpty) || holdsSecrets(pair.value)
            }
        case .list(let elements): return elements.contains(where: holdsSecrets)
        default: return false
        }
    }

    private static func firstLine(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var buffer = [UInt8](repeating: 0, count: 256)
        let count = read(descriptor, &buffer, buffer.count)
        let line = buffer.prefix(max(0, count)).prefix { $0 != UInt8(ascii: "\n") }
        return line.isEmpty ? nil : String(decoding: line, as: UTF8.self)
    }

    // MARK: Processes

    private static func isLocked(_ path: String) -> Bool {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        return flock(descriptor, LOCK_SH | LOCK_NB) != 0
    }

    private static func isRunning(_ pidFile: String) -> Bool {
        guard let pid = firstLine(pidFile).flatMap({ pid_t($0) }), pid > 0 else { return false }
        return kill(pid, 0) == 0 || errno == EPERM
    }

    /// Runs a guard that has nothing to guard, and asks what it lacks.
    private static func tryGuard(_ executable: String?) async -> HostFacts.GuardTrial {
        let above = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array("\(above)/matriarch-doctor.XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            return .failed("no directory can be made for its trial: \(String(cString: strerror(errno)))")
        }
        let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        var result: HostFacts.GuardTrial
        do throws(GuardError) {
            let client = try await GuardClient.connect(
                stateDirectory: directory, executable: executable ?? GuardClient.defaultExecutable)
            let status = try await client.status()
            result = .ran(lacking: status.degradations)
            try await client.leave()
            let limit = ContinuousClock.now + .seconds(2)
            while kill(status.pid, 0) == 0, ContinuousClock.now < limit {
                try? await Task.sleep(for: .milliseconds(10))
            }
        } catch {
            result = .failed(error.description)
        }
        for name in ["guard.sock", "guard.lock", "guard.log"] { unlink(directory + "/" + name) }
        rmdir(directory)
        return result
    }
}
