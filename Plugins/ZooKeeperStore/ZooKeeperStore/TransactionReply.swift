#if ZooKeeper
    import CZooKeeper

    /// A transaction's reply, with the memory that the library writes its results to.
    ///
    /// Sound as `Sendable`: the pointers are constant; what they point to is written before the request is handed to the
    /// library, by the library until it answers, and read once after that (or never, when the deadline was first).
    final class TransactionReply: PendingReply<[NodeStat?]>, @unchecked Sendable {
        let operations: UnsafeMutablePointer<zoo_op_t>
        let results: UnsafeMutablePointer<zoo_op_result_t>
        private let stats: UnsafeMutablePointer<Stat>
        private let isSet: [Bool]
        private let count: Int
        // The library copies these while it serialises, but only the object as a whole is known to live that long.
        private var memory: [UnsafeMutableRawPointer] = []
        private let observe: (@Sendable (Result<[NodeStat?], CallFailure>) -> Void)?
        /// Set before the reply is handed out.
        var refused: CallFailure?

        init(
            _ list: [Operation], accessList: AccessListMemory,
            observe: (@Sendable (Result<[NodeStat?], CallFailure>) -> Void)?
        ) {
            count = list.count
            operations = .allocate(capacity: max(1, count))
            results = .allocate(capacity: max(1, count))
            stats = .allocate(capacity: max(1, count))
            operations.initialize(repeating: zoo_op_t(), count: max(1, count))
            results.initialize(repeating: zoo_op_result_t(), count: max(1, count))
            stats.initialize(repeating: Stat(), count: max(1, count))
            isSet = list.map { if case .set = $0 { true } else { false } }
            self.observe = observe
            super.init()
            for (index, operation) in list.enumerated() {
                let path = keep(Array(operation.path.utf8) + [0])
                switch operation {
                case .create(_, let value, let isEphemeral):
                    zoo_create_op_init(
                        operations + index, path, keep(value), Int32(value.count), accessList.vector,
                        isEphemeral ? ZOO_EPHEMERAL : ZOO_PERSISTENT, nil, 0)
                case .set(_, let value, let version):
                    zoo_set_op_init(
                        operations + index, path, keep(value), Int32(value.count), version, stats + index)
                case .delete(_, let version):
                    zoo_delete_op_init(operations + index, path, version)
                case .check(_, let version):
                    zoo_check_op_init(operations + index, path, version)
                }
            }
        }

        deinit {
            operations.deallocate()
            results.deallocate()
            stats.deallocate()
            for block in memory { block.deallocate() }
        }

        /// A copy of the bytes that lives as long as this.
        private func keep(_ bytes: [UInt8]) -> UnsafePointer<CChar> {
            let block = UnsafeMutableRawPointer.allocate(byteCount: max(1, bytes.count), alignment: 8)
            bytes.withUnsafeBytes { source in
                if let start = source.baseAddress { block.copyMemory(from: start, byteCount: source.count) }
            }
            memory.append(block)
            return UnsafePointer(block.assumingMemoryBound(to: CChar.self))
        }

        func complete(_ code: Int32) {
            let result: Result<[NodeStat?], CallFailure>
            if code == 0 {
                result = .success((0..<count).map { isSet[$0] ? NodeStat(stats[$0]) : nil })
            } else {
                var failure = ZooKeeperHandle.failure(code)
                // The one that failed has its own code; those after it say "inconsistency", those before it nothing.
                let culprit = (0..<count).first {
                    results[$0].err != 0 && ZooKeeperCode(results[$0].err) != .runtimeInconsistency
                }
                if let culprit, failure.stage == .answered || ZooKeeperCode(code) == .runtimeInconsistency {
                    failure = ZooKeeperHandle.failure(results[culprit].err)
                    failure.operation = culprit
                }
                result = .failure(failure)
            }
            observe?(result)
            finish(result)
        }
    }
#endif
