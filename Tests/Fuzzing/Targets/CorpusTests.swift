import Dispatch
import Glibc
import Testing

/// Every input that is kept, without libFuzzer: `Tests/Fuzzing/run.sh` finds new ones, these stay good.
@Suite("Inputs that fuzzing kept", .timeLimit(.minutes(3)))
struct CorpusTests {
    private static let corpus = "\(#filePath)".replacing("Targets/CorpusTests.swift", with: "Corpus")

    @Test("Nothing that others may write breaks a decoder or its properties", arguments: FuzzTarget.all.map(\.name))
    func replay(name: String) async throws {
        let target = try #require(FuzzTarget.named(name))
        let inputs = try Self.inputs(of: name)
        try #require(!inputs.isEmpty, "there is no seed in Corpus/\(name)")
        let findings = await onThread {
            var findings: [String] = []
            for (file, bytes) in inputs {
                // Cut at every few bytes: what comes from a torn file or a closed connection.
                let step = max(1, bytes.count / 16)
                for length in [bytes.count] + stride(from: 0, to: bytes.count, by: step) {
                    guard let finding = target.run(Array(bytes.prefix(length))) else { continue }
                    findings.append("\(file), first \(length) bytes: \(finding)")
                }
            }
            return findings
        }
        #expect(findings == [])
    }

    /// A decoder's time grows with its input, not with the square of it.
    @Test("No decoder's time grows faster than its input", .serialized, arguments: GrowthPattern.all)
    func growth(pattern: GrowthPattern) async throws {
        // A machine with other work may spoil one measurement, not three.
        for attempt in 1...3 {
            let (short, long) = await onThread { pattern.seconds() }
            if long < 0.05 || long < short * 32 { return }
            #expect(attempt < 3, "eight times the input takes \(long) s instead of \(short) s")
        }
    }

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

/// On a thread that may wait: targets wait for what they do asynchronously, on the threads that tests run on.
private func onThread<Value: Sendable>(_ body: @escaping @Sendable () -> Value) async -> Value {
    await withCheckedContinuation { continuation in
        DispatchQueue(label: "corpus").async { continuation.resume(returning: body()) }
    }
}
