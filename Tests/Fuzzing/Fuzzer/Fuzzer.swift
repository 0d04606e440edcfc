import FuzzTargets
import Glibc

// The variable MATRIARCH_FUZZ_TARGET chooses the target; `fuzz --list` names them all. All else is libFuzzer's.

private let target: FuzzTarget = {
    let name = getenv("MATRIARCH_FUZZ_TARGET").map { String(cString: $0) } ?? ""
    guard let target = FuzzTarget.named(name) else {
        fail("MATRIARCH_FUZZ_TARGET is '\(name)'; it has to be one of: \(FuzzTarget.all.map(\.name))")
    }
    return target
}()

@_cdecl("LLVMFuzzerInitialize")
func begin(
    _ count: UnsafeMutablePointer<CInt>?,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>?
) -> CInt {
    if CommandLine.arguments.dropFirst().first == "--list" {
        for target in FuzzTarget.all { print("\(target.name)\t\(target.maximumLength)\t\(target.reads)") }
        exit(0)
    }
    if CommandLine.arguments.dropFirst().first == "--growth" {
        FuzzTarget.measureGrowth(say)
        exit(0)
    }
    _ = target
    return 0
}

@_cdecl("LLVMFuzzerTestOneInput")
func takeInput(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
    if let finding = target.run(Array(UnsafeBufferPointer(start: data, count: size))) { fail("finding: \(finding)") }
    return 0
}

/// The message, then an abort: libFuzzer keeps the input.
private func fail(_ message: String) -> Never {
    say(message + "\n")
    abort()
}

private func say(_ text: String) {
    let bytes = Array(text.utf8)
    _ = write(STDERR_FILENO, bytes, bytes.count)
}

/// libFuzzer as a function: its own `main` gives way to the name that the package manager links a program's entry by.
@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>,
    _ body: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

@_cdecl("fuzz_main")
func main(_ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?) -> CInt {
    var count = count
    var arguments = arguments
    return runDriver(&count, &arguments, takeInput)
}
