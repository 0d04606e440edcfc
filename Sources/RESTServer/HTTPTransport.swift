import ClusterModel
import HTTPTypes
import HummingbirdCore
import Logging
import NIOCore
import NIOSSL

/// HTTP on one side, the request handler on the other.
struct HTTPTransport: Sendable {
    var handler: RequestHandler
    var settings: @Sendable () -> RESTSettings
    var streams: OpenStreams

    func respond(_ request: Request, _ writer: consuming ResponseWriter, _ channel: any Channel) async throws {
        let settings = settings()
        let isTLS = settings.isTLS
        let path = request.head.path ?? "/"
        let parts = path.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let length = request.head.headerFields[.contentLength]
        // Whoever asks first whether to send its body is told to, unless the body is refused anyway.
        if request.head.headerFields[.expect]?.lowercased() == "100-continue",
            Int(length ?? "") ?? 0 <= RequestHandler.maximumBody
        {
            try await writer.writeInformationalHead(HTTPResponse(status: .continue))
        }
        let body = BodyReader(request.body)
        let patience = settings.bodyTimeout
        var answer = await handler.answer(
            RESTRequest(
                method: request.method.rawValue, path: parts.first.map(String.init) ?? "/",
                query: QueryItems(parts.count > 1 ? parts[1] : ""),
                authorization: request.head.headerFields[.authorization], contentLength: length.flatMap { Int($0) },
                hasContentLength: length != nil, clientAddress: channel.remoteAddress?.ipAddress, isTLS: isTLS,
                hasClientCertificate: {
                    (try? await channel.nioSSL_peerCertificate().get()) ?? nil != nil
                },
                readBody: { limit throws(BodyProblem) in
                    try await body.read(limit: limit, within: patience)
                }))
        if case .peerStream = answer.body, !peerStream.isAdmitted { answer = .errorPage(503, "Too many streams") }
        var fields = HTTPFields()
        fields[.date] = HTTPDate.text()
        fields[.server] = Self.serverName(settings.serverTokens)
        if let type = answer.contentType { fields[.contentType] = type }
        if answer.contentType != nil {
            for header in settings.httpExtraHeaders { Self.set(header, in: &fields) }
            if isTLS { for header in settings.httpsExtraHeaders { Self.set(header, in: &fields) } }
        }
        for header in answer.headers { Self.set(header, in: &fields) }
        if answer.endsConnection || request.head.headerFields[.connection] == "close" { fields[.connection] = "close" }
        let response = Self.response(answer, fields: fields, stream: peerStream, channel: channel)
        try await writer.write(response: response.head, body: response.body)
        guard answer.endsConnection else { return }
        // The rest of the request is thrown away for a moment, so that the answer is read before the connection ends.
        _ = try? await body.read(limit: 4 * RequestHandler.maximumBody, within: .seconds(1))
        throw ConnectionEnds()
    }

    private struct ConnectionEnds: Error {}

    private var peerStream: PeerStream {
        PeerStream(control: handler.control, now: handler.now, open: streams)
    }

    private static func response(
        _ answer: RESTAnswer, fields: HTTPFields, stream: PeerStream, channel: any Channel
    ) -> Response {
        let status = HTTPResponse.Status(code: answer.status)
        switch answer.body {
        case .none: return Response(status: status, headers: fields)
        case .text(let text):
            return Response(status: status, headers: fields, body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
        case .peerStream:
            return Response(
                status: status, headers: fields,
                body: ResponseBody { writer in
                    try await stream.run(on: channel) { line in try await writer.write(ByteBuffer(string: line)) }
                    try await writer.finish(nil)
                })
        }
    }

    private static func set(_ header: (name: String, value: String), in fields: inout HTTPFields) {
        guard let name = HTTPField.Name(header.name) else { return }
        fields[name] = header.value
    }

    private static func serverName(_ tokens: RESTSettings.ServerTokens) -> String {
        switch tokens {
        case .original: "Matriarch/\(serverVersion)"
        case .minimal: "Patroni/\(contractVersion)"
        case .productOnly: "Patroni"
        }
    }
}
