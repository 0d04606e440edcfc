package import Glibc

/// A real server of a store, alone or one of several, on a port and in a directory of its own.
package protocol StoreServer: AnyObject {
    var name: String { get }
    var host: Host { get }
    var port: Int { get }
    /// `standalone`, `leader`, `follower`; nil when it does not serve.
    var mode: String? { get }
    var pid: pid_t? { get }
    /// What it keeps its state in.
    var dataDirectory: String { get }
    /// Starts it, or starts it again after its end.
    func start() throws
    func freeze()
    func thaw()
    /// Ends it at once, as a lost host would.
    func kill() throws
    func stop()
}

extension StoreServer {
    package var address: String { "\(host.address):\(port)" }

    /// Takes away what a dead server knew, and makes it what lies in another directory; nil: nothing at all.
    ///
    /// What tells it who it is among its peers stays.
    package func replaceData(with copy: String?) throws {
        try check(pid.map { !isAlive($0) } ?? true, "\(name) still runs")
        let source = copy.map { "cp -a '\($0)/.' '\(dataDirectory)/'" } ?? "true"
        let result = try CommandResult.run(
            [
                "/bin/sh", "-c",
                "cd '\(dataDirectory)' && find . -mindepth 1 ! -name myid -delete && \(source)",
            ], account: nil, directory: String(dataDirectory.dropLast(5)), within: 30)
        try check(result.status == 0, "the data of \(name) could not be replaced: \(result.output)")
    }

    /// Copies what a dead server knows.
    package func copyData(to copy: String) throws {
        try check(pid.map { !isAlive($0) } ?? true, "\(name) still runs")
        let result = try CommandResult.run(
            ["/bin/sh", "-c", "rm -rf '\(copy)' && cp -a '\(dataDirectory)' '\(copy)'"], account: nil,
            directory: String(dataDirectory.dropLast(5)),
            within: 30)
        try check(result.status == 0, "the data of \(name) could not be copied: \(result.output)")
    }
}
