#if Consul
    /// The form in which values travel in JSON (RFC 4648, the usual alphabet with padding).
    enum Base64 {
        private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

        /// What each byte stands for; 64 for those that stand for nothing.
        private static let values: [UInt8] = {
            var table = [UInt8](repeating: 64, count: 256)
            for (value, byte) in alphabet.enumerated() { table[Int(byte)] = UInt8(value) }
            return table
        }()

        static func encode(_ bytes: [UInt8]) -> String {
            var text: [UInt8] = []
            text.reserveCapacity((bytes.count + 2) / 3 * 4)
            var index = 0
            while index < bytes.count {
                let first = bytes[index]
                let second = index + 1 < bytes.count ? bytes[index + 1] : 0
                let third = index + 2 < bytes.count ? bytes[index + 2] : 0
                text.append(alphabet[Int(first >> 2)])
                text.append(alphabet[Int((first & 3) << 4 | second >> 4)])
                text.append(
                    index + 1 < bytes.count ? alphabet[Int((second & 15) << 2 | third >> 6)] : UInt8(ascii: "="))
                text.append(index + 2 < bytes.count ? alphabet[Int(third & 63)] : UInt8(ascii: "="))
                index += 3
            }
            return String(decoding: text, as: UTF8.self)
        }

        /// Nil for what is no Base64.
        static func decode(_ text: String) -> [UInt8]? {
            let bytes = Array(text.utf8)
            guard bytes.count % 4 == 0 else { return nil }
            var padding = 0
            while padding < 2, padding < bytes.count, bytes[bytes.count - 1 - padding] == UInt8(ascii: "=") {
                padding += 1
            }
            var result: [UInt8] = []
            result.reserveCapacity(bytes.count / 4 * 3)
            var word: UInt32 = 0
            for (index, byte) in bytes.enumerated() {
                let isPadding = index >= bytes.count - padding
                let value = isPadding ? 0 : values[Int(byte)]
                if value > 63 { return nil }
                word = word << 6 | UInt32(value)
                if index % 4 == 3 {
                    result.append(UInt8(truncatingIfNeeded: word >> 16))
                    result.append(UInt8(truncatingIfNeeded: word >> 8))
                    result.append(UInt8(truncatingIfNeeded: word))
                    word = 0
                }
            }
            result.removeLast(padding)
            return result
        }
    }
#endif
