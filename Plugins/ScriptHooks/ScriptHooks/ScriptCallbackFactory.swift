import ChildProcesses
public import ConfigurationTree
public import PluginInterfaces

/// Makes the handler of `postgresql.callbacks`: a command line for each of the five actions.
///
/// ```yaml
/// callbacks:
///   on_role_change: /etc/ha/move-address.sh --interface eth0
///   timeout: 120
/// ```
/// `timeout` (seconds, or with a unit: `90s`, `5min`; 0: none) is how long one callback may take; 5 minutes when absent.
public struct ScriptCallbackFactory: CallbackFactory {
    public static let defaultTimeout: Duration = .seconds(300)

    public init() {}

    public func makeHandler(_ section: ConfigurationNode?) throws(ConfigurationComplaints) -> (any CallbackHandler)? {
        let path = "postgresql.callbacks"
        guard let section else { return nil }
        var complaints: [ConfigurationComplaint] = []
        switch section.content {
        case .null: return nil
        case .map: break
        case .scalar, .list:
            throw ConfigurationComplaints([
                ConfigurationComplaint(
                    at: section.mark, path: path, "expected a mapping like 'on_role_change: /path/to/command'")
            ])
        }
        var commands: [CallbackEvent.Action: ScriptCallbacks.Command] = [:]
        for action in CallbackEvent.Action.allCases {
            guard let node = section[action.rawValue], !node.isNull else { continue }
            let key = "\(path).\(action.rawValue)"
            guard case .scalar(let line, _) = node.content else {
                complaints.append(ConfigurationComplaint(at: node.mark, path: key, "expected a command line"))
                continue
            }
            // An empty line is how an inherited configuration switches a callback off.
            if line.allSatisfy(\.isWhitespace) { continue }
            do throws(ShellWordsError) {
                let (executable, words) = try ShellWords.command(line)
                commands[action] = ScriptCallbacks.Command(executable: executable, words: words)
            } catch {
                complaints.append(
                    ConfigurationComplaint(at: node.mark, path: key, "'\(line)' cannot be split into words: \(error)"))
            }
        }
        var timeout: Duration? = Self.defaultTimeout
        if let node = section["timeout"], !node.isNull {
            if case .scalar(let text, _) = node.content, let duration = ValueText.duration(text), duration >= .zero {
                timeout = duration == .zero ? nil : duration
            } else {
                complaints.append(
                    ConfigurationComplaint(
                        at: node.mark, path: "\(path).timeout",
                        "expected seconds, or a time like 90s or 5min; 0 for none"))
            }
        }
        if !complaints.isEmpty { throw ConfigurationComplaints(complaints) }
        return commands.isEmpty ? nil : ScriptCallbacks(commands: commands, timeout: timeout)
    }
}
