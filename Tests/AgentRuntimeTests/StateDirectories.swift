import Glibc
import Testing

@testable import AgentRuntime

/// A state directory of a test's own, gone afterwards with these files in it.
func withStateDirectory(_ names: [String], _ body: (StateDirectory) throws -> Void) throws {
    var template = Array("/tmp/matriarch-state.XXXXXX".utf8CString)
    try #require(mkdtemp(&template) != nil)
    let path = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer {
        for name in names {
            unlink("\(path)/\(name)")
            unlink("\(path)/\(name).new")
        }
        rmdir(path)
    }
    try body(StateDirectory(path: path))
}
