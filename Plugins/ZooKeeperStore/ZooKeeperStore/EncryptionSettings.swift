#if ZooKeeper
    import ConfigurationTree

    /// How connections to the servers are encrypted: `use_ssl` and the keys that go with it.
    struct EncryptionSettings: Hashable, Sendable {
        /// The authorities that the servers' certificates are checked against (PEM); nil: the system's.
        var authorityFile: String?
        /// Our own certificate chain (PEM); nil: none is shown.
        var certificateFile: String?
        /// Its key (PEM); nil: in the certificate's file.
        var keyFile: String?
        var keyPassword: Secret?
        /// Whether the servers' certificates are checked at all.
        var verifies = true
        /// Whether a certificate must bear the name or address that `hosts` gives.
        var verifiesNames = true

        /// Reads the section's keys; nil without `use_ssl`.
        static func read(_ reader: ConfigurationReader) -> EncryptionSettings? {
            guard reader.bool("use_ssl", default: false) else {
                for key in ["cacert", "cert", "key", "key_password", "verify", "verify_hostname"] where reader.has(key)
                {
                    reader.warn(key, "has no effect without use_ssl: true")
                }
                reader.allow("cacert", "cert", "key", "key_password", "verify", "verify_hostname")
                return nil
            }
            var settings = EncryptionSettings()
            settings.authorityFile = reader.string("cacert")
            settings.certificateFile = reader.string("cert")
            settings.keyFile = reader.string("key")
            settings.keyPassword = reader.secret("key_password")
            if settings.certificateFile == nil {
                for key in ["key", "key_password"] where reader.has(key) {
                    reader.complain(key, "belongs to a certificate, and there is none: set cert, or remove this key")
                }
            }
            settings.verifies = reader.bool("verify", default: true)
            let names = reader.bool("verify_hostname")
            if !settings.verifies {
                reader.warn(
                    "verify", "is off: whoever stands between here and the servers can read and change everything")
                if names == true { reader.complain("verify_hostname", "cannot be checked while verify is off") }
            }
            // An authority of one's own vouches for the servers by itself, as it does for Patroni; the public ones vouch
            // for everybody, so that nothing but the name tells the servers from the rest of the world.
            settings.verifiesNames = settings.verifies && (names ?? (settings.authorityFile == nil))
            return settings
        }
    }
#endif
