import NIOCore
import NIOPosix

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// Keeps the listener alive when a connection cannot be accepted, as when no descriptor is left: without this one such
/// moment would end the server, and every load balancer would take the member for dead.
final class AcceptErrorHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = Channel
    typealias OutboundIn = Channel

    static let pause = TimeAmount.milliseconds(100)
    /// Between two complaints about the same.
    static let reportPause = TimeAmount.seconds(60)

    private var isPausing = false
    private var wantsRead = false
    private var lastReport: NIODeadline?
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
        let now = NIODeadline.now()
        if lastReport.map({ now - $0 >= Self.reportPause }) ?? true {
            lastReport = now
            report(error)
        }
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
