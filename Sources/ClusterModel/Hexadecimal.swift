/// Hexadecimal digits in other programs' texts. Swift's own integers would also read a sign among them.
public enum Hexadecimal {
    /// Whether a byte is one of `0-9a-fA-F`.
    public static func isDigit(_ byte: UInt8) -> Bool {
        (48...57).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte | 0x20)
    }

    /// The byte that two digits stand for; nil when they are none.
    public static func byte(_ digits: some Collection<UInt8>) -> UInt8? {
        guard digits.count == 2, digits.allSatisfy(isDigit) else { return nil }
        return UInt8(String(decoding: Array(digits), as: UTF8.self), radix: 16)
    }
}
