import CClusterHarness
import Glibc

/// A place on the network: the machine itself, or a network namespace of its own.
package final class Host: Sendable {
    package let name: String
    package let address: String
    /// The descriptor that keeps the namespace; nil: where the process lives.
    private let namespace: Int32?

    /// The machine's loopback, where everybody is each other's neighbour.
    package static let loopback = Host(name: "loopback", address: "127.0.0.1", namespace: nil)

    init(name: String, address: String, namespace: Int32?) {
        self.name = name
        self.address = address
        self.namespace = namespace
    }

    deinit {
        if let namespace { close(namespace) }
    }

    package var isSeparate: Bool { namespace != nil }

    /// The namespace as a path that programs of this process's user can open while this process lives.
    var path: String? { namespace.map { "/proc/\(getpid())/fd/\($0)" } }

    /// Moves the calling thread here for the rest of its life; what it starts and connects from then on is here.
    package func enter() throws {
        guard let namespace else { return }
        guard ch_enter_network_namespace(namespace) == 0 else {
            throw SystemFailure("cannot enter the network of \(name): \(String(cString: strerror(errno)))")
        }
    }

    /// Does something here, on the calling thread, and goes back to where it was.
    package func inside<Value>(_ body: () throws -> Value) throws -> Value {
        guard namespace != nil else { return try body() }
        let before = ch_network_namespace()
        guard before >= 0 else { throw SystemFailure("cannot tell the thread's network") }
        defer { close(before) }
        try enter()
        let result = Result { try body() }
        guard ch_enter_network_namespace(before) == 0 else {
            throw SystemFailure("cannot go back from the network of \(name): \(String(cString: strerror(errno)))")
        }
        return try result.get()
    }
}
