import ClusterModel
import Glibc
import Logging
import PluginInterfaces
import StoreConformance
import Testing

@testable import EmbeddedStore

/// All that applies: between this store and its file there is no network to fail (`StoreCases.behindProxy`), and no server
/// to restart (`StoreCases.restarts`). `EmbeddedFailures` kills and stops the processes that share the file instead.
@Suite struct EmbeddedStoreConformance {
    @Test(arguments: StoreCases.all) func conforms(_ storeCase: StoreCase) async throws {
        try await withTemporaryDirectory { directory in
            try await storeCase.run(embeddedStore(in: directory))
        }
    }
}

/// One file, opened anew by each client, as separate processes would.
func embeddedStore(in directory: String, lifetime: Duration = .seconds(5)) -> StoreUnderTest {
    StoreUnderTest(
        makeStore: { openEmbedded(directory + "/store.db") }, lifetime: lifetime, expiryLateness: .seconds(3),
        signalLateness: .seconds(3), endsWithoutRenewal: true)
}

func openEmbedded(
    _ path: String, root: String = "/service/demo/", bootID: String = "boot-1", pollInterval: Duration = .seconds(1)
) -> EmbeddedCoordinationStore {
    EmbeddedCoordinationStore(
        path: path, root: root, pollInterval: pollInterval, bootID: bootID,
        logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
}

func withTemporaryDirectory<Value>(_ body: (String) async throws -> Value) async throws -> Value {
    var template = Array("/tmp/matriarch-store-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw CaseFailure("no temporary directory") }
    let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer {
        if let entries = opendir(directory) {
            while let entry = readdir(entries) {
                let name = withUnsafeBytes(of: entry.pointee.d_name) { buffer in
                    String(decoding: buffer.prefix { $0 != 0 }, as: UTF8.self)
                }
                if name != ".", name != ".." { unlink(directory + "/" + name) }
            }
            closedir(entries)
        }
        rmdir(directory)
    }
    return try await body(directory)
}
