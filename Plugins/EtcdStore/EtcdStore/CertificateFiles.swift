#if Etcd
    import NIOSSL

    /// What is wrong with a file that should hold certificates, or a key.
    enum CertificateFiles {
        /// Nil when nothing is.
        static func objection(_ path: String, isKey: Bool) -> String? {
            do {
                if isKey {
                    _ = try NIOSSLPrivateKey(file: path, format: .pem)
                } else {
                    guard try !NIOSSLCertificate.fromPEMFile(path).isEmpty else {
                        return "there is no certificate in it"
                    }
                }
                return nil
            } catch {
                return isKey
                    ? "cannot be read as a private key in PEM form without a passphrase"
                    : "cannot be read as certificates in PEM form"
            }
        }
    }
#endif
