import CLeaseGuard
import ClusterModel
import Dispatch
import Glibc
import Synchronization

/// The socket: requests out, answers matched to them, reports into the stream. Read on a queue of its own.
final class GuardConnection: Sendable {
    typealias Answer = Result<GuardPacket, GuardError>

    private struct State {
        var waiting: [UInt64: CheckedContinuation<Answer, Never>] = [:]
        var nextSequence: UInt64
        var status: GuardStatus
        var isOpen = true
    }

    let page: GuardPage
    let reports: AsyncStream<GuardReport>

    private let socket: Int32
    private let queue = DispatchQueue(label: "matriarch.guard")
    private let continuation: AsyncStream<GuardReport>.Continuation
    private let state: Mutex<State>
    // Made once in `init`, then only cancelled; Dispatch's sources may be used from any thread.
    private nonisolated(unsafe) let source: any DispatchSourceRead

    init(_ greeting: GuardLauncher.Greeting) {
        socket = greeting.socket
        page = greeting.page
        state = Mutex(State(nextSequence: greeting.nextSequence, status: greeting.status))
        // Bounded: a consumer that does not read loses the oldest reports, and `status` still tells the present.
        (reports, continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(256))
        source = DispatchSource.makeReadSource(fileDescriptor: greeting.socket, queue: queue)
        continuation.yield(.status(greeting.status))
        source.setEventHandler { [self] in read() }
        // The descriptor lives until nobody can read or write it any more.
        let socket = greeting.socket
        source.setCancelHandler { Glibc.close(socket) }
        source.activate()
    }

    var isOpen: Bool { state.withLock { $0.isOpen } }
    var status: GuardStatus { state.withLock { $0.status } }

    func close(_ reason: String) {
        let waiting = state.withLock { state -> [CheckedContinuation<Answer, Never>]? in
            guard state.isOpen else { return nil }
            state.isOpen = false
            defer { state.waiting = [:] }
            return Array(state.waiting.values)
        }
        guard let waiting else { return }
        page.invalidate()
        source.cancel()
        for each in waiting { each.resume(returning: .failure(GuardError(.disconnected, reason))) }
        continuation.yield(.disconnected(reason))
        continuation.finish()
    }

    private func read() {
        // As many as are there: Dispatch tells of readability, not of packets.
        while isOpen {
            switch GuardPacket.receive(socket) {
            case .nothing: return
            case .ended: close("the guard ended, or serves another agent")
            case .malformed(let reason): close("the guard sent something unknown: \(reason)")
            case .packet(let packet, let descriptors):
                for descriptor in descriptors { Glibc.close(descriptor) }
                take(packet)
            }
        }
    }

    private func take(_ packet: GuardPacket) {
        let status = GuardStatus(packet.status)
        let waiter = state.withLock { state in
            state.status = status
            return packet.isReply ? state.waiting.removeValue(forKey: packet.inReplyTo) : nil
        }
        if packet.isReply {
            // Nobody waits any more for an answer that came after its deadline.
            waiter?.resume(returning: .success(packet))
            return
        }
        switch mg_report(rawValue: packet.kind) {
        case MG_REPORT_STARTED: continuation.yield(.started(pid: packet.pid))
        case MG_REPORT_EXITED: continuation.yield(.exited(pid: packet.pid, status: packet.waitStatus))
        case MG_REPORT_ARMED: continuation.yield(.armed(Fence(packet.term)))
        case MG_REPORT_REFUSED:
            page.wasRefused(packet.status)
            continuation.yield(.refused(packet.text, armed: status.term))
        case MG_REPORT_STOPPING: continuation.yield(.stopping(packet.text))
        case MG_REPORT_KILLED: continuation.yield(.killed(packet.text))
        case MG_REPORT_SILENT: continuation.yield(.silent)
        default: continuation.yield(.status(status))
        }
    }

    /// Sends one request and waits for its answer. `blob` is a descriptor to go with it; it stays the caller's.
    func ask(_ request: mg_request, text: String = "", blob: Int32? = nil, within: Duration) async throws(GuardError)
        -> GuardPacket
    {
        let bytes = Array(text.utf8)
        guard bytes.count < Int(MG_DIRECTORY_LIMIT) else {
            throw GuardError(.invalid, "the path is too long: \(text)")
        }
        let answer: Answer = await withCheckedContinuation { waiter in
            let sequence = state.withLock { state -> UInt64? in
                guard state.isOpen else { return nil }
                defer { state.nextSequence += 1 }
                state.waiting[state.nextSequence] = waiter
                return state.nextSequence
            }
            guard let sequence else {
                waiter.resume(returning: .failure(GuardError(.disconnected, "the connection has ended")))
                return
            }
            queue.asyncAfter(deadline: .now() + .nanoseconds(Int(max(0, within.nanosecondsClamped)))) { [self] in
                give(sequence, GuardError(.timedOut, "no answer within \(within)"))
            }
            // On the queue: the descriptor is closed there, after the last of these.
            queue.async { [self] in send(request, bytes, blob, sequence) }
        }
        // On the queue as well: after the sending, however the wait ended.
        if let blob { queue.async { Glibc.close(blob) } }
        let packet = try answer.get()
        if packet.refused { throw GuardError(.refused, packet.text) }
        return packet
    }

    private func send(_ request: mg_request, _ text: [UInt8], _ blob: Int32?, _ sequence: UInt64) {
        // Timed out or closed meanwhile: then the blob may be closed already, too.
        guard state.withLock({ $0.isOpen && $0.waiting[sequence] != nil }) else { return }
        var request = request
        request.header.magic = MG_MAGIC
        request.header.version = UInt16(MG_PROTOCOL_VERSION)
        request.header.sequence = sequence
        request.text_length = UInt32(text.count)
        let descriptors = blob.map { [$0] } ?? []
        let sent = mg_socket_send(
            socket, &request, MemoryLayout<mg_request>.size, text, text.count, descriptors, Int32(descriptors.count))
        if sent != 0 { give(sequence, GuardError(.disconnected, "the request was not sent: \(describe(errno))")) }
    }

    private func give(_ sequence: UInt64, _ error: GuardError) {
        let waiter = state.withLock { $0.waiting.removeValue(forKey: sequence) }
        waiter?.resume(returning: .failure(error))
    }
}
