import Dispatch

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// A directory that goes with its owner.
final class TemporaryDirectory: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/matriarch-rest-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Missing(what: "temporary directory: errno \(errno)") }
        path = String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    deinit {
        if let directory = opendir(path) {
            while let entry = readdir(directory) {
                let name = withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                unlink("\(path)/\(name)")
            }
            closedir(directory)
        }
        rmdir(path)
    }
}

/// Certificates for 127.0.0.1, made by the openssl command.
struct Certificates: Sendable {
    var authority: String
    var server: String
    /// Encrypted with the password `locked`.
    var serverKey: String
    var client: String
    var clientKey: String

    /// nil when the command is not there.
    static func make(in directory: String) async throws -> Certificates? {
        guard access("/usr/bin/openssl", X_OK) == 0 else { return nil }
        let script = """
            set -e
            cd \(directory)
            openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority
            printf 'subjectAltName=IP:127.0.0.1,DNS:localhost' > san
            openssl req -newkey rsa:2048 -passout pass:locked -keyout server.key -out server.csr -subj /CN=server
            openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.pem
            openssl req -newkey rsa:2048 -nodes -keyout client.key -out client.csr -subj /CN=client
            openssl x509 -req -in client.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out client.pem
            """
        let code = await withCheckedContinuation { continuation in
            DispatchQueue(label: "openssl").async {
                continuation.resume(returning: run(script))
            }
        }
        guard code == 0 else { throw Missing(what: "certificates: the script ended with \(code)") }
        return Certificates(
            authority: "\(directory)/ca.pem", server: "\(directory)/server.pem",
            serverKey: "\(directory)/server.key", client: "\(directory)/client.pem",
            clientKey: "\(directory)/client.key")
    }

    private static func run(_ script: String) -> Int32 {
        var pid = pid_t()
        let arguments = ["/bin/sh", "-c", "(\(script)) >/dev/null 2>&1"].map { (text: String) in strdup(text) }
        defer { for argument in arguments { free(argument) } }
        guard posix_spawn(&pid, "/bin/sh", nil, nil, arguments + [nil], environ) == 0 else { return -1 }
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        return status
    }
}
