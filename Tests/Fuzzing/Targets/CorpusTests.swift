import Glibc
import Testing

/// Every input that is kept, without libFuzzer: `Tests/Fuzzing/run.sh` finds new ones, these stay good.
@Suite("Inputs that fuzzing kept")
struct CorpusTests {
    private static let corpus = "\(#filePath)".replacing("Targets/CorpusTests.swift", with: "Corpus")

    @Test("Nothing that others may write breaks a decoder or its properties", arguments: FuzzTarget.all.map(\.name))
    func replay(name: String) throws {
        let target = try #require(FuzzTarget.named(name))
        let inputs = try Self.inputs(of: name)
        try #require(!inputs.isEmpty, "there is no seed in Corpus/\(name)")
        for (file, bytes) in inputs {
            // Cut at every few bytes: what comes from a torn file or a closed connection.
            let step = max(1, bytes.count / 16)
            for length in [bytes.count] + stride(from: 0, to: bytes.count, by: step) {
                let finding = target.run(Array(bytes.prefix(length)))
                #expect(finding == nil, "\(name)/\(file), first \(length) bytes")
            }
        }
    }

    /// A decoder's time grows with its input, not with the square of it.
    ///
    /// Each pattern is repeated to two lengths, one eight times the other; the processor time of this thread is compared.
    @Test("No decoder's time grows faster than its input", arguments: GrowthPattern.all)
    func growth(pattern: GrowthPattern) throws {
        let target = try #require(FuzzTarget.named(pattern.target))
        func seconds(_ size: Int) -> Double {
            let bytes = pattern.bytes(size)
            return (0..<2).map { _ in
                let start = threadSeconds()
                _ = target.run(bytes)
                return threadSeconds() - start
            }.min() ?? 0
        }
        let short = seconds(8 << 10)
        let long = seconds(64 << 10)
        #expect(
            long < 0.05 || long < short * 32,
            "\(pattern.target): 8 KiB take \(short) s, 64 KiB \(long) s, of \(pattern)")
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

private func threadSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}
