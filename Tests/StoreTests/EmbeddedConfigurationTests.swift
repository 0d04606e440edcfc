import ConfigurationTree
import EmbeddedStore
import Logging
import PluginInterfaces
import Testing

@Suite struct EmbeddedConfiguration {
    private let factory = EmbeddedStoreFactory()

    private func node(_ content: ConfigurationNode.Content, _ line: Int, _ column: Int) -> ConfigurationNode {
        ConfigurationNode(content, at: SourceMark(source: "pg1.yml", line: line, column: column))
    }

    private func text(_ text: String, _ line: Int, isPlain: Bool = true) -> ConfigurationNode {
        node(.scalar(text: text, isPlain: isPlain), line, 20)
    }

    private func section(_ pairs: (String, ConfigurationNode)...) -> ConfigurationNode {
        node(
            .map(
                pairs.map {
                    .init(
                        key: $0.0,
                        keyMark: SourceMark(source: "pg1.yml", line: $0.1.mark.line, column: 3), value: $0.1)
                }), 4, 3)
    }

    @Test func aGoodSectionHasNoComplaints() {
        #expect(factory.section == "embedded")
        #expect(factory.check(section(("path", text("/var/lib/demo.db", 5)))).isEmpty)
        #expect(
            factory.check(section(("path", text("/x/ü b.db", 5, isPlain: false)), ("poll_interval", text("0.5", 6))))
                .isEmpty)
    }

    @Test func complaintsPointToTheirPlace() {
        func said(_ node: ConfigurationNode) -> [String] { factory.check(node).map(\.description) }
        #expect(
            said(section()) == [
                "pg1.yml:4:3: embedded.path: is missing: the file that all members on this host share, such as "
                    + "/var/lib/matriarch/demo.db"
            ])
        #expect(said(node(.null, 4, 1)).first?.hasPrefix("pg1.yml:4:1: embedded: must be a mapping") == true)
        #expect(said(node(.list([]), 4, 1)).count == 1)
        for wrong in [
            text("demo.db", 5), text("", 5), text("/tmp", 5), text("/var/lib/", 5), node(.null, 5, 20),
            node(.list([]), 5, 20), node(.map([]), 5, 20), text("/a\0b", 5),
        ] {
            let complaints = factory.check(section(("path", wrong)))
            #expect(complaints.count == 1)
            #expect(complaints.first?.description.hasPrefix("pg1.yml:5:20: embedded.path: ") == true)
            #expect(complaints.first?.severity == .error)
        }
        for wrong in [
            text("0", 6), text("61", 6), text("soon", 6), text("nan", 6), text("1", 6, isPlain: false),
            node(.null, 6, 20),
        ] {
            let complaints = factory.check(section(("path", text("/a/b", 5)), ("poll_interval", wrong)))
            #expect(complaints.map(\.path) == ["embedded.poll_interval"])
            #expect(complaints.first?.mark == SourceMark(source: "pg1.yml", line: 6, column: 20))
        }
        let unknown = factory.check(section(("path", text("/a/b", 5)), ("pfad", text("x", 7))))
        #expect(unknown.map(\.severity) == [.warning])
        #expect(unknown.first?.mark == SourceMark(source: "pg1.yml", line: 7, column: 3))
    }

    @Test func aBadSectionMakesNoStore() async throws {
        let context = PluginContext(
            root: "/service/demo/", memberName: "pg1", scope: "demo", stateDirectory: "/nonexistent",
            retryTimeout: .seconds(10), logger: Logger(label: "test"))
        let complaints = #expect(throws: ConfigurationComplaints.self) {
            try factory.makeStore(section(("poll_interval", text("x", 6)), ("other", text("x", 7))), context)
        }
        #expect(complaints?.complaints.count == 2)
        try await withTemporaryDirectory { directory in
            let store = try factory.makeStore(section(("path", text(directory + "/s.db", 5))), context)
            #expect(try await store.read(.all, .linearizable, within: .seconds(5)).entries.isEmpty)
            await store.close()
        }
    }
}
