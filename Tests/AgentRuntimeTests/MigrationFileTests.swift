import AgentConfiguration
import ClusterModel
import Logging
import Testing

@testable import AgentRuntime

/// Which store an agent begins with, by its configuration and by what it keeps of a migration.
struct MigrationFileTests {
    private let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    private func section(_ name: String, _ hosts: String) throws -> StoreSection {
        try MigrationFile.section(name, ["hosts": .string(hosts)])
    }

    private func settings(_ section: StoreSection) -> Settings {
        Settings(scope: "demo", name: "pg1", store: section)
    }

    @Test func `the record says where the cluster is, until the configuration does`() throws {
        let old = try section("zookeeper", "a:2181")
        let new = try section("etcd3", "b:2379")
        try withStateDirectory(["migration"]) { state in
            func begin(_ section: StoreSection) throws -> (String, file: MigrationFile?) {
                let beginning = try MigrationFile.beginning(settings(section), state, logger)
                return (beginning.store.name, beginning.file)
            }
            var file = MigrationFile(id: "m1", section: new, from: MigrationFile.value(of: old))
            // None at all.
            #expect(try begin(old).0 == "zookeeper")
            #expect(try begin(old).file == nil)
            // Made ready, and not gone yet.
            try state.write(MigrationFile.name, file.bytes)
            #expect(try begin(old).0 == "zookeeper")
            #expect(try begin(old).file?.id == "m1")
            // A configuration that is ahead of what this member has seen: the store before says whether it is right.
            #expect(try begin(new).0 == "zookeeper")
            #expect(try begin(new).file?.isOver == false)
            // Gone: the configuration is out of date.
            file.isOver = true
            try state.write(MigrationFile.name, file.bytes)
            #expect(try begin(old).0 == "etcd3")
            #expect(try begin(old).file?.isOver == true)
            // The configuration names it: the record is done.
            #expect(try begin(new).0 == "etcd3")
            #expect(try begin(new).file == nil)
            #expect(state.read(MigrationFile.name) == nil)
        }
    }

    @Test func `a record that cannot be read leaves the word to the configuration`() throws {
        try withStateDirectory(["migration"]) { state in
            let old = try section("consul", "c:8500")
            for text in ["", "{", "{}", #"{"id":"m1","store":"etcd3","section":[],"from":{}}"#] {
                try state.write(MigrationFile.name, Array(text.utf8))
                let beginning = try MigrationFile.beginning(settings(old), state, logger)
                #expect(beginning.store.name == "consul", "\(text)")
                #expect(beginning.file == nil, "\(text)")
            }
        }
    }
}
