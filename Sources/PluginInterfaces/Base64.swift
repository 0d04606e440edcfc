/// The form in which JSON and HTTP carry bytes (RFC 4648: the usual alphabet, with padding).
public enum Base64 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    /// What each byte stands for; 0xFF for those that stand for nothing.
    private static let values: [UInt8] = {
        var values = [UInt8](repeating: 0xFF, count: 256)
        for (index, character) in alphabet.enumerated() { values[Int(character)] = UInt8(index) }
        return values
    }()

    /// The bytes as text.
    public static func encode(_ bytes: some Collection<UInt8>) -> String {
        var output: [UInt8] = []
        output.reserveCapacity((bytes.count + 2) / 3 * 4)
        var buffer: UInt32 = 0
        var held = 0
        for byte in bytes {
            buffer = buffer << 8 | UInt32(byte)
            held += 1
            guard held == 3 else { continue }
            for shift in [18, 12, 6, 0] { output.append(alphabet[Int(buffer >> UInt32(shift) & 63)]) }
            buffer = 0
            held = 0
        }
        if held > 0 {
            buffer <<= UInt32(8 * (3 - held))
            for index in 0..<4 {
                let padding = index > held
                output.append(padding ? UInt8(ascii: "=") : alphabet[Int(buffer >> UInt32(18 - 6 * index) & 63)])
            }
        }
        return String(decoding: output, as: UTF8.self)
    }

    /// The bytes that the text stands for; nil for anything that is no such text.
    public static func decode(_ text: String) -> [UInt8]? {
        let bytes = Array(text.utf8)
        guard bytes.count % 4 == 0 else { return nil }
        let padding = bytes.suffix(2).count { $0 == UInt8(ascii: "=") }
        let digits = bytes.dropLast(padding)
        var output: [UInt8] = []
        output.reserveCapacity(bytes.count / 4 * 3)
        var buffer: UInt32 = 0
        var bits = 0
        for digit in digits {
            let value = values[Int(digit)]
            guard value != 0xFF else { return nil }
            buffer = buffer << 6 | UInt32(value)
            bits += 6
            if bits >= 8 {
                bits -= 8
                output.append(UInt8(truncatingIfNeeded: buffer >> UInt32(bits)))
                buffer &= (1 << UInt32(bits)) - 1
            }
        }
        return output
    }
}
