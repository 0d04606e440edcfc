import HummingbirdCore
import Logging
import NIOCore
import NIOHTTP1
import NIOSSL

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// One connection: TLS if it is on, then HTTP/1.
struct RESTChannel: ServerChildChannel {
    typealias Value = HTTP1Channel.Value

    /// What is written has to be acknowledged by the client's host within this, or the connection ends.
    static let unacknowledgedLimit: ChannelOptions.Types.SocketOption.Value = 10_000

    let http: HTTP1Channel
    let contexts: TLSContexts
    let connections: Connections

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        guard let ticket = connections.admit(channel) else {
            return channel.eventLoop.makeFailedFuture(NoRoom())
        }
        channel.closeFuture.whenComplete { _ in connections.remove(ticket) }
        // A client that vanished must not hold its connection, or a peer's stream, for a quarter of an hour.
        let options = channel.setOption(
            ChannelOptions.tcpOption(.init(rawValue: TCP_USER_TIMEOUT)), value: Self.unacknowledgedLimit
        ).flatMap {
            channel.setOption(ChannelOptions.socketOption(.so_keepalive), value: 1)
        }.flatMapError { _ in channel.eventLoop.makeSucceededVoidFuture() }
        return options.flatMapThrowing {
            guard let context = contexts.current else { return }
            try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: context))
        }.flatMap {
            http.setup(channel: channel, logger: logger)
        }.flatMapThrowing { value in
            let pipeline = channel.pipeline.syncOperations
            let decoder = try pipeline.handler(type: ByteToMessageHandler<HTTPRequestDecoder>.self)
            try pipeline.addHandler(
                ConnectionHandler(connections: connections, ticket: ticket), position: .after(decoder))
            return value
        }
    }

    private struct NoRoom: Error {}

    func handle(value: Value, logger: Logger) async {
        await http.handle(value: value, logger: logger)
    }
}
