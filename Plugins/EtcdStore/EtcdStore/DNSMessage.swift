#if Etcd
    /// A server named by an SRV record.
    struct ServiceRecord: Hashable, Sendable {
        var priority: UInt16
        var weight: UInt16
        var port: UInt16
        var target: String
    }

    /// The few things of DNS (RFC 1035, 2782, 6891) that a question for SRV records takes. Pure.
    enum DNSMessage {
        private static let service: UInt16 = 33
        private static let options: UInt16 = 41
        private static let internet: UInt16 = 1
        /// What we take in one datagram; no network fragments it.
        private static let datagram: UInt16 = 1232

        /// What a server answered.
        enum Answer: Hashable, Sendable {
            /// Nothing by that name, or no such records: an answer all the same.
            case records([ServiceRecord])
            /// It did not fit into a datagram: ask over TCP.
            case truncated
            /// The server could not tell (SERVFAIL, REFUSED and the like), by its code.
            case failed(UInt8)
        }

        /// A name in labels; nil when it cannot be one.
        static func encodedName(_ name: String) -> [UInt8]? {
            var text = Substring(name)
            if text.last == "." { text = text.dropLast() }
            var bytes: [UInt8] = []
            for label in text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false) {
                let isName = label.allSatisfy { $0 > 32 && $0 < 127 && $0 != UInt8(ascii: "/") }
                guard (1...63).contains(label.count), isName else { return nil }
                bytes.append(UInt8(label.count))
                bytes.append(contentsOf: label)
            }
            bytes.append(0)
            return bytes.count <= 255 && bytes.count > 1 ? bytes : nil
        }

        /// A question for the SRV records of a name.
        static func query(_ name: String, id: UInt16) -> [UInt8]? {
            guard let labels = encodedName(name) else { return nil }
            var bytes: [UInt8] = []
            func append(_ numbers: UInt16...) {
                for number in numbers { bytes += [UInt8(number >> 8), UInt8(number & 0xFF)] }
            }
            // Recursion desired; one question, one additional record.
            append(id, 0x0100, 1, 0, 0, 1)
            bytes += labels
            append(service, internet)
            bytes.append(0)
            append(options, datagram, 0, 0, 0)
            return bytes
        }

        /// Reads an answer to that question; nil for anything that is none.
        static func answer(_ bytes: [UInt8], to name: String, id: UInt16) -> Answer? {
            var reader = Reader(bytes: bytes)
            guard let labels = encodedName(name), reader.number() == id, let flags = reader.number(),
                flags & 0x8000 != 0, flags & 0x7800 == 0, reader.number() == 1, let count = reader.number(),
                reader.number() != nil, reader.number() != nil,
                let asked = reader.name(), asked.lowercased() == text(labels).lowercased(),
                reader.number() == service, reader.number() == internet
            else { return nil }
            let code = UInt8(flags & 0xF)
            // 3: there is no such name.
            guard code == 0 || code == 3 else { return .failed(code) }
            if flags & 0x0200 != 0 { return .truncated }
            var records: [ServiceRecord] = []
            for _ in 0..<count {
                guard reader.name() != nil, let kind = reader.number(), let family = reader.number(),
                    reader.skip(4), let length = reader.number(), reader.has(Int(length))
                else { return nil }
                let next = reader.position + Int(length)
                if kind == service, family == internet {
                    guard let priority = reader.number(), let weight = reader.number(), let port = reader.number(),
                        let target = reader.name(), reader.position <= next
                    else { return nil }
                    // A dot alone: the service is decidedly not there.
                    if !target.isEmpty, port > 0 {
                        records.append(
                            ServiceRecord(priority: priority, weight: weight, port: port, target: target))
                    }
                }
                reader.position = next
            }
            return .records(records.sorted { ($0.priority, $1.weight) < ($1.priority, $0.weight) })
        }

        private static func text(_ labels: [UInt8]) -> String {
            var reader = Reader(bytes: labels)
            return reader.name() ?? ""
        }

        private struct Reader {
            let bytes: [UInt8]
            var position = 0

            func has(_ count: Int) -> Bool { position + count <= bytes.count }

            mutating func skip(_ count: Int) -> Bool {
                guard has(count) else { return false }
                position += count
                return true
            }

            mutating func number() -> UInt16? {
                guard has(2) else { return nil }
                defer { position += 2 }
                return UInt16(bytes[position]) << 8 | UInt16(bytes[position + 1])
            }

            /// A name, compressed or not; pointers go backwards only, so that none can go round.
            mutating func name() -> String? {
                var labels: [String] = []
                var total = 0
                var place = position
                var hasJumped = false
                while true {
                    guard place < bytes.count else { return nil }
                    let length = Int(bytes[place])
                    if length & 0xC0 == 0xC0 {
                        guard place + 1 < bytes.count else { return nil }
                        let target = (length & 0x3F) << 8 | Int(bytes[place + 1])
                        guard target < place else { return nil }
                        if !hasJumped { position = place + 2 }
                        hasJumped = true
                        place = target
                        total += 1
                        guard total < 256 else { return nil }
                        continue
                    }
                    guard length < 64, place + 1 + length <= bytes.count else { return nil }
                    if length == 0 {
                        if !hasJumped { position = place + 1 }
                        return labels.joined(separator: ".")
                    }
                    total += length + 1
                    guard total < 256 else { return nil }
                    labels.append(String(decoding: bytes[place + 1..<place + 1 + length], as: UTF8.self))
                    place += 1 + length
                }
            }
        }
    }
#endif
