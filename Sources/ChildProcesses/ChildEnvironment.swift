// The preconcurrency import is for `environ`: the agent never changes its own environment once it runs.
#if canImport(Glibc)
    @preconcurrency import Glibc
#elseif canImport(Musl)
    @preconcurrency import Musl
#endif

/// The environment that children get: the agent's, without the agent's own settings.
public enum ChildEnvironment {
    private static let ownPrefixes = ["PATRONI_", "MATRIARCH_", "KUBERNETES_"]
    /// What the service manager gave to the agent alone: a child that wrote to it would speak in the agent's name.
    private static let ownNames: Set<String> = [
        "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES",
    ]

    /// An environment without the agent's settings (they hold passwords) and without what cannot be handed on.
    public static func sanitized(_ environment: [String: String]) -> [String: String] {
        environment.filter { name, value in
            !ownNames.contains(name) && !ownPrefixes.contains { name.hasPrefix($0) } && isPortable(name, value)
        }
    }

    /// This process's environment, sanitized.
    public static func inherited() -> [String: String] {
        sanitized(ofThisProcess())
    }

    /// Names that start with a digit are refused when a child is started; one of them must not stop all children.
    private static func isPortable(_ name: String, _ value: String) -> Bool {
        guard let first = name.utf8.first, !(48...57).contains(first) else { return false }
        return !name.utf8.contains(0) && !name.utf8.contains(UInt8(ascii: "=")) && !value.utf8.contains(0)
    }

    private static func ofThisProcess() -> [String: String] {
        var result: [String: String] = [:]
        var entry = environ
        while let text = entry.pointee {
            let pair = String(cString: text)
            if let equals = pair.firstIndex(of: "=") {
                // The first of two entries of one name counts, as for getenv.
                let name = String(pair[..<equals])
                if result[name] == nil { result[name] = String(pair[pair.index(after: equals)...]) }
            }
            entry += 1
        }
        return result
    }
}
