#if ZooKeeper
    import ClusterModel
    import Dispatch
    import Glibc
    import PluginInterfaces

    /// What a server says of itself on a short connection of its own (the four-letter words `srvr` and `conf`).
    ///
    /// `srvr` is answered unless the administrator forbade it; `conf` only where he allowed it.
    struct ServerProbe: Hashable, Sendable {
        /// nil: the server answered, but is not serving.
        var role: ServerRole?
        /// From `conf`, where allowed.
        var tick: Duration?
        /// The newest transaction that it knows.
        var newest: UInt64?

        /// Reads the newest transaction from the answer to `srvr`.
        static func newest(in answer: String) -> UInt64? {
            for line in answer.split(whereSeparator: \.isNewline) where line.hasPrefix("Zxid: 0x") {
                return UInt64(line.dropFirst(8).prefix { !$0.isWhitespace }, radix: 16)
            }
            return nil
        }

        /// Reads the answer to `srvr`.
        static func role(in answer: String) -> ServerRole? {
            for line in answer.split(whereSeparator: \.isNewline) where line.hasPrefix("Mode:") {
                switch line.dropFirst(5).drop(while: \.isWhitespace) {
                case "standalone": return .standalone
                case "leader": return .leader
                // Cut off from its ensemble: it answers reads, to those who want to be answered so.
                case "read-only": return nil
                default: return .follower
                }
            }
            return nil
        }

        /// Reads the answer to `conf`.
        static func tick(in answer: String) -> Duration? {
            for line in answer.split(whereSeparator: \.isNewline) where line.hasPrefix("tickTime=") {
                guard let number = Int64(line.dropFirst(9)), number > 0 else { return nil }
                return .milliseconds(number)
            }
            return nil
        }

        /// Asks one server; nil when it does not answer in time. Blocks: on a queue of its own.
        static func ask(_ server: ServerAddress, within limit: Duration, tick wantsTick: Bool) -> ServerProbe? {
            let deadline = SystemClock.now() + limit
            guard let answer = exchange("srvr", with: server, until: deadline) else { return nil }
            var probe = ServerProbe(role: role(in: answer), newest: newest(in: answer))
            if wantsTick { probe.tick = exchange("conf", with: server, until: deadline).flatMap(tick(in:)) }
            return probe
        }

        private static let queue = DispatchQueue(label: "zookeeper.probes", attributes: .concurrent)

        /// Asks all servers at once; the answers in the servers' order. Blocks as long as the slowest, within the limit.
        static func askAll(_ servers: [ServerAddress], within limit: Duration) -> [ServerProbe?] {
            let answers = ProbeAnswers(count: servers.count)
            let group = DispatchGroup()
            for (index, server) in servers.enumerated() {
                queue.async(group: group) { answers[index] = ask(server, within: limit, tick: false) }
            }
            group.wait()
            return answers.all
        }

        /// The order in which to try servers: the leader first, then whoever serves, then whoever did not answer.
        static func order(_ servers: [ServerAddress], _ answers: [ServerProbe?]) -> [ServerAddress] {
            func rank(_ probe: ServerProbe?) -> Int {
                guard let probe else { return 3 }
                switch probe.role {
                case .leader, .standalone: return 0
                case .follower: return 1
                case nil: return 2
                }
            }
            return zip(servers, answers).enumerated()
                .sorted { (rank($0.element.1), $0.offset) < (rank($1.element.1), $1.offset) }
                .map(\.element.0)
        }

        /// Sends four letters and reads to the end.
        private static func exchange(_ word: String, with server: ServerAddress, until deadline: Instant) -> String? {
            var hints = addrinfo()
            hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
            hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV
            var list: UnsafeMutablePointer<addrinfo>?
            guard getaddrinfo(server.host, String(server.port), &hints, &list) == 0, let entry = list?.pointee else {
                return nil
            }
            defer { freeaddrinfo(list) }
            let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
            let descriptor = socket(entry.ai_family, kind, 0)
            guard descriptor >= 0 else { return nil }
            defer { close(descriptor) }
            if connect(descriptor, entry.ai_addr, entry.ai_addrlen) != 0 {
                guard errno == EINPROGRESS, ready(descriptor, Int16(POLLOUT), until: deadline) else { return nil }
            }
            let letters = Array(word.utf8)
            let sent = send(descriptor, letters, letters.count, Int32(truncatingIfNeeded: MSG_NOSIGNAL))
            guard sent == letters.count else { return nil }
            var answer: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 4096)
            while answer.count < 64 * 1024 {
                guard ready(descriptor, Int16(POLLIN), until: deadline) else { return nil }
                let count = recv(descriptor, &buffer, buffer.count, 0)
                if count > 0 {
                    answer += buffer.prefix(count)
                } else if count == 0 || errno == ECONNRESET {
                    break
                } else if errno != EAGAIN, errno != EINTR {
                    return nil
                }
            }
            return answer.isEmpty ? nil : String(decoding: answer, as: UTF8.self)
        }

        private static func ready(_ descriptor: Int32, _ events: Int16, until deadline: Instant) -> Bool {
            while true {
                let left = (deadline - SystemClock.now()).milliseconds
                guard left > 0 else { return false }
                var request = pollfd(fd: descriptor, events: events, revents: 0)
                let count = poll(&request, 1, Int32(clamping: left))
                if count > 0 { return true }
                if count < 0, errno != EINTR { return false }
            }
        }
    }
#endif
