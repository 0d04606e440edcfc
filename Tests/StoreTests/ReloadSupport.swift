import ConfigurationTree
import PluginInterfaces
import StoreConformance

/// A store's section as a file would give it; every part of it stands at c.yml:7:3.
func section(_ pairs: KeyValuePairs<String, String>) -> ConfigurationNode {
    let mark = SourceMark(source: "c.yml", line: 7, column: 3)
    return ConfigurationNode(
        .map(
            pairs.map {
                ConfigurationNode.Pair(
                    key: $0.key, keyMark: mark,
                    value: ConfigurationNode(.scalar(text: $0.value, isPlain: true), at: mark))
            }), at: mark)
}

/// The warnings of a section that was taken.
func warnings(_ result: StoreReconfiguration) throws -> String {
    guard case .taken(let warnings) = result else { throw CaseFailure("not taken: \(result)") }
    return warnings.map(\.description).joined(separator: "\n")
}

/// The errors of a section that was refused.
func refusal(_ result: StoreReconfiguration) throws -> String {
    guard case .refused(let complaints) = result else { throw CaseFailure("not refused: \(result)") }
    return complaints.filter { $0.severity == .error }.map(\.description).joined(separator: "\n")
}
