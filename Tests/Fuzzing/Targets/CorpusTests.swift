import Dispatch
import Glibc
import Testing

/// Every input that is kept, without libFuzzer: `Tests/Fuzzing/run.sh` finds new ones, these stay good.
@Suite("Inputs that fuzzing kept")
struct CorpusTests {
    private static let corpus = "\(#filePath)".replacing("Targets/CorpusTests.swift", with: "Corpus")

    @Test("Nothing that others may write breaks a decoder or its properties", arguments: FuzzTarget.all.map(\.name))
    func replay(name: String) async throws {
        let target = try #require(FuzzTarget.named(name))
        let inputs = try Self.inputs(of: name)
        try #require(!inputs.isEmpty, "there is no seed in Corpus/\(name)")
        for (file, bytes) in inputs {
            // Cut at every few bytes: what comes from a torn file or a closed connection.
            let step = max(1, bytes.count / 16)
            for length in [bytes.count] + stride(from: 0, to: bytes.count, by: step) {
                let part = Array(bytes.prefix(length))
                let finding = await Self.apart { target.run(part) }
                #expect(finding == nil, "\(name)/\(file), first \(length) bytes")
            }
        }
    }

    /// Some targets wait for something asynchronous: never on a thread of Swift's own pool.
    private static func apart<Value: Sendable>(_ body: @escaping @Sendable () -> Value) async -> Value {
        await withCheckedContinuation { continuation in
            queue.async { continuation.resume(returning: body()) }
        }
    }

    private static let queue = DispatchQueue(label: "corpus")

    private static func inputs(of target: String) throws -> [(name: String, bytes: [UInt8])] {
        let path = corpus + "/" + target
        let directory = try #require(opendir(path), "\(path) cannot be listed")
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return try names.sorted().map { ($0, try contents(of: path + "/" + $0)) }
    }

    private static func contents(of path: String) throws -> [UInt8] {
        let file = try #require(fopen(path, "re"), "\(path) cannot be read")
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = fread(&buffer, 1, buffer.count, file)
            if count == 0 { return bytes }
            bytes += buffer[..<count]
        }
    }
}
