import CLeaseGuard
import Glibc

/// One packet from the guard, checked.
struct GuardPacket {
    var isReply: Bool
    var inReplyTo: UInt64
    var refused: Bool
    var kind: UInt32
    var pid: Int32
    var waitStatus: Int32
    var term: mg_term
    var status: mg_status
    var text: String

    enum Received {
        case packet(GuardPacket, [Int32])
        case nothing
        case ended
        case malformed(String)
    }

    /// Takes one packet that is there already; never waits.
    static func receive(_ socket: Int32) -> Received {
        let capacity = MemoryLayout<mg_message>.size + Int(MG_TEXT_LIMIT)
        return withUnsafeTemporaryAllocation(byteCount: capacity, alignment: 16) { buffer in
            var descriptors: [Int32] = [-1, -1, -1, -1]
            var count: Int32 = 0
            let length = mg_socket_receive(socket, buffer.baseAddress, capacity, &descriptors, &count)
            if length < 0 {
                switch errno {
                case EAGAIN: return .nothing
                // A guard that was killed with our message unread ends the connection this way.
                case ECONNRESET, EPIPE: return .ended
                default: return .malformed(describe(errno))
                }
            }
            if length == 0 { return .ended }
            let received = Array(descriptors.prefix(Int(count)))
            guard let packet = GuardPacket(UnsafeRawBufferPointer(rebasing: buffer[..<length])) else {
                for descriptor in received { close(descriptor) }
                return .malformed("\(length) bytes that are no message of protocol \(MG_PROTOCOL_VERSION)")
            }
            return .packet(packet, received)
        }
    }

    init?(_ bytes: UnsafeRawBufferPointer) {
        let fixed = MemoryLayout<mg_message>.size
        guard bytes.count >= fixed else { return nil }
        var message = mg_message()
        withUnsafeMutableBytes(of: &message) { $0.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<fixed])) }
        guard message.header.magic == MG_MAGIC, message.header.version == UInt16(MG_PROTOCOL_VERSION),
            bytes.count == fixed + Int(message.text_length)
        else { return nil }
        // Read as C's text later on: one without an end is no packet of a guard's.
        guard withUnsafeBytes(of: message.status.directory, { $0.contains(0) }) else { return nil }
        switch UInt32(message.header.type) {
        case MG_REPLY.rawValue: isReply = true
        case MG_REPORT.rawValue: isReply = false
        default: return nil
        }
        inReplyTo = message.in_reply_to
        refused = message.refused != 0
        kind = message.kind
        pid = message.pid
        waitStatus = message.wait_status
        term = message.term
        status = message.status
        text = String(decoding: bytes[fixed...], as: UTF8.self)
    }
}
