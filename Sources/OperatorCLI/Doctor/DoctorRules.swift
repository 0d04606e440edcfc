import AgentConfiguration
import ClusterModel
import ConfigurationTree
import HighAvailability
import PluginInterfaces

/// Judges what was seen. Pure.
enum DoctorRules {
    static func judge(_ facts: DoctorFacts) -> [DoctorFinding] {
        var found = configuration(facts.complaints)
        if let settings = facts.settings {
            if let host = facts.host {
                found += programs(host) + files(settings, host) + secrets(host) + fencing(settings, host)
                found += api(settings) + ports(settings, host) + clock(host)
            }
            if let store = facts.store { found += self.store(store) + lease(store) }
        }
        let order = DoctorFinding.Area.allCases
        return order.flatMap { area in found.filter { $0.area == area } }
    }

    static func configuration(_ complaints: [ConfigurationComplaint]) -> [DoctorFinding] {
        let found = complaints.map {
            DoctorFinding(.configuration, $0.severity == .error ? .error : .warning, $0.description)
        }
        return found.isEmpty ? [DoctorFinding(.configuration, .fine, "the configuration has no faults")] : found
    }

    // MARK: Programs and files

    static func programs(_ host: HostFacts) -> [DoctorFinding] {
        var found = host.deployment.map { DoctorFinding(.programs, .error, $0.description) }
        if let version = host.serverVersion, DeploymentCheck.supportedVersions.contains(version) {
            found.append(DoctorFinding(.programs, .fine, "\(host.server) is PostgreSQL \(version)"))
        }
        return found
    }

    static func files(_ settings: Settings, _ host: HostFacts) -> [DoctorFinding] {
        var found: [DoctorFinding] = []
        if host.account == 0 {
            found.append(
                DoctorFinding(
                    .files, .warning, "this runs as root, who may do everything: nothing is said of what the agent may",
                    remedy: "run it as the account that runs the agent: sudo -u postgres matriarch doctor ..."))
        }
        let data = settings.postgresql.dataDirectory
        let state = settings.stateDirectory
        found += directory("the data directory", data, modes: [0o700, 0o750], host)
        found += directory("the state directory", state, modes: [0o700], host)
        if isInside(state, data) {
            found.append(
                DoctorFinding(
                    .files, .error,
                    "state_dir \(state) lies inside the data directory, where a new copy would remove it",
                    remedy: "set state_dir to a directory elsewhere"))
        }
        let above = parent(of: data)
        if let place = host.places[data], place.kind == .directory, let outside = host.places[above] {
            if place.device != outside.device {
                found.append(
                    DoctorFinding(
                        .files, .warning,
                        "\(data) is a file system of its own: a new copy cannot be built beside the old data",
                        remedy: "use a directory below the mount point as data_dir"))
            } else if !outside.isWritable, host.account != 0 {
                found.append(
                    DoctorFinding(
                        .files, .warning,
                        "\(above) cannot be written to: a new copy of the data cannot be built beside the old one",
                        remedy: "give the agent's account the right to make directories in \(above)"))
            }
        }
        return found
    }

    private static func directory(
        _ what: String, _ path: String, modes: [UInt32], _ host: HostFacts
    ) -> [DoctorFinding] {
        let place = host.places[path] ?? HostFacts.Place()
        switch place.kind {
        case .missing:
            let above = parent(of: path)
            guard let outside = host.places[above], outside.kind == .directory else {
                return [
                    DoctorFinding(
                        .files, .error, "\(what) \(path) cannot be made: there is no \(above)",
                        remedy: "make \(above), and give it to the account that runs the agent")
                ]
            }
            if !outside.isWritable, host.account != 0 {
                return [
                    DoctorFinding(
                        .files, .error, "\(what) \(path) cannot be made: \(above) cannot be written to",
                        remedy: "make \(path), mode 0700, and give it to the account that runs the agent")
                ]
            }
            return [DoctorFinding(.files, .fine, "\(what) \(path) is not there yet; it can be made")]
        case .file, .other:
            return [
                DoctorFinding(.files, .error, "\(what) \(path) is no directory", remedy: "move away what is there")
            ]
        case .directory:
            if host.account != 0, place.owner != host.account {
                return [
                    DoctorFinding(
                        .files, .error,
                        "\(what) \(path) belongs to account \(place.owner), and this is account \(host.account)",
                        remedy: "run the agent (and this) as its owner, or chown -R it")
                ]
            }
            if host.account == 0, place.owner == 0 {
                return [
                    DoctorFinding(
                        .files, .error, "\(what) \(path) belongs to root, as whom neither agent nor PostgreSQL runs",
                        remedy: "chown -R it to the account that runs the agent")
                ]
            }
            guard modes.contains(place.mode) else {
                return [
                    DoctorFinding(
                        .files, .warning, "\(what) \(path) has mode \(octal(place.mode))",
                        remedy: "chmod \(octal(modes[0])) \(path)")
                ]
            }
            return [DoctorFinding(.files, .fine, "\(what) \(path), mode \(octal(place.mode))")]
        }
    }

