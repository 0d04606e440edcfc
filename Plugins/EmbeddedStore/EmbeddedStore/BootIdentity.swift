import Glibc

/// Which boot of the host this is: instants of CLOCK_BOOTTIME mean nothing to another.
enum BootIdentity {
    /// Read once. Where the kernel tells none, all boots look alike and a lease may last too long after a reboot,
    /// never too short.
    static let current: String = {
        let descriptor = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "unknown" }
        defer { close(descriptor) }
        var buffer = [UInt8](repeating: 0, count: 64)
        let count = read(descriptor, &buffer, buffer.count)
        let text = String(decoding: buffer.prefix(max(0, count)), as: UTF8.self)
        let first = text.split(separator: "\n").first.map(String.init)
        return first ?? "unknown"
    }()
}
