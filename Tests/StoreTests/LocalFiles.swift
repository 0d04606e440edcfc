import Glibc
import StoreConformance

// Ports and files for servers under test.

/// Ports that nobody listens on now, all different.
func freePorts(_ count: Int) throws -> [Int] {
    var sockets: [Int32] = []
    defer { for socket in sockets { close(socket) } }
    var ports: [Int] = []
    for _ in 0..<count {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw CaseFailure("no socket") }
        sockets.append(descriptor)
        guard bindLoopback(descriptor, port: 0), let port = boundPort(descriptor) else {
            throw CaseFailure("no free port")
        }
        ports.append(port)
    }
    return ports
}

func bindLoopback(_ descriptor: Int32, port: Int) -> Bool {
    withLoopback(port) { Glibc.bind(descriptor, $0, $1) == 0 }
}

/// The port that a socket is bound to.
func boundPort(_ descriptor: Int32) -> Int? {
    var address = sockaddr_in()
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isKnown = withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) == 0 }
    }
    return isKnown ? Int(UInt16(bigEndian: address.sin_port)) : nil
}

/// 127.0.0.1 in the form that the system's calls take.
func withLoopback<R>(_ port: Int, _ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(truncatingIfNeeded: port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
}

func makeTemporaryDirectory(_ name: String) throws -> String {
    var template = Array("/tmp/matriarch-\(name)-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw CaseFailure("no temporary directory") }
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// Removes a directory and what is in it; follows no links.
func removeTree(_ path: String) {
    if let directory = opendir(path) {
        while let entry = readdir(directory) {
            let isDirectory = entry.pointee.d_type == UInt8(DT_DIR)
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name == "." || name == ".." { continue }
            if isDirectory { removeTree(path + "/" + name) } else { unlink(path + "/" + name) }
        }
        closedir(directory)
    }
    rmdir(path)
}

func writeFile(_ path: String, _ text: String) throws {
    guard let file = fopen(path, "w") else { throw CaseFailure("cannot write \(path)") }
    defer { fclose(file) }
    fputs(text, file)
}

func readFile(_ path: String) throws -> String {
    guard let file = fopen(path, "r") else { throw CaseFailure("cannot read \(path)") }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
        let count = fread(&buffer, 1, buffer.count, file)
        if count == 0 { return String(decoding: bytes, as: UTF8.self) }
        bytes += buffer.prefix(count)
    }
}
