import AgentConfiguration
import RESTServer

extension RESTServer.RESTSettings {
    /// The server's settings from the configuration's `restapi` section.
    init(_ section: AgentConfiguration.RESTSettings) {
        self.init(listenHost: section.listen.host, listenPort: section.listen.port)
        certificatePath = section.certificateFile
        keyPath = section.keyFile
        keyPassword = section.keyFilePassword.map { RESTServer.Secret($0.value) }
        caPath = section.caFile
        verifyClient =
            switch section.clientVerification {
            case .none: .none
            case .optional: .optional
            case .required: .required
            }
        ciphers = section.ciphers
        username = section.authentication?.username
        password = section.authentication.map { RESTServer.Secret($0.password.value) }
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