    static func secrets(_ host: HostFacts) -> [DoctorFinding] {
        var found: [DoctorFinding] = []
        let all =
            host.configurationFiles.map { ($0, "the configuration, which holds passwords,") }
            + host.secretFiles.map { ($0, "the secret file") }
        for (path, what) in all {
            guard let place = host.places[path], place.kind == .file else { continue }
            if place.mode & 0o006 != 0 {
                let may = place.mode & 0o002 != 0 ? "changed" : "read"
                found.append(
                    DoctorFinding(
                        .secrets, .error, "\(what) \(path) can be \(may) by everybody (mode \(octal(place.mode)))",
                        remedy: "chmod 0600 \(path)"))
            } else if place.mode & 0o020 != 0 {
                found.append(
                    DoctorFinding(
                        .secrets, .warning, "\(what) \(path) can be changed by its group (mode \(octal(place.mode)))",
                        remedy: "chmod 0640 \(path), or 0600"))
            }
        }
        if found.isEmpty, !all.isEmpty {
            found.append(DoctorFinding(.secrets, .fine, "passwords and keys are kept from everybody else"))
        }
        return found
    }

    // MARK: The guard

    static func fencing(_ settings: Settings, _ host: HostFacts) -> [DoctorFinding] {
        var found: [DoctorFinding] = []
        switch host.fencing {
        case .failed(let why):
            found.append(
                DoctorFinding(
                    .fencing, .error, "the guard does not run: \(why)",
                    remedy: "put matriarch-guard beside matriarch, or name it: guard: {executable: ...}"))
        case .ran(let lacking):
            found.append(DoctorFinding(.fencing, .fine, "the guard runs"))
            // It works without; what it lacks makes it later, or a victim, on a host in trouble. A service may have limits
            // that the shell has not from which this is run.
            found += lacking.map {
                DoctorFinding(
                    .fencing, .warning, "the guard, started from here, works, but \($0)",
                    remedy: "start the agent with the limits of examples/matriarch.service: LimitMEMLOCK, "
                        + "OOMScoreAdjust, LimitNICE")
            }
        }
        switch (settings.watchdog.mode, host.hasWatchdog) {
        case (.off, _): break
        case (.required, false):
            found.append(
                DoctorFinding(
                    .fencing, .error, "watchdog.mode is required, and there is no \(settings.watchdog.device)",
                    remedy: "load a watchdog's driver (modprobe softdog), or set mode to automatic"))
        case (_, false):
            found.append(
                DoctorFinding(
                    .fencing, .fine,
                    "there is no \(settings.watchdog.device): guard and postmaster both stopped stay uncovered"))
        case (_, true):
            found.append(DoctorFinding(.fencing, .fine, "\(settings.watchdog.device) is there"))
        }
        return found
    }

    // MARK: API, ports, clock

    static func api(_ settings: Settings) -> [DoctorFinding] {
        let api = settings.restAPI
        let isLocal = ["127.0.0.1", "::1", "localhost"].contains(api.listen.host)
        if isLocal { return [DoctorFinding(.api, .fine, "the API listens on \(api.listen) only")] }
        let isGuarded = api.authentication != nil || (api.usesTLS && api.clientVerification != .none)
        if !isGuarded, api.allowlist.isEmpty, !api.allowlistIncludesMembers {
            return [
                DoctorFinding(
                    .api, .warning,
                    "whoever reaches \(api.listen) can restart, switch over and reconfigure this cluster",
                    remedy: "set restapi.authentication, restapi.verify_client or restapi.allowlist")
            ]
        }
        if api.authentication != nil, !api.usesTLS {
            return [
                DoctorFinding(
                    .api, .warning, "the API's password travels without TLS",
                    remedy: "set restapi.certfile and restapi.keyfile")
            ]
        }
        return [DoctorFinding(.api, .fine, "the API asks who changes something")]
    }

    static func ports(_ settings: Settings, _ host: HostFacts) -> [DoctorFinding] {
        func judge(_ place: String, _ failure: String?, isOurs: Bool, _ owner: String) -> DoctorFinding {
            guard let failure else { return DoctorFinding(.ports, .fine, "\(place) is free") }
            if isOurs { return DoctorFinding(.ports, .fine, "\(place) is taken, by \(owner) that runs") }
            return DoctorFinding(
                .ports, .error, "nothing of ours runs, and nobody can listen on \(place): \(failure)",
                remedy: "end what listens there (ss -ltnp shows it), or choose another port")
        }
        var found = [
            judge("\(settings.restAPI.listen)", host.apiPortFailure, isOurs: host.isAgentRunning, "the agent")
        ]
        for address in settings.postgresql.listenAddresses {
            let place = HostPort(host: address, port: settings.postgresql.port).description
            found.append(
                judge(place, host.serverPortFailures[place], isOurs: host.isServerRunning, "the PostgreSQL"))
        }
        return found
    }

