import AgentConfiguration
import RESTServer

extension RESTSettings {
    /// The server's settings from the configuration's `restapi` section.
    init(_ section: RESTAPISettings) {
        self.init(listenHost: section.listen.host, listenPort: section.listen.port)
        certificatePath = section.certificateFile
        keyPath = section.keyFile
        keyPassword = section.keyFilePassword
        caPath = section.caFile
        verifyClient =
            switch section.clientVerification {
            case .none: .none
            case .optional: .optional
            case .required: .required
            }
        ciphers = section.ciphers
        username = section.authentication?.username
        password = section.authentication?.password
        allowlist = section.allowlist
        allowlistIncludeMembers = section.allowlistIncludesMembers
        httpExtraHeaders = section.httpExtraHeaders.map { ($0.name, $0.value) }
        httpsExtraHeaders = section.httpsExtraHeaders.map { ($0.name, $0.value) }
        serverTokens =
            switch section.serverTokens {
            case .original: .original
            case .minimal: .minimal
            case .productOnly: .productOnly
            }
        backlog = max(5, section.requestQueueSize)
    }
}
