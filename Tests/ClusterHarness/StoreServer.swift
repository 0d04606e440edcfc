package import Glibc

/// A real server of a store, alone or one of several, on a port and in a directory of its own.
package protocol StoreServer: AnyObject {
    var name: String { get }
    var host: Host { get }
    var port: Int { get }
    /// `standalone`, `leader`, `follower`; nil when it does not serve.
    var mode: String? { get }
    var pid: pid_t? { get }
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
}
