import NIOCore
import NIOHTTP1
import NIOPosix

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// Says "connection: close" for every client that does not expect its connection to be kept: HTTP/1.0 above all, whose
/// clients read until the end of the connection.
final class ConnectionCloseHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .head(var head) = unwrapInboundIn(data), !head.isKeepAlive else {
            context.fireChannelRead(data)
            return
        }
        head.headers.replaceOrAdd(name: "connection", value: "close")
        context.fireChannelRead(wrapInboundOut(.head(head)))
    }
}

/// Keeps the listener alive when a connection cannot be accepted, as when no descriptor is left: without this one such
/// moment would end the server, and every load balancer would take the member for dead.
final class AcceptErrorHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = Channel
    typealias OutboundIn = Channel

    static let pause = TimeAmount.milliseconds(100)

    private var isPausing = false
    private var wantsRead = false
    private let report: @Sendable (any Error) -> Void

    init(report: @escaping @Sendable (any Error) -> Void) {
        self.report = report
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let error = error as? IOError,
            [EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED].contains(error.errnoCode)
        else {
            context.fireErrorCaught(error)
            return
        }
        guard !isPausing else { return }
        report(error)
        isPausing = true
        wantsRead = true
        let bound = NIOLoopBound((handler: self, context: context), eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(in: Self.pause) {
            let (handler, context) = bound.value
            handler.isPausing = false
            guard handler.wantsRead else { return }
            handler.wantsRead = false
            context.read()
        }
    }

    func read(context: ChannelHandlerContext) {
        if isPausing {
            wantsRead = true
        } else {
            context.read()
        }
    }
}
