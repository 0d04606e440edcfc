import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// The thread that reads what all children write.
///
/// One thread and poll(2), not Dispatch sources: pipes come and go by the hundred here, and libdispatch's event loop was
/// seen to crash when a source is cancelled while the pipe's hang-up is under way.
///
/// A pipe may outlive its child: what a script leaves running in the background keeps its end. Such a pipe is emptied
/// further (bytes are dropped), for a daemon that writes to a pipe without a reader dies of it.
final class OutputLoop: Sendable {
    typealias Delivery = @Sendable (ArraySlice<UInt8>) -> Void

    /// Pipes kept for processes in the background; one more, and the oldest is closed.
    static let lingeringLimit = 16
    /// The process's own; nil when the system gave neither pipe nor thread.
    static let shared = OutputLoop()

    /// A pipe that is being read.
    struct Ticket: Hashable, Sendable {
        fileprivate let number: UInt64
    }

    private enum Request: Sendable {
        case read(UInt64, Int32, Delivery)
        case settle(UInt64, mayLinger: Bool, CheckedContinuation<Void, Never>)
    }

    private struct Mailbox {
        var requests: [Request] = []
        var lastNumber: UInt64 = 0
    }

    private struct Entry {
        let number: UInt64
        let descriptor: Int32
        /// Nil once the child has ended: bytes are dropped.
        var deliver: Delivery?
    }

    private let mailbox = Mutex(Mailbox())
    private let lingering = Mutex(0)
    private let wake: Pipe

    private init?() {
        guard let pipe = try? Pipe() else { return nil }
        wake = pipe
        // Waking must not block, and one byte in the pipe is as good as many.
        _ = fcntl(pipe.writeEnd, F_SETFL, fcntl(pipe.writeEnd, F_GETFL) | O_NONBLOCK)
        // Signals are for the threads that wait for them.
        var all = sigset_t()
        var before = sigset_t()
        sigfillset(&all)
        pthread_sigmask(SIG_BLOCK, &all, &before)
        defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
        let me = Unmanaged.passRetained(self)
        #if canImport(Glibc)
            var thread = pthread_t()
        #else
            var thread: pthread_t?
        #endif
        let code = pthread_create(
            &thread, nil,
            { argument in
                if let argument { Unmanaged<OutputLoop>.fromOpaque(argument).takeRetainedValue().run() }
                return nil
            }, me.toOpaque())
        guard code == 0 else {
            me.release()
            pipe.close()
            return nil
        }
    }

    /// Starts to read a pipe, whose descriptor must not block and belongs to the loop from here on.
    ///
    /// Deliveries come one at a time from the loop's thread, and should be quick.
    func read(_ descriptor: Int32, deliver: @escaping Delivery) -> Ticket {
        let number = mailbox.withLock { mailbox in
            mailbox.lastNumber += 1
            mailbox.requests.append(.read(mailbox.lastNumber, descriptor, deliver))
            return mailbox.lastNumber
        }
        ring()
        return Ticket(number: number)
    }

    /// After the child's end: delivers what it left in the pipe, and nothing after the return.
    ///
    /// The pipe is then closed, or emptied further while somebody else keeps it and `mayLinger` allows it.
    func settle(_ ticket: Ticket, mayLinger: Bool) async {
        await withCheckedContinuation { waiter in
            mailbox.withLock { $0.requests.append(.settle(ticket.number, mayLinger: mayLinger, waiter)) }
            ring()
        }
    }

    /// How many pipes are kept for processes in the background.
    var lingeringCount: Int { lingering.withLock { $0 } }

    private func ring() {
        var byte: UInt8 = 1
        _ = write(wake.writeEnd, &byte, 1)
    }

    // MARK: On the loop's thread

    private func run() {
        var entries: [Entry] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            var watched = [pollfd(fd: wake.readEnd, events: Int16(POLLIN), revents: 0)]
            watched += entries.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
            guard poll(&watched, nfds_t(watched.count), -1) > 0 else { continue }
            // From the last to the first, so that removing one leaves the others where they are.
            for index in entries.indices.reversed() where watched[index + 1].revents != 0 {
                empty(&entries, index, rounds: 1, &buffer)
            }
            if watched[0].revents != 0 {
                while Self.read(wake.readEnd, &buffer) > 0 {}
                let requests = mailbox.withLock { mailbox in
                    defer { mailbox.requests = [] }
                    return mailbox.requests
                }
                for request in requests { serve(request, &entries, &buffer) }
            }
            let count = entries.count { $0.deliver == nil }
            lingering.withLock { $0 = count }
        }
    }

    private func serve(_ request: Request, _ entries: inout [Entry], _ buffer: inout [UInt8]) {
        switch request {
        case .read(let number, let descriptor, let deliver):
            entries.append(Entry(number: number, descriptor: descriptor, deliver: deliver))
        case .settle(let number, let mayLinger, let waiter):
            defer { waiter.resume() }
            guard let index = entries.firstIndex(where: { $0.number == number }) else { return }
            // More than a pipe holds, yet bounded: somebody else may go on filling it.
            guard empty(&entries, index, rounds: 32, &buffer) else { return }
            guard mayLinger else {
                close(entries.remove(at: index).descriptor)
                return
            }
            entries[index].deliver = nil
            if entries.count(where: { $0.deliver == nil }) > Self.lingeringLimit,
                let oldest = entries.firstIndex(where: { $0.deliver == nil })
            {
                close(entries.remove(at: oldest).descriptor)
            }
        }
    }

    /// Reads what is there; false when the pipe has ended, whose entry is then gone.
    @discardableResult
    private func empty(_ entries: inout [Entry], _ index: Int, rounds: Int, _ buffer: inout [UInt8]) -> Bool {
        for _ in 0..<rounds {
            let count = Self.read(entries[index].descriptor, &buffer)
            if count > 0 {
                entries[index].deliver?(buffer[..<count])
            } else if count < 0, errno == EAGAIN || errno == EINTR {
                return true
            } else {
                close(entries.remove(at: index).descriptor)
                return false
            }
        }
        return true
    }

    private static func read(_ descriptor: Int32, _ buffer: inout [UInt8]) -> Int {
        #if canImport(Glibc)
            Glibc.read(descriptor, &buffer, buffer.count)
        #else
            Musl.read(descriptor, &buffer, buffer.count)
        #endif
    }
}
