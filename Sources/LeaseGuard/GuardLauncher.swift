import CLeaseGuard
import ClusterModel
import Glibc

/// Finding, launching and greeting a guard. Everything here blocks, up to its deadline: never called on the cooperative pool.
struct GuardLauncher {
    var stateDirectory: String
    var executable: String
    var launch: Bool
    var longestTerm: Duration
    var until: Instant

    struct Greeting {
        var socket: Int32
        var page: GuardPage
        var status: GuardStatus
        var nextSequence: UInt64
    }

    private enum Attempt {
        case greeted(Greeting)
        case nobody(String)
        case failed(GuardError)
    }

    func connect() -> Result<Greeting, GuardError> {
        var launched = false
        while true {
            let reason: String
            switch attempt() {
            case .greeted(let greeting): return .success(greeting)
            case .failed(let error): return .failure(error)
            case .nobody(let why): reason = why
            }
            if !launch { return .failure(GuardError(.unreachable, "no guard in \(stateDirectory): \(reason)")) }
            if BootClock.now >= until {
                return .failure(GuardError(.timedOut, "no guard in \(stateDirectory) in time: \(reason)"))
            }
            if !launched {
                if let error = start() { return .failure(error) }
                launched = true
            } else {
                usleep(10_000)
            }
        }
    }

    private func attempt() -> Attempt {
        let directory = mg_open_directory(stateDirectory)
        if directory < 0 { return .nobody(describe(errno)) }
        defer { close(directory) }
        let socket = mg_socket_connect(directory, "guard.sock")
        if socket < 0 {
            switch errno {
            case ENOENT, ECONNREFUSED, EAGAIN: return .nobody(describe(errno))
            default:
                return .failed(
                    GuardError(.unreachable, "cannot connect to \(stateDirectory)/guard.sock: \(describe(errno))"))
            }
        }
        var uid: uid_t = 0
        // A guard of another account may be anybody's program.
        if mg_socket_peer(socket, nil, &uid) != 0 || (uid != getuid() && getuid() != 0) {
            close(socket)
            return .failed(
                GuardError(.incompatible, "\(stateDirectory)/guard.sock belongs to another account (\(uid))"))
        }
        var hello = mg_request()
        hello.header = mg_header(
            magic: MG_MAGIC, version: UInt16(MG_PROTOCOL_VERSION), type: UInt16(MG_HELLO.rawValue), sequence: 1)
        hello.pid = getpid()
        hello.duration = longestTerm.nanosecondsClamped
        if mg_socket_send(socket, &hello, MemoryLayout<mg_request>.size, nil, 0, nil, 0) != 0 {
            close(socket)
            return .nobody(describe(errno))
        }
        if mg_wait_readable(socket, until.nanoseconds) <= 0 {
            close(socket)
            return .failed(GuardError(.timedOut, "the guard in \(stateDirectory) does not answer"))
        }
        return greeting(socket)
    }

    private func greeting(_ socket: Int32) -> Attempt {
        let received = GuardPacket.receive(socket)
        switch received {
        case .packet(let message, let descriptors):
            guard message.isReply, !message.refused, descriptors.count == 2 else {
                for descriptor in descriptors { close(descriptor) }
                close(socket)
                return .failed(
                    GuardError(.incompatible, message.text.isEmpty ? "the guard's greeting is malformed" : message.text)
                )
            }
            guard let mapped = mg_page_map(descriptors[0]) else {
                let reason = describe(errno)
                for descriptor in descriptors { close(descriptor) }
                close(socket)
                return .failed(GuardError(.incompatible, "the guard's page cannot be used: \(reason)"))
            }
            close(descriptors[0])
            let status = GuardStatus(message.status)
            let page = GuardPage(page: mapped, event: descriptors[1], status: message.status)
            return .greeted(Greeting(socket: socket, page: page, status: status, nextSequence: 2))
        case .nothing, .ended:
            // It ended between accepting and answering: whoever launches next finds its place free.
            close(socket)
            return .nobody("it ended during the greeting")
        case .malformed(let reason):
            close(socket)
            return .failed(GuardError(.incompatible, "the guard's greeting is malformed: \(reason)"))
        }
    }

    /// Nil when the daemon listens, or another one does.
    private func start() -> GuardError? {
        let words = [executable, "--state-dir", stateDirectory]
        var pointers: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
        pointers.append(nil)
        defer { for pointer in pointers { free(pointer) } }
        var message = [CChar](repeating: 0, count: 512)
        let status = mg_run(executable, &pointers, until.nanoseconds, &message, message.count)
        if status < 0 {
            let code = errno
            if code == ETIMEDOUT {
                return GuardError(.timedOut, "\(executable) was not ready in time")
            }
            return GuardError(.launchFailed, "cannot run \(executable): \(describe(code))")
        }
        if status == 0 { return nil }
        // 3: a guard runs already. It may be on its way out or not listening yet; the loop goes on asking.
        if status & 0x7f == 0, status >> 8 == 3 { return nil }
        let bytes = message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        let text = String(decoding: bytes, as: UTF8.self)
        let outcome = status & 0x7f == 0 ? "ended with status \(status >> 8)" : "ended by signal \(status & 0x7f)"
        let said = text.split(separator: "\n").joined(separator: "; ")
        return GuardError(.launchFailed, said.isEmpty ? "\(executable) \(outcome)" : said)
    }
}

func describe(_ code: Int32) -> String {
    String(cString: strerror(code))
}
