import ClusterModel
public import ConfigurationTree
import Glibc
public import PluginInterfaces

/// Makes embedded stores from the section `embedded:`.
///
/// ```yaml
/// embedded:
///   path: /var/lib/matriarch/demo.db   # required; the same for all members, on a local disk
///   poll_interval: 1                   # seconds between looks for what inotify missed
/// ```
///
/// For the processes of one host only.
public struct EmbeddedStoreFactory: StoreFactory {
    public let section = "embedded"

    public init() {}

    static let pollBounds = 0.1...60.0

    public func check(_ section: ConfigurationNode) -> [ConfigurationComplaint] {
        read(section).complaints
    }

    public func makeStore(
        _ section: ConfigurationNode, _ context: PluginContext
    ) throws(ConfigurationComplaints) -> any CoordinationStore {
        let (path, pollInterval, complaints) = read(section)
        let errors = complaints.filter { $0.severity == .error }
        guard errors.isEmpty, let path else { throw ConfigurationComplaints(errors) }
        return EmbeddedCoordinationStore(
            path: path, root: context.root, pollInterval: pollInterval, logger: context.logger)
    }

    private func read(
        _ section: ConfigurationNode
    ) -> (path: String?, pollInterval: Duration, complaints: [ConfigurationComplaint]) {
        var complaints: [ConfigurationComplaint] = []
        guard case .map(let pairs) = section.content else {
            complaints.append(
                ConfigurationComplaint(
                    at: section.mark, path: self.section,
                    "must be a mapping with the file's path, such as 'path: /var/lib/matriarch/demo.db'"))
            return (nil, .seconds(1), complaints)
        }
        var path: String?
        var pollInterval = Duration.seconds(1)
        for pair in pairs {
            switch pair.key {
            case "path":
                switch readPath(pair.value) {
                case .success(let text): path = text
                case .failure(let complaint): complaints.append(complaint)
                }
            case "poll_interval":
                if case .scalar(let text, true) = pair.value.content, let seconds = Double(text),
                    Self.pollBounds.contains(seconds)
                {
                    pollInterval = .milliseconds(Int64(seconds * 1000))
                } else {
                    complaints.append(
                        ConfigurationComplaint(
                            at: pair.value.mark, path: "\(self.section).poll_interval",
                            "must be a number of seconds from 0.1 to 60, such as 1"))
                }
            default:
                complaints.append(
                    ConfigurationComplaint(
                        .warning, at: pair.keyMark, path: "\(self.section).\(pair.key)",
                        "unknown key; the embedded store knows path and poll_interval"))
            }
        }
        if !pairs.contains(where: { $0.key == "path" }) {
            complaints.append(
                ConfigurationComplaint(
                    at: section.mark, path: "\(self.section).path",
                    "is missing: the file that all members on this host share, such as /var/lib/matriarch/demo.db"))
        }
        return (path, pollInterval, complaints)
    }

    private func readPath(_ node: ConfigurationNode) -> Result<String, ConfigurationComplaint> {
        func complaint(_ message: String) -> Result<String, ConfigurationComplaint> {
            .failure(ConfigurationComplaint(at: node.mark, path: "\(section).path", message))
        }
        guard case .scalar(let text, _) = node.content, !text.isEmpty else {
            return complaint("must be the name of a file, such as /var/lib/matriarch/demo.db")
        }
        guard text.hasPrefix("/") else {
            return complaint(
                "must be an absolute path, since every member opens it from its own directory: '\(text)' is not")
        }
        guard !text.utf8.contains(0) else { return complaint("must not contain a NUL character") }
        var status = stat()
        if text.hasSuffix("/") || (stat(text, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR) {
            return complaint("must name a file; '\(text)' is a directory")
        }
        return .success(text)
    }
}
