import Dispatch
import Glibc

/// Tells when a file is touched, moved or deleted (inotify). Owned and called by one queue.
final class FileWatch {
    private let descriptor: Int32
    private let source: any DispatchSourceRead

    /// nil, with `errno` set, when the kernel gives no inotify instance (there is a limit for each account).
    init?(on queue: DispatchQueue, onEvent: @escaping @Sendable () -> Void) {
        let descriptor = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
        guard descriptor >= 0 else { return nil }
        self.descriptor = descriptor
        source = DispatchSource.makeReadSource(fileDescriptor: descriptor, queue: queue)
        source.setEventHandler {
            // What happened does not matter, only that something did: the reader looks for itself.
            drain(descriptor)
            onEvent()
        }
        source.setCancelHandler { Glibc.close(descriptor) }
        source.activate()
    }

    deinit {
        source.cancel()
    }

    /// Watches a file that exists; false when it cannot be watched.
    func watch(_ path: String) -> Bool {
        inotify_add_watch(descriptor, path, UInt32(IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)) >= 0
    }
}

private func drain(_ descriptor: Int32) {
    withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 8) { buffer in
        while read(descriptor, buffer.baseAddress, buffer.count) > 0 {}
    }
}
