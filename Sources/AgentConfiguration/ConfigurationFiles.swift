import ConfigurationTree
import Glibc

/// Reads configuration files from disk, blocking.
enum ConfigurationFiles {
    /// What a path turned out to be.
    enum Outcome {
        case tree(ConfigurationNode)
        case missing
        case unreadable([ConfigurationComplaint])
    }

    /// A file, or a directory whose `*.yml` and `*.yaml` are merged in the order of their names.
    static func read(_ path: String) -> Outcome {
        var status = stat()
        guard stat(path, &status) == 0 else {
            if errno == ENOENT || errno == ENOTDIR { return .missing }
            return .unreadable([complaint(path, "cannot be read: \(lastError())")])
        }
        guard status.st_mode & S_IFMT == S_IFDIR else { return readFile(path) }
        let names: [String]
        switch list(path) {
        case .success(let found): names = found
        case .failure(let complaint): return .unreadable([complaint])
        }
        guard !names.isEmpty else {
            return .unreadable([complaint(path, "is a directory without any *.yml or *.yaml")])
        }
        var tree: ConfigurationNode?
        var complaints: [ConfigurationComplaint] = []
        for name in names {
            let file = path.hasSuffix("/") ? path + name : path + "/" + name
            switch readFile(file) {
            case .tree(let node) where node.isMap:
                tree = tree.map { $0.merging(node) } ?? node
            case .tree(let node) where node.isNull:
                continue
            case .tree(let node):
                complaints.append(
                    ConfigurationComplaint(
                        at: node.mark, path: "", "expected a mapping (name: value), found \(node.kind)"))
            case .missing:
                complaints.append(complaint(file, "has vanished while the directory was read"))
            case .unreadable(let found):
                complaints += found
            }
        }
        guard complaints.isEmpty else { return .unreadable(complaints) }
        return .tree(tree ?? ConfigurationNode(.null, at: SourceMark(source: path)))
    }

    private static func readFile(_ path: String) -> Outcome {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            return errno == ENOENT ? .missing : .unreadable([complaint(path, "cannot be read: \(lastError())")])
        }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while bytes.count <= YAMLParser.maximumSize {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count == 0 { break }
            if count < 0 {
                if errno == EINTR { continue }
                return .unreadable([complaint(path, "cannot be read: \(lastError())")])
            }
            bytes.append(contentsOf: buffer[..<count])
        }
        do {
            return .tree(try YAMLParser.parse(bytes: bytes, source: path))
        } catch {
            return .unreadable(error.complaints)
        }
    }

    private static func list(_ path: String) -> Result<[String], ConfigurationComplaint> {
        guard let directory = opendir(path) else {
            return .failure(complaint(path, "cannot be listed: \(lastError())"))
        }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { raw in
                String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix("."), name.hasSuffix(".yml") || name.hasSuffix(".yaml") { names.append(name) }
        }
        return .success(names.sorted { Array($0.utf8).lexicographicallyPrecedes(Array($1.utf8)) })
    }

    private static func complaint(_ path: String, _ message: String) -> ConfigurationComplaint {
        ConfigurationComplaint(at: SourceMark(source: path), path: "", message)
    }

    private static func lastError() -> String { String(cString: strerror(errno)) }
}
