import ConfigurationTree
import NIOSSL
import Synchronization

/// The TLS context that new connections get; replaced when the certificate's files changed.
final class TLSContexts: Sendable {
    private let context = Mutex<NIOSSLContext?>(nil)

    /// nil: plain HTTP.
    var current: NIOSSLContext? { context.withLock { $0 } }

    func replace(with new: NIOSSLContext?) {
        context.withLock { $0 = new }
    }

    /// Reads certificate, key and authorities. Blocks on files; not for a cooperative thread.
    static func load(_ settings: RESTSettings) throws(RESTServerError) -> NIOSSLContext? {
        guard settings.isTLS, let certificatePath = settings.certificatePath else { return nil }
        do {
            let chain = try NIOSSLCertificate.fromPEMFile(certificatePath)
            guard !chain.isEmpty else {
                throw RESTServerError("restapi.certfile: \(certificatePath) holds no certificate")
            }
            let keyPath = settings.keyPath ?? certificatePath
            let key: NIOSSLPrivateKey
            if let password = settings.keyPassword {
                key = try NIOSSLPrivateKey(file: keyPath, format: .pem) { (done: ([UInt8]) -> Void) in
                    done(Array(password.value.utf8))
                }
            } else {
                key = try NIOSSLPrivateKey(file: keyPath, format: .pem)
            }
            var configuration = TLSConfiguration.makeServerConfiguration(
                certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
            configuration.minimumTLSVersion = .tlsv12
            if let ciphers = settings.ciphers, !ciphers.isEmpty { configuration.cipherSuites = ciphers }
            if let caPath = settings.caPath, !caPath.isEmpty { configuration.trustRoots = .file(caPath) }
            switch settings.verifyClient {
            case .none: configuration.certificateVerification = .none
            case .optional: configuration.certificateVerification = .optionalVerification
            case .required: configuration.certificateVerification = .noHostnameVerification
            }
            return try NIOSSLContext(configuration: configuration)
        } catch let error as RESTServerError {
            throw error
        } catch {
            throw RESTServerError(
                "restapi: TLS cannot be set up with certfile \(certificatePath)"
                    + (settings.keyPath.map { ", keyfile \($0)" } ?? "")
                    + (settings.caPath.map { ", cafile \($0)" } ?? "")
                    + ": \(error); check that the files are readable, belong together, and that the key's password is right"
            )
        }
    }
}
