#if ZooKeeper
    import ClusterModel
    import PluginInterfaces

    /// One pass over a selection of keys: what was there, and how new. A pass is no snapshot by itself.
    struct ReadPass: Hashable, Sendable {
        var entries: [StoreEntry] = []
        /// The value's last change, for each entry.
        var modified: [StoreKey: UInt64] = [:]
        /// The newest transaction that anything read shows, parents included.
        var newest: UInt64 = 0
        /// Something listed was gone when it was read, or the other way round.
        var isTorn = false

        mutating func add(_ key: StoreKey, _ node: Node) {
            entries.append(
                StoreEntry(
                    key: key, value: node.value, version: node.stat.entryVersion, created: node.stat.created,
                    owner: node.stat.ownerSession))
            modified[key] = node.stat.modified
            // A node's own children count where they are read themselves.
            newest = max(newest, node.stat.created, node.stat.modified)
        }

        mutating func sawParent(_ stat: NodeStat) {
            newest = max(newest, stat.newest)
        }

        /// Whether everything is as it was together when the first reply of the pass was made.
        ///
        /// The server had then seen at least `known`. If nothing that the pass read is newer, nothing of it changed
        /// since, up to when it was read.
        func isCut(known: UInt64) -> Bool { !isTorn && newest <= known }
    }

    /// Reads keys through one connection, and leaves watches where changes matter.
    struct ZooKeeperReader {
        let handle: ZooKeeperHandle
        let paths: KeyPaths
        let deadline: Instant

        typealias Failure = CallFailure

        /// One pass. `sync` goes first on the same connection, so the rest is answered after it took effect.
        func pass(_ selection: KeySelection, sync: Bool) async throws(CallFailure) -> ReadPass {
            let synced = sync ? handle.sync(paths.base) : nil
            let result: ReadPass
            switch selection {
            case .all: result = try await all()
            case .keys(let keys): result = try await only(keys)
            }
            if let synced {
                // A failed sync: nobody knows how old the rest is. (That the cluster's node is missing is no failure.)
                do throws(CallFailure) {
                    _ = try await synced.wait(until: deadline).get()
                } catch {
                    if error.code != .noNode { throw error }
                }
            }
            return result
        }

        private func all() async throws(CallFailure) -> ReadPass {
            var pass = ReadPass()
            let rootList = handle.children(paths.base, watch: false)
            let memberList = handle.children(paths.path("members"), watch: true)
            // Before the values, so that no change is missed.
            let watches = KeyPaths.watched.map { ($0, handle.exists(paths.path($0), watch: true)) }
            let root = try await value(rootList)
            var members = try await value(memberList)
            if members == nil {
                // Without the node there is no watch on its children: one on its creation instead.
                let appeared = try await value(handle.exists(paths.path("members"), watch: true))
                if appeared != nil {
                    pass.isTorn = true
                    members = try await value(handle.children(paths.path("members"), watch: true))
                }
            }
            var watched: [StoreKey: NodeStat] = [:]
            for (key, reply) in watches { watched[key] = try await value(reply) }
            guard let root else {
                pass.isTorn = pass.isTorn || members != nil || !watched.isEmpty
                return pass
            }
            pass.sawParent(root.stat)
            for (key, stat) in watched where !root.names.contains(key) {
                pass.isTorn = true
                pass.sawParent(stat)
            }
            if let members { pass.sawParent(members.stat) }
            let names = root.names.filter { $0 != "members" }.sorted()
            let requests =
                names.map { ($0, handle.get(paths.path($0), watch: false)) }
                + (members?.names ?? []).sorted().map { "members/" + $0 }
                .map { ($0, handle.get(paths.path($0), watch: false)) }
            var parents: [StoreKey] = []
            for (key, reply) in requests {
                guard let node = try await value(reply) else {
                    pass.isTorn = true
                    continue
                }
                if node.stat.children > 0 { parents.append(key) }
                let isDirectory = node.stat.owner == 0 && node.value.isEmpty
                if isDirectory, node.stat.children > 0 || KeyPaths.directories.contains(key) { continue }
                pass.add(key, node)
            }
            // One level more, for `optime/leader`.
            let lists = parents.map { ($0, handle.children(paths.path($0), watch: false)) }
            var nested: [(StoreKey, PendingReply<Node>)] = []
            for (key, reply) in lists {
                guard let list = try await value(reply) else {
                    pass.isTorn = true
                    continue
                }
                pass.sawParent(list.stat)
                for name in list.names.sorted() {
                    let child = key + "/" + name
                    nested.append((child, handle.get(paths.path(child), watch: false)))
                }
            }
            for (key, reply) in nested {
                guard let node = try await value(reply) else {
                    pass.isTorn = true
                    continue
                }
                pass.add(key, node)
            }
            return pass
        }

        private func only(_ keys: [StoreKey]) async throws(CallFailure) -> ReadPass {
            var pass = ReadPass()
            let replies = keys.map { key in
                (key, handle.get(paths.path(key), watch: KeyPaths.watched.contains(key)))
            }
            // Last, so that a key's going shows in its parent. One key alone is always as it was at one instant.
            let parents = keys.count > 1 ? Set(keys.map { Self.parent(paths.path($0)) }).sorted() : []
            let stats = parents.map { handle.exists($0, watch: false) }
            for (key, reply) in replies {
                if let node = try await value(reply) {
                    pass.add(key, node)
                } else if KeyPaths.watched.contains(key) {
                    // Such a read leaves no watch on what is not there.
                    let appeared = try await value(handle.exists(paths.path(key), watch: true))
                    if appeared != nil { pass.isTorn = true }
                }
            }
            for reply in stats {
                if let stat = try await value(reply) { pass.newest = max(pass.newest, stat.childrenModified) }
            }
            return pass
        }

        /// The nodes behind some keys as the server has them, absent ones left out; no watches.
        func nodes(_ keys: [StoreKey]) async throws(CallFailure) -> [StoreKey: Node] {
            let replies = keys.map { ($0, handle.get(paths.path($0), watch: false)) }
            var found: [StoreKey: Node] = [:]
            for (key, reply) in replies { found[key] = try await value(reply) }
            return found
        }

        /// A reply's value; nil when there is no such node.
        func value<Value: Sendable>(_ reply: PendingReply<Value>) async throws(CallFailure) -> Value? {
            do throws(CallFailure) {
                return try await reply.wait(until: deadline).get()
            } catch {
                if error.code == .noNode, error.stage == .answered { return nil }
                throw error
            }
        }

        private static func parent(_ path: String) -> String {
            path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "/"
        }
    }
#endif
