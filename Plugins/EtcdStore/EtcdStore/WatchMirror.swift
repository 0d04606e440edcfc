#if Etcd
    import ClusterModel
    import PluginInterfaces

    /// What a watch has told so far of the keys below the root: which there are, and when each was last changed. Pure.
    ///
    /// It is there to find out when a watch has fallen silent: a proof of the lease reads how many keys there are and which
    /// change was the last, and what a living watch has told agrees with that.
    struct WatchMirror: Hashable, Sendable {
        /// The same of the store itself, as one linearizable read shows it.
        struct Summary: Hashable, Sendable {
            var count: Int
            var newest: UInt64
            var revision: UInt64
            var era: UInt32

            /// The range that tells it.
            static func range(_ keys: EtcdKeys) -> JSONObject {
                [
                    "key": .string(keys.encodedRoot), "range_end": .string(keys.encodedEnd), "limit": "1",
                    "sort_order": "DESCEND", "sort_target": "MOD", "keys_only": true,
                ]
            }
        }

        /// Each key's last change.
        private(set) var modified: [[UInt8]: UInt64]
        /// Everything up to here has been told.
        private(set) var revision: UInt64
        var era: UInt32

        init(_ found: [KeyValue], revision: UInt64, era: UInt32) {
            modified = Dictionary(found.map { ($0.key, $0.modified) }) { max($0, $1) }
            self.revision = revision
            self.era = era
        }

        mutating func apply(_ events: [WatchMessage.Event]) {
            for event in events {
                if event.isDeletion { modified[event.key] = nil } else { modified[event.key] = event.revision }
                revision = max(revision, event.revision)
            }
        }

        /// The watch says that it has told everything up to a revision.
        mutating func progressed(to revision: UInt64) { self.revision = max(self.revision, revision) }

        /// Whether the watch has told everything that the read showed.
        func agrees(with summary: Summary) -> Bool {
            if summary.era != era || revision >= summary.revision { return true }
            return modified.count == summary.count && (modified.values.max() ?? 0) == summary.newest
        }
    }

    /// One message of a watch.
    struct WatchMessage: Hashable, Sendable {
        struct Event: Hashable, Sendable {
            var key: [UInt8]
            var isDeletion: Bool
            var revision: UInt64
        }

        var header: AnswerHeader
        var events: [Event]
        var isCreation: Bool
        var isCancelled: Bool
        /// The watch wants what has been compacted up to here.
        var compacted: UInt64?
        var reason: String?

        /// Nil for what is no message of a watch.
        init?(_ value: JSONValue) {
            guard let result = value["result"]?.object, let header = AnswerHeader(result["header"]) else { return nil }
            self.header = header
            events = []
            for element in result["events"]?.array ?? [] {
                guard let keyValue = element["kv"].flatMap({ KeyValue($0) }), keyValue.modified > 0 else { return nil }
                // Its type is left out for a put.
                let kind = element["type"]
                events.append(
                    Event(
                        key: keyValue.key, isDeletion: kind?.string == "DELETE" || kind?.integer == 1,
                        revision: keyValue.modified))
            }
            isCreation = result["created"]?.bool ?? false
            isCancelled = result["canceled"]?.bool ?? false
            compacted = result["compact_revision"]?.unsigned.flatMap { $0 > 0 ? $0 : nil }
            reason = result["cancel_reason"]?.string
        }
    }

    /// Puts the pieces of a stream together to lines, however they were cut.
    struct LineAssembler: Sendable {
        private var rest: [UInt8] = []
        let limit: Int

        init(limit: Int) {
            self.limit = limit
        }

        /// The lines that are whole now; nil when one is longer than the limit.
        mutating func add(_ piece: [UInt8]) -> [[UInt8]]? {
            var lines: [[UInt8]] = []
            var start = piece.startIndex
            while let end = piece[start...].firstIndex(of: UInt8(ascii: "\n")) {
                let line = rest + piece[start..<end]
                rest = []
                start = end + 1
                if line.count > limit { return nil }
                if !line.isEmpty { lines.append(line) }
            }
            rest += piece[start...]
            return rest.count > limit ? nil : lines
        }
    }
#endif
