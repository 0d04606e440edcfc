import NIOCore
import NIOHTTP1

/// Sees each request come and its answer go.
///
/// It also says "connection: close" for every client that does not expect its connection to be kept: HTTP/1.0 above
/// all, whose clients read until the end of the connection. And it beats the time of a peer's stream.
final class ConnectionHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    private let connections: Connections
    private let ticket: UInt64
    private var beat: PeerBeat?
    private var nextBeat: Scheduled<Void>?

    init(connections: Connections, ticket: UInt64) {
        self.connections = connections
        self.ticket = ticket
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .head(var head) = unwrapInboundIn(data) else {
            context.fireChannelRead(data)
            return
        }
        connections.set(ticket, isBusy: true)
        if !head.isKeepAlive { head.headers.replaceOrAdd(name: "connection", value: "close") }
        context.fireChannelRead(wrapInboundOut(.head(head)))
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        if case .end = unwrapOutboundIn(data) {
            connections.set(ticket, isBusy: false)
            endBeats()
        }
        context.write(data, promise: promise)
    }

    func triggerUserOutboundEvent(context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?) {
        guard let beat = event as? PeerBeat else {
            context.triggerUserOutboundEvent(event, promise: promise)
            return
        }
        endBeats()
        self.beat = beat
        schedule(beat, NIOLoopBound((self, context), eventLoop: context.eventLoop))
        promise?.succeed()
    }

    /// All streams beat at the same instants, multiples of the interval: one wake-up does for all of them.
    private func schedule(_ beat: PeerBeat, _ bound: NIOLoopBound<(ConnectionHandler, ChannelHandlerContext)>) {
        let interval = UInt64(max(1_000_000, TimeAmount(beat.interval).nanoseconds))
        let next = (NIODeadline.now().uptimeNanoseconds / interval + 1) * interval
        nextBeat = bound.value.1.eventLoop.scheduleTask(deadline: .uptimeNanoseconds(next)) {
            let (handler, context) = bound.value
            // A peer that does not read gets no more of them.
            if context.channel.isWritable, beat.beat() {
                let line = context.channel.allocator.buffer(string: beat.line)
                context.writeAndFlush(NIOAny(HTTPServerResponsePart.body(.byteBuffer(line))), promise: nil)
            }
            // Unless that write ended the connection.
            if handler.beat === beat { handler.schedule(beat, bound) }
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        endBeats()
        context.fireChannelInactive()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        endBeats()
    }

    private func endBeats() {
        beat = nil
        nextBeat?.cancel()
        nextBeat = nil
    }
}
