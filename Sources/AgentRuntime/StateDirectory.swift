import ClusterModel
import Glibc
import HighAvailability
import PluginInterfaces

/// The agent's own directory beside the data directory: what must survive a restart. Mode 0700, files 0600.
///
/// All calls block for a moment: not for the cooperative pool's hot paths.
struct StateDirectory: Sendable {
    let path: String

    /// Makes the directory and takes its lock for this process's life.
    /// - Throws: what is in the way, in words.
    func open() throws(AgentError) -> StateLock {
        if mkdir(path, 0o700) != 0, errno != EEXIST {
            throw AgentError("cannot create state_dir \(path): \(errnoText()); create it for this account, mode 0700")
        }
        let descriptor = Glibc.open(path + "/agent.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw AgentError("cannot open \(path)/agent.lock: \(errnoText())") }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            throw AgentError(
                "another agent runs with state_dir \(path): stop it first, or give this member a data_dir of its own")
        }
        ftruncate(descriptor, 0)
        let text = "\(getpid())\n"
        _ = text.withCString { Glibc.write(descriptor, $0, strlen($0)) }
        return StateLock(descriptor: descriptor)
    }

    func read(_ name: String) -> [UInt8]? {
        let descriptor = Glibc.open(path + "/" + name, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while bytes.count < 16 << 20 {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count <= 0 { break }
            bytes.append(contentsOf: buffer[0..<count])
        }
        return bytes
    }

    /// Replaces a file at once and durably.
    func write(_ name: String, _ bytes: [UInt8]) throws(AgentError) {
        let target = path + "/" + name
        let temporary = target + ".new"
        let descriptor = Glibc.open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw AgentError("cannot write \(temporary): \(errnoText())") }
        var offset = 0
        while offset < bytes.count {
            let count = bytes[offset...].withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count <= 0 {
                let why = errnoText()
                close(descriptor)
                throw AgentError("cannot write \(temporary): \(why)")
            }
            offset += count
        }
        let synced = fsync(descriptor)
        close(descriptor)
        guard synced == 0, rename(temporary, target) == 0 else {
            throw AgentError("cannot replace \(target): \(errnoText())")
        }
        let directory = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if directory >= 0 {
            fsync(directory)
            close(directory)
        }
    }

    func remove(_ name: String) {
        unlink(path + "/" + name)
    }

    /// One takes the other's place, if it is there.
    func move(_ name: String, _ other: String) {
        Glibc.rename(path + "/" + name, path + "/" + other)
    }

    // MARK: - Records

    func marker() -> PromotionMarker? {
        guard let bytes = read("promotion"), let value = try? JSONValue.parse(bytes),
            let timeline = value["timeline"]?.integer, let fence = value["fence"]?.string.flatMap({ Fence($0) }),
            timeline > 0, timeline < Int64(UInt32.max)
        else { return nil }
        return PromotionMarker(timeline: Timeline(UInt32(timeline)), fence: fence)
    }

    func save(_ marker: PromotionMarker) throws(AgentError) {
        let value: JSONValue = .object([
            "timeline": .integer(Int64(marker.timeline.number)), "fence": .string(marker.fence.description),
        ])
        try write("promotion", Array(value.serialized().utf8))
    }

    /// What an earlier instance granted, and the newest term that it knew. A record of an earlier boot cannot tell how
    /// much of a grant is left: all of it is.
    func grants(at now: Instant = SystemClock.now()) -> GrantFile {
        guard let bytes = read("grants") else { return .unreadable("there is no \(path)/grants") }
        guard let value = try? JSONValue.parse(bytes), let fence = value["newest_term"]?.string.flatMap({ Fence($0) }),
            let holder = value["holder"]?.string, let until = value["until_ns"]?.integer,
            let lasts = value["lasts_ms"]?.integer, lasts >= 0
        else { return .unreadable("\(path)/grants cannot be understood") }
        let isThisBoot = value["boot"]?.string == Self.boot && value["machine"]?.string == Self.machine
        var record = GrantRecord(
            holder: holder, until: Instant(nanoseconds: until), lasts: .milliseconds(lasts), newestFence: fence)
        record.round = value["round"]?.string.flatMap { UInt64($0) } ?? 0
        record.instance = value["instance"]?.string.flatMap { UInt64($0) } ?? 0
        if until <= 0 {
            record.until = .distantPast
        } else if !isThisBoot {
            record.until = now + record.lasts
        }
        return .record(record)
    }

    func save(_ record: GrantRecord) throws(AgentError) {
        let value: JSONValue = .object([
            "boot": .string(Self.boot), "machine": .string(Self.machine), "holder": .string(record.holder),
            "until_ns": .integer(max(0, record.until.nanoseconds)), "lasts_ms": .integer(record.lasts.milliseconds),
            "round": .string(String(record.round)), "instance": .string(String(record.instance)),
            "newest_term": .string(record.newestFence.description),
        ])
        try write("grants", Array(value.serialized().utf8))
    }

    /// The session saved under this boot of this machine; another's is worth nothing.
    func session(_ name: String = "session") -> [UInt8]? {
        guard let bytes = read(name), let value = try? JSONValue.parse(bytes), value["boot"]?.string == Self.boot,
            value["machine"]?.string == Self.machine, let hex = value["session"]?.string
        else { return nil }
        return Self.bytes(hex: hex)
    }

    func save(session: [UInt8], as name: String = "session") throws(AgentError) {
        let value: JSONValue = .object([
            "boot": .string(Self.boot), "machine": .string(Self.machine), "session": .string(Self.hex(session)),
        ])
        try write(name, Array(value.serialized().utf8))
    }

    static let boot = firstLine("/proc/sys/kernel/random/boot_id")
    static let machine = firstLine("/etc/machine-id")

    private static func firstLine(_ path: String) -> String {
        guard let file = fopen(path, "re") else { return "" }
        defer { fclose(file) }
        var buffer = [CChar](repeating: 0, count: 128)
        guard fgets(&buffer, 128, file) != nil else { return "" }
        let text = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return text.split(whereSeparator: \.isNewline).first.map(String.init) ?? ""
    }

    private static func hex(_ bytes: [UInt8]) -> String {
        bytes.map { byte in
            let digits = String(byte, radix: 16)
            return digits.count == 1 ? "0" + digits : digits
        }.joined()
    }

    private static func bytes(hex: String) -> [UInt8]? {
        let digits = Array(hex.utf8)
        guard digits.count % 2 == 0 else { return nil }
        var result: [UInt8] = []
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let byte = UInt8(String(decoding: digits[index..<index + 2], as: UTF8.self), radix: 16) else {
                return nil
            }
            result.append(byte)
        }
        return result
    }
}

/// The lock on a state directory: held until the process ends, for its descriptor is never closed before.
struct StateLock: Sendable {
    let descriptor: Int32
}

/// Why the agent cannot go on, in words for the operator.
public struct AgentError: Error, Hashable, Sendable, CustomStringConvertible {
    public var description: String

    public init(_ description: String) {
        self.description = description
    }
}

func errnoText() -> String {
    String(cString: strerror(errno))
}
