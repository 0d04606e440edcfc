#if ZooKeeper
    import ConfigurationTree
    import Glibc
    import NIOCore
    import NIOSSL

    /// Why encryption cannot be set up: the key of the section, and what is wrong with what it names.
    struct EncryptionProblem: Error, Hashable, Sendable {
        var key: String
        var message: String
    }

    /// What new connections are encrypted with: certificates and keys as they were read from their files.
    struct EncryptionContext: Sendable {
        var context: NIOSSLContext
        /// Until when our own certificate is good.
        var expiry: Int?

        /// Reads the files; blocks on them.
        init(_ settings: EncryptionSettings) throws(EncryptionProblem) {
            var configuration = TLSConfiguration.makeClientConfiguration()
            configuration.minimumTLSVersion = .tlsv12
            configuration.shutdownTimeout = .seconds(1)
            configuration.certificateVerification =
                switch (settings.verifies, settings.verifiesNames) {
                case (false, _): .none
                case (true, false): .noHostnameVerification
                case (true, true): .fullVerification
                }
            if let path = settings.authorityFile {
                let authorities = try Self.certificates(path, "cacert")
                configuration.trustRoots = .certificates(authorities)
            }
            if let path = settings.certificateFile {
                let chain = try Self.certificates(path, "cert")
                configuration.certificateChain = chain.map { .certificate($0) }
                configuration.privateKey = .privateKey(try Self.key(settings, certificate: path))
                if let own = chain.first {
                    let expiry = Int(own.notValidAfter)
                    self.expiry = expiry
                    if expiry < time(nil) {
                        throw EncryptionProblem(
                            key: "cert", message: "\(path) has expired (\(Self.date(expiry))); renew the certificate")
                    }
                }
            }
            do {
                context = try NIOSSLContext(configuration: configuration)
            } catch {
                throw EncryptionProblem(
                    key: settings.certificateFile == nil ? "cacert" : "key",
                    message: "encryption cannot be set up: \(error); check that cert and key belong together")
            }
        }

        private static func certificates(_ path: String, _ key: String) throws(EncryptionProblem) -> [NIOSSLCertificate]
        {
            try mustBeReadable(path, key)
            let found = (try? NIOSSLCertificate.fromPEMFile(path)) ?? []
            guard !found.isEmpty else {
                throw EncryptionProblem(key: key, message: "\(path) holds no certificate in PEM form")
            }
            return found
        }

        private static func key(
            _ settings: EncryptionSettings, certificate: String
        ) throws(EncryptionProblem) -> NIOSSLPrivateKey {
            let path = settings.keyFile ?? certificate
            let name = settings.keyFile == nil ? "cert" : "key"
            try mustBeReadable(path, name)
            do {
                guard let password = settings.keyPassword else {
                    // Without the callback the library would ask on the terminal.
                    return try NIOSSLPrivateKey(file: path, format: .pem) { (done: ([UInt8]) -> Void) in done([]) }
                }
                return try NIOSSLPrivateKey(file: path, format: .pem) { (done: ([UInt8]) -> Void) in
                    done(Array(password.value.utf8))
                }
            } catch {
                throw EncryptionProblem(
                    key: name,
                    message: "\(path) holds no private key in PEM form that can be read"
                        + (settings.keyPassword == nil
                            ? "; if it is encrypted, set key_password" : "; check key_password"))
            }
        }

        private static func mustBeReadable(_ path: String, _ key: String) throws(EncryptionProblem) {
            guard access(path, R_OK) == 0 else {
                throw EncryptionProblem(
                    key: key, message: "cannot read \(path): \(String(cString: strerror(errno))); check path and owner")
            }
        }

        /// A day and time of the calendar, for people.
        static func date(_ seconds: Int) -> String {
            var time = time_t(seconds)
            var parts = tm()
            guard gmtime_r(&time, &parts) != nil else { return "\(seconds)" }
            var text = [CChar](repeating: 0, count: 64)
            let count = strftime(&text, text.count, "%Y-%m-%d %H:%M:%S UTC", &parts)
            return String(decoding: text.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
    }
#endif
