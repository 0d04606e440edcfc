#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// An IPv4 or IPv6 network, or one address. IPv4 written as IPv6 (`::ffff:10.0.0.1`) is IPv4.
struct IPNetwork: Hashable, Sendable {
    var address: [UInt8]
    var prefixLength: Int

    /// Reads `10.0.0.0/8`, `10.1.2.3`, `fd00::/8`, `::1`; nil for anything else, host names above all.
    init?(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = parts.first, let (address, wasMapped) = Self.bytes(of: String(first)) else { return nil }
        self.address = address
        self.prefixLength = address.count * 8
        guard parts.count == 2 else { return }
        guard var length = Int(parts[1]), length >= 0 else { return nil }
        if wasMapped { length -= 96 }
        guard (0...address.count * 8).contains(length) else { return nil }
        self.prefixLength = length
    }

    func contains(_ text: String) -> Bool {
        guard let (other, _) = Self.bytes(of: text), other.count == address.count else { return false }
        let whole = prefixLength / 8
        guard address.prefix(whole).elementsEqual(other.prefix(whole)) else { return false }
        let rest = prefixLength % 8
        guard rest > 0 else { return true }
        let mask = UInt8(truncatingIfNeeded: 0xFF00 >> rest)
        return address[whole] & mask == other[whole] & mask
    }

    private static func bytes(of text: String) -> (bytes: [UInt8], wasMapped: Bool)? {
        // A link-local address may name its interface.
        let plain = String(text.prefix { $0 != "%" })
        var four = in_addr()
        if inet_pton(AF_INET, plain, &four) == 1 {
            return (withUnsafeBytes(of: &four) { Array($0) }, false)
        }
        var six = in6_addr()
        guard inet_pton(AF_INET6, plain, &six) == 1 else { return nil }
        let bytes = withUnsafeBytes(of: &six) { Array($0) }
        let mapped: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]
        return bytes.starts(with: mapped) ? (Array(bytes.dropFirst(12)), true) : (bytes, false)
    }
}
