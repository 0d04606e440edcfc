import ClusterModel
import Glibc
import Logging

/// `patroni.dynamic.json` in the data directory: the dynamic configuration last seen, under the name that the contract gives it.
enum DynamicCache {
    private static let name = "patroni.dynamic.json"

    static func read(_ dataDirectory: String) -> JSONObject? {
        guard let bytes = StateDirectory(path: dataDirectory).read(name) else { return nil }
        return (try? JSONValue.parse(bytes))?.object
    }

    static func write(_ dataDirectory: String, _ configuration: JSONObject, _ logger: Logger) {
        guard access(dataDirectory + "/PG_VERSION", F_OK) == 0 else { return }
        do throws(AgentError) {
            try StateDirectory(path: dataDirectory).write(
                name, Array(JSONValue.object(configuration).serialized().utf8))
        } catch {
            logger.warning("\(error)")
        }
    }
}
