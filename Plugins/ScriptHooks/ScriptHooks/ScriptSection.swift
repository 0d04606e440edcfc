import ChildProcesses
import ConfigurationTree
import PluginInterfaces

/// What the section of a script method says, checked: its command and its keys in the configuration's order.
struct ScriptSection: Sendable {
    struct Pair: Hashable, Sendable {
        var key: String
        var value: String
    }

    var executable: String
    /// The words of the command line behind the first.
    var words: [String]
    var pairs: [Pair] = []
    var hasNoParameters = false
    var worksWithoutLeader = false
    var keepsData = false

    /// - Parameters:
    ///   - defaultCommand: The command line when the section names none; nil: it must.
    ///   - ignored: Keys that are nobody's argument, and may hold anything.
    init(_ section: ConfigurationNode?, path: String, defaultCommand: String?, ignored: Set<String>)
        throws(ConfigurationComplaints)
    {
        var complaints: [ConfigurationComplaint] = []
        let place = section?.mark ?? SourceMark(source: path)
        switch section?.content {
        case nil, .null?, .map?: break
        case .scalar?, .list?:
            complaints.append(
                ConfigurationComplaint(
                    at: place, path: path, "expected a mapping with a 'command:', found something else"))
        }
        var line = defaultCommand
        var lineMark = place
        for pair in section?.pairs ?? [] {
            let isCommand = pair.key == "command"
            if !isCommand, ignored.contains(pair.key) { continue }
            guard let text = ScriptArgument.text(pair.value) else {
                complaints.append(
                    ConfigurationComplaint(
                        at: pair.value.mark, path: "\(path).\(pair.key)",
                        "expected a single value: it is handed to the command as \(isCommand ? "its" : "an") argument"))
                continue
            }
            if isCommand {
                (line, lineMark) = (text, pair.value.mark)
            } else {
                pairs.append(Pair(key: pair.key, value: text))
            }
        }
        hasNoParameters = ScriptArgument.isOn(section?["no_params"])
        worksWithoutLeader = ScriptArgument.isOn(section?["no_leader"])
        keepsData = ScriptArgument.isOn(section?["keep_data"])
        (executable, words) = ("", [])
        if let line {
            do throws(ShellWordsError) {
                (executable, words) = try ShellWords.command(line)
            } catch {
                complaints.append(
                    ConfigurationComplaint(
                        at: lineMark, path: "\(path).command", "'\(line)' cannot be split into words: \(error)"))
            }
        } else if complaints.isEmpty {
            complaints.append(
                ConfigurationComplaint(
                    at: place, path: "\(path).command", "is missing: give the command that the method runs"))
        }
        if !complaints.isEmpty { throw ConfigurationComplaints(complaints) }
    }

    /// `--key=value` of every pair.
    static func arguments(_ pairs: [Pair]) -> [String] { pairs.map { "--\($0.key)=\($0.value)" } }
}