    static func clock(_ host: HostFacts) -> [DoctorFinding] {
        var found: [DoctorFinding] = []
        if let source = host.clockSource {
            // The first two are a fall-back of the kernel's, after it has found the processor's own clock to be wrong.
            if ["jiffies", "refined-jiffies", "hpet", "acpi_pm", "pit"].contains(source) {
                found.append(
                    DoctorFinding(
                        .clock, .warning,
                        "the kernel reads its time from \(source): slow to read, and a sign that better ones were given up",
                        remedy: "see the kernel's log for 'clocksource', and the virtual machine's settings"))
            } else {
                found.append(DoctorFinding(.clock, .fine, "the kernel reads its time from \(source)"))
            }
        }
        if host.isClockSynchronized == false {
            found.append(
                DoctorFinding(
                    .clock, .warning,
                    "the wall clock is not synchronized: schedules and logs are off; leases do not depend on it",
                    remedy: "run chrony or systemd-timesyncd"))
        }
        return found
    }

    // MARK: Store and lease

    static func store(_ facts: StoreFacts) -> [DoctorFinding] {
        var found = facts.findings.map { DoctorFinding(.store, $0) }
        if let error = facts.error {
            found.append(
                DoctorFinding(
                    .store, .error, "\(facts.section) cannot be read: \(error)",
                    remedy: "nothing leads without it; check that it runs, its addresses, and who may read there"))
            return found
        }
        let leader = facts.leader.map { "\($0) leads" } ?? "nobody leads"
        let text = "\(facts.section) was read in \(facts.took.milliseconds) ms: \(facts.keys) keys, \(leader)"
        if facts.took > .seconds(1) {
            found.append(
                DoctorFinding(.store, .warning, text, remedy: "a slow store wants a longer retry_timeout and ttl"))
        } else {
            found.append(DoctorFinding(.store, .fine, text))
        }
        return found
    }

    static func lease(_ facts: StoreFacts) -> [DoctorFinding] {
        guard facts.error == nil else { return [] }
        var found = facts.timingComplaints.map { DoctorFinding(.lease, .warning, $0) }
        if let error = facts.sessionError {
            found.append(
                DoctorFinding(
                    .lease, .error, "no session can be opened: \(error)",
                    remedy: "without one this member can neither lead nor show itself"))
        }
        guard let lease = facts.lease else { return found }
        let granted = lease.granted
        guard
            let interval = LeaseDeadlines.renewalInterval(
                granted: granted, wished: lease.wishedInterval, intervalsBehind: lease.intervalsBehind)
        else {
            found.append(DoctorFinding(.lease, .error, LeaseDeadlines.refusal(granted: granted)))
            return found
        }
        let origin = Instant(nanoseconds: 0)
        let deadlines = LeaseDeadlines(notExpiredBefore: origin + granted, granted: granted)
        func at(_ instant: Instant) -> String { seconds(instant - origin) }
        let behind =
            lease.intervalsBehind > 0 ? " (reckoned from \(lease.intervalsBehind) renewals before the last)" : ""
        found.append(
            DoctorFinding(
                .lease, .fine,
                "ttl \(seconds(lease.asked)) (\(facts.timingSource)): the store grants \(seconds(granted)), renewed every "
                    + "\(seconds(interval))\(behind); after the last one a fast stop at \(at(deadlines.finish)), SIGQUIT at "
                    + "\(at(deadlines.quit)), SIGKILL at \(at(deadlines.kill))"))
        if granted > lease.asked + .milliseconds(5) {
            found.append(
                DoctorFinding(
                    .lease, .warning,
                    "the store grants \(seconds(granted)) where ttl asks for \(seconds(lease.asked)): a lost leader is "
                        + "followed that much later",
                    remedy: "lower the shortest session that the store's servers allow, or raise ttl"))
        }
        return found
    }

    // MARK: Small things

    static func seconds(_ duration: Duration) -> String {
        let milliseconds = duration.milliseconds
        let tenths = (milliseconds + 50) / 100
        return tenths % 10 == 0 ? "\(tenths / 10) s" : "\(tenths / 10).\(tenths % 10) s"
    }

    static func octal(_ mode: UInt32) -> String {
        let digits = String(mode, radix: 8)
        return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }

    static func parent(of path: String) -> String {
        let trimmed = path.hasSuffix("/") ? path.dropLast() : path[...]
        guard let slash = trimmed.lastIndex(of: "/") else { return "." }
        return slash == trimmed.startIndex ? "/" : String(trimmed[..<slash])
    }

    static func isInside(_ path: String, _ directory: String) -> Bool {
        let prefix = directory.hasSuffix("/") ? directory : directory + "/"
        return !directory.isEmpty && (path == directory || path.hasPrefix(prefix))
    }
}
