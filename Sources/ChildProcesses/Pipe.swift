#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// A pipe of which the agent keeps the reading end, without blocking, and no child inherits anything by accident.
struct Pipe: Sendable {
    struct Failure: Error, CustomStringConvertible {
        var description: String
    }

    let readEnd: Int32
    let writeEnd: Int32

    init() throws(Failure) {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw Failure(description: String(cString: strerror(errno))) }
        readEnd = ends[0]
        writeEnd = ends[1]
        // Not atomic (Swift does not see pipe2), which is harmless: children started here close all descriptors anyway,
        // and nobody waits for the end of a pipe that a process started elsewhere in between keeps open.
        _ = fcntl(readEnd, F_SETFD, FD_CLOEXEC)
        _ = fcntl(writeEnd, F_SETFD, FD_CLOEXEC)
        // Only our end: the flag belongs to the open file, and programs expect a standard output that blocks.
        _ = fcntl(readEnd, F_SETFL, fcntl(readEnd, F_GETFL) | O_NONBLOCK)
    }

    func close() {
        #if canImport(Glibc)
            _ = Glibc.close(readEnd)
            _ = Glibc.close(writeEnd)
        #else
            _ = Musl.close(readEnd)
            _ = Musl.close(writeEnd)
        #endif
    }
}
