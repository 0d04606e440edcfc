import AgentConfiguration
import ClusterModel
import ConfigurationTree

/// A good file, to be spoilt by the tests.
enum Samples {
    static let stores = ["zookeeper", "embedded"]

    static let minimal = """
        scope: demo
        name: pg1
        restapi:
          listen: 127.0.0.1:8008
        zookeeper:
          hosts: [127.0.0.1:2181]
        postgresql:
          listen: 127.0.0.1:5433
          data_dir: /srv/pg1
          authentication:
            replication: {username: replicator, password: rep-pass}

        """

    static func load(_ text: String, _ environment: [String: String] = [:]) -> ConfigurationLoader.Loaded {
        ConfigurationLoader.load(text: text, source: "c.yml", environment: environment, knownStores: stores)
    }

    /// Complaints as they are printed.
    static func complaints(_ text: String, _ environment: [String: String] = [:]) -> [String] {
        load(text, environment).complaints.map { "\($0.severity) \($0)" }
    }

    /// The minimal file with more below a section.
    static func minimal(under section: String, _ lines: String) -> String {
        var result: [Substring] = []
        for line in minimal.split(separator: "\n", omittingEmptySubsequences: false) {
            result.append(line)
            if line == "\(section):" { result.append(contentsOf: lines.split(separator: "\n")) }
        }
        return result.joined(separator: "\n")
    }

    static func dynamic(_ json: String) throws -> (settings: DynamicSettings?, complaints: [String]) {
        let (settings, complaints) = DynamicSettings.decode(try JSONValue.parse(json), source: "config")
        return (settings, complaints.map { "\($0.severity) \($0)" })
    }
}
