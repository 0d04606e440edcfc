package import Glibc

extension TestCluster {
    package func pid(_ member: Member, _ victim: Victim) throws -> pid_t {
        let pid =
            switch victim {
            case .agent: member.agentPid
            case .guardProcess: member.guardPid
            case .postmaster: member.postmasterPid
            }
        guard let pid else { throw SystemFailure("\(member.name) has no \(victim) that runs") }
        return pid
    }

    package func send(_ signal: Int32, to member: Member, _ victims: Victim...) throws {
        let pids = try victims.map { try pid(member, $0) }
        for pid in pids { kill(pid, signal) }
    }

    /// Everything of a member at once: as if its host had gone.
    package func killAll(_ member: Member) throws {
        try killAll([member])
    }

    /// Everything of these members at once: as if the power had gone.
    package func killAll(_ members: [Member]) throws {
        let pids = try members.flatMap(everything)
        for pid in pids { kill(pid, SIGKILL) }
        try waitUntil("\(members.map(\.name).joined(separator: ", ")) are dead", within: 5) {
            !pids.contains(where: isAlive) && members.allSatisfy { $0.agentPid == nil }
        }
    }

    /// Agent, guard and all of PostgreSQL.
    package func everything(_ member: Member) throws -> [pid_t] {
        let postmaster = try pid(member, .postmaster)
        return [try pid(member, .agent), try pid(member, .guardProcess), postmaster] + descendants(of: postmaster)
    }

    /// A process of a member's PostgreSQL by a word of its title, such as `walwriter`.
    package func postgresProcess(_ member: Member, _ title: String) throws -> pid_t {
        try waitUntil("\(member.name) has a \(title)", within: 5) {
            children(of: try pid(member, .postmaster)).first { pid in
                (readText("/proc/\(pid)/cmdline") ?? "").contains(title)
            }
        }
    }

    /// The server process of a writer's session.
    package func backend(_ member: Member) throws -> pid_t {
        let text = try query(
            member, "select pid from pg_stat_activity where application_name = 'writer' order by backend_start limit 1")
        guard let pid = pid_t(text) else { throw SystemFailure("\(member.name) has no session of a writer") }
        return pid
    }
}
