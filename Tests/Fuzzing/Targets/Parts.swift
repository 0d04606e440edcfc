import Dispatch
import Synchronization

/// Takes an input apart: small choices from its end, texts from its beginning, so that seeds stay readable.
struct Parts {
    /// What separates the records of an input that has several.
    static let separator = "\n---\n"

    /// The first line and what follows it.
    static func headed(_ text: String) -> (head: String, rest: String) {
        let bytes = Array(text.utf8)
        let end = bytes.firstIndex(of: 10) ?? bytes.count
        return (
            String(decoding: bytes[..<end], as: UTF8.self),
            String(decoding: bytes[min(end + 1, bytes.count)...], as: UTF8.self)
        )
    }

    /// The records of an input, by the separator line.
    static func records(_ bytes: [UInt8]) -> [[UInt8]] {
        let mark = Array(separator.utf8)
        var records: [[UInt8]] = []
        var current: [UInt8] = []
        for byte in bytes {
            current.append(byte)
            if byte == 10, current.suffix(mark.count).elementsEqual(mark) {
                records.append(Array(current.dropLast(mark.count)))
                current = []
            }
        }
        return records + [current]
    }
}

/// Waits for something asynchronous, as libFuzzer's own thread must.
func waiting<Value: Sendable>(_ body: @escaping @Sendable () async -> Value) -> Value? {
    let done = DispatchSemaphore(value: 0)
    let result = Mutex<Value?>(nil)
    Task.detached {
        let value = await body()
        result.withLock { $0 = value }
        done.signal()
    }
    done.wait()
    return result.withLock { $0 }
}

func text(_ bytes: some Sequence<UInt8>) -> String { String(decoding: Array(bytes), as: UTF8.self) }

/// By scalar: a combining mark behind a quote does not hide it.
func replacing(_ mark: Unicode.Scalar, in text: String, by other: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars { result += scalar == mark ? other : String(scalar) }
    return result
}
