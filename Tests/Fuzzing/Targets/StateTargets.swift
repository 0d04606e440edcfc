import CLeaseGuard
import ClusterModel
import Glibc
import HighAvailability

@testable import AgentRuntime
@testable import LeaseGuard
@testable import OperatorCLI
@testable import RESTServer

extension FuzzTarget {
    /// Times as people, peers and operators write them.
    static let time = FuzzTarget("time", reads: "ISO 8601 times, schedules, timeouts", maximumLength: 128) { bytes in
        let text = text(bytes)
        if let (time, hasZone) = WallTime.parse(text) {
            let written = time.iso8601()
            try require(WallTime.parse(written)?.time == time, "\(text) is written as \(written)")
            // The day that was written is the day that is meant.
            if !hasZone || text.hasSuffix("Z"), !text.contains(":60") {
                try require(written.utf8.prefix(10).elementsEqual(text.utf8.prefix(10)), "\(text) becomes \(written)")
            }
            _ = HTTPDate.text(time)
            _ = time + .seconds(1)
            _ = time - WallTime(seconds: 1_700_000_000)
        }
        let now = WallTime(seconds: 1_700_000_000)
        if let time = try? OperatorBodies.schedule(.string(text), now: now) {
            try require(time > now, "a schedule in the past: \(time.iso8601())")
        }
        if let duration = OperatorBodies.duration(.string(text)) { try require(duration >= .zero, "\(duration)") }
        if let value = try? JSONValue.parse(text) { _ = OperatorBodies.duration(value) }
        if let time = try? ScheduleTime.parse(text) {
            try require(WallTime.parse(time)?.hasZone == true, "a schedule without zone: \(time)")
        }
        if let size = ByteSize.parse(text) { try require(size < 9_000_000_000_000_000_000, "\(size)") }
        if let network = IPNetwork(text) {
            try require(network.prefixLength <= network.address.count * 8, "\(network)")
            _ = (network.contains("10.0.0.1"), network.contains("::1"), network.contains(text))
        }
        if let fence = Fence(text) { try require(Fence(fence.description) == fence, "\(fence) is not read again") }
    }

    /// The agent's own files, half written or damaged: the first line names the file.
    static let stateFiles = FuzzTarget(
        "state-files", reads: "the state directory: promotion marker, saved session, cache"
    ) {
        bytes in
        let (name, body) = Parts.headed(text(bytes))
        guard ["promotion", "session", "patroni.dynamic.json"].contains(name) else { return }
        let directory = StateDirectory(path: scratch)
        // The boot and the machine are told by no seed.
        let content = body.replacing("BOOT", with: StateDirectory.boot).replacing(
            "MACHINE", with: StateDirectory.machine)
        try plainWrite(scratch + "/" + name, Array(content.utf8))
        defer { unlink(scratch + "/" + name) }
        if let marker = directory.marker() {
            try directory.save(marker)
            try require(directory.marker() == marker, "\(marker) is read again as something else")
        }
        if let session = directory.session() {
            try directory.save(session: session)
            try require(directory.session() == session, "a session is read again as something else")
        }
        _ = DynamicCache.read(scratch)
        _ = LogTail.lastErrors(scratch + "/" + name, from: body.utf8.count / 2)
    }

    /// A packet from the guard's socket.
    static let guardPacket = FuzzTarget(
        "guard-packet", reads: "the guard's packets, as the agent reads them", maximumLength: 3072
    ) { bytes in
        func read(_ bytes: [UInt8]) throws {
            guard let packet = bytes.withUnsafeBytes({ GuardPacket($0) }) else { return }
            let status = GuardStatus(packet.status)
            try require(status.dataDirectory?.utf8.count ?? 0 <= 3 * Int(MG_DIRECTORY_LIMIT), "a directory without end")
            try require(packet.text.utf8.count <= 3 * bytes.count, "more text than was sent")
            if let quit = status.quit, let kill = status.kill { _ = kill - quit }
        }
        try read(bytes)
        // The header and the length made right, which the fuzzer would seldom manage.
        let fixed = MemoryLayout<mg_message>.size
        var whole = bytes + Array(repeating: 0, count: max(0, fixed - bytes.count))
        var message = mg_message()
        withUnsafeMutableBytes(of: &message) { $0.copyBytes(from: whole[..<fixed]) }
        message.header.magic = MG_MAGIC
        message.header.version = UInt16(MG_PROTOCOL_VERSION)
        message.header.type = UInt16(MG_REPORT.rawValue)
        message.text_length = UInt32(whole.count - fixed)
        withUnsafeBytes(of: &message) { whole.replaceSubrange(..<fixed, with: $0) }
        try read(whole)
    }

    private static let scratch: String = {
        let path = "/tmp/matriarch-fuzz.\(getpid())"
        mkdir(path, 0o700)
        atexit { rmdir("/tmp/matriarch-fuzz.\(getpid())") }
        return path
    }()

    private static func plainWrite(_ path: String, _ bytes: [UInt8]) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw FuzzFinding("\(path) cannot be written") }
        _ = write(descriptor, bytes, bytes.count)
        close(descriptor)
    }
}
