#if ZooKeeper
    import Glibc
    import StoreConformance
    import Synchronization

    /// An authority of the tests' own, made with `openssl`, with its files in a directory of its own.
    final class TestCertificates: Sendable {
        let directory: String
        var authority: String { directory + "/ca.pem" }

        struct Pair: Sendable {
            var certificate: String
            var key: String
            /// Key and certificate in one file.
            var both: String
        }

        init() throws {
            directory = try makeTemporaryDirectory("certificates")
            Self.leftovers.withLock { _ = $0.insert(directory) }
            _ = Self.cleaning
            try run(
                """
                openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 \
                -subj '/CN=tests of matriarch'
                """)
        }

        deinit {
            removeTree(directory)
            Self.leftovers.withLock { _ = $0.remove(directory) }
        }

        // What is shared by tests lives as long as the process, and is removed at its end.
        private static let leftovers = Mutex<Set<String>>([])
        private static let cleaning: Void = {
            atexit { for directory in TestCertificates.leftovers.withLock({ $0 }) { removeTree(directory) } }
        }()

        /// A certificate for a name; days below zero: expired.
        func make(
            _ name: String, alternatives: String = "IP:127.0.0.1,DNS:localhost", days: Int = 1, password: String? = nil
        ) throws -> Pair {
            let encryption = password.map { "-passout 'pass:\($0)'" } ?? "-nodes"
            let own = password.map { "-passin 'pass:\($0)'" } ?? ""
            try run(
                """
                openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 \(encryption) -keyout '\(name).key' \
                -out '\(name).csr' -subj '/CN=\(name)' &&
                echo 'subjectAltName=\(alternatives)' >'\(name).ext' &&
                openssl x509 -req -in '\(name).csr' -CA ca.pem -CAkey ca.key -CAcreateserial -out '\(name).crt' \
                -days \(days) -extfile '\(name).ext' \(own) && cat '\(name).key' '\(name).crt' >'\(name).pem'
                """)
            let path = directory + "/" + name
            return Pair(certificate: path + ".crt", key: path + ".key", both: path + ".pem")
        }

        private func run(_ script: String) throws {
            let (code, output) = try runShell("cd '\(directory)' && { \(script); } 2>&1")
            guard code == 0 else { throw CaseFailure("openssl: \(output)") }
        }
    }

    /// Runs a script to its end, which must be near; its output and exit status.
    func runShell(_ script: String) throws -> (code: Int32, output: String) {
        guard let pipe = popen(script, "re") else { throw CaseFailure("cannot start a shell") }
        var output: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = fread(&buffer, 1, buffer.count, pipe)
            if count == 0 { break }
            output += buffer.prefix(count)
        }
        return (pclose(pipe), String(decoding: output, as: UTF8.self))
    }
#endif
