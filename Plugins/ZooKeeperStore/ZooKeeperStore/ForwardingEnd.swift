#if ZooKeeper
    import NIOCore
    import NIOSSL
    import NIOTLS

    /// One of the two ends of a forwarded connection: passes on what it reads, as fast as the other end takes it.
    ///
    /// Used on its channel's loop only; both ends are on the same.
    final class ForwardingEnd: ChannelDuplexHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        /// The near end asks, once it is connected, for the far one; nil refuses.
        private let accepts: ((any Channel) -> EventLoopFuture<ForwardingEnd>?)?
        private var context: ChannelHandlerContext?
        private var other: ForwardingEnd?
        /// A read that waits until the other end takes something.
        private var wantsRead = false
        private(set) var isSecured = false
        private var isAnswered = false
        /// The handshake is done.
        var whenSecured: (() -> Void)?
        /// It failed, or the connection did; nil: closed without a reason.
        var whenTroubled: ((String?) -> Void)?
        /// The first bytes came: the server took our certificate as well.
        var whenAnswered: (() -> Void)?

        init(accepts: ((any Channel) -> EventLoopFuture<ForwardingEnd>?)? = nil) {
            self.accepts = accepts
        }

        func handlerAdded(context: ChannelHandlerContext) {
            self.context = context
        }

        func handlerRemoved(context: ChannelHandlerContext) {
            self.context = nil
            other = nil
        }

        func channelActive(context: ChannelHandlerContext) {
            context.fireChannelActive()
            guard let accepts else { return }
            guard let connecting = accepts(context.channel) else {
                context.close(promise: nil)
                return
            }
            let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
            connecting.whenComplete { result in
                let near = bound.value
                switch result {
                case .success(let far):
                    guard near.context != nil else { return far.finish() }
                    near.other = far
                    far.other = near
                    near.resumeReading()
                    far.resumeReading()
                case .failure:
                    near.context?.close(promise: nil)
                }
            }
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            if !isAnswered {
                isAnswered = true
                whenAnswered?()
            }
            other?.context?.write(data, promise: nil)
        }

        func channelReadComplete(context: ChannelHandlerContext) {
            other?.context?.flush()
            context.fireChannelReadComplete()
        }

        func channelWritabilityChanged(context: ChannelHandlerContext) {
            if context.channel.isWritable { other?.resumeReading() }
            context.fireChannelWritabilityChanged()
        }

        func read(context: ChannelHandlerContext) {
            // The handshake is read before there is another end.
            let mayRead = accepts == nil && other == nil && !isSecured || other?.context?.channel.isWritable == true
            if mayRead { context.read() } else { wantsRead = true }
        }

        private func resumeReading() {
            guard wantsRead, let context else { return }
            wantsRead = false
            read(context: context)
        }

        func channelInactive(context: ChannelHandlerContext) {
            whenTroubled.take()?(isSecured ? nil : "the connection was closed during the handshake")
            let other = self.other
            self.other = nil
            other?.finish()
            context.fireChannelInactive()
        }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            if case .handshakeCompleted? = event as? TLSUserEvent {
                isSecured = true
                whenSecured.take()?()
            }
            context.fireUserInboundEventTriggered(event)
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            // A connection that worked and then broke is the library's to notice, and no trouble with encryption.
            if !isAnswered { whenTroubled.take()?(EncryptionForwarder.explain(error)) }
            context.close(promise: nil)
        }

        /// Closes once everything is on its way, at the latest in a second.
        private func finish() {
            other = nil
            guard let context else { return }
            let channel = context.channel
            channel.writeAndFlush(channel.allocator.buffer(capacity: 0)).whenComplete { _ in
                channel.close(mode: .all, promise: nil)
            }
            channel.eventLoop.scheduleTask(in: .seconds(1)) { channel.close(mode: .all, promise: nil) }
        }
    }

    extension Optional {
        /// The value, once.
        fileprivate mutating func take() -> Wrapped? {
            defer { self = nil }
            return self
        }
    }
#endif
