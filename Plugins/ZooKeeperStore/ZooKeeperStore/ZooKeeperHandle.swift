#if ZooKeeper
    import CZooKeeper
    import ClusterModel
    import ConfigurationTree
    import Dispatch
    import Glibc
    import Synchronization

    /// One operation of a ZooKeeper transaction.
    enum Operation: Hashable, Sendable {
        case create(path: String, value: [UInt8], isEphemeral: Bool)
        /// Version -1: any.
        case set(path: String, value: [UInt8], version: Int32)
        case delete(path: String, version: Int32)
        case check(path: String, version: Int32)

        var path: String {
            switch self {
            case .create(let path, _, _), .set(let path, _, _), .delete(let path, _), .check(let path, _): path
            }
        }
    }

    /// What the library tells about its connection and its watches, on its own thread.
    enum HandleEvent: Sendable {
        case connected(ClientIdentity, negotiated: Duration, server: ServerAddress?)
        case disconnected
        case expired
        case authenticationFailed
        case watch(path: String, WatchKind)

        enum WatchKind: Hashable, Sendable {
            case created, deleted, changed, children, other
        }
    }

    /// The one owner of a handle of ZooKeeper's C client; with `TransactionReply` and `AccessListMemory`, which hold memory
    /// for it, the one place that speaks C.
    ///
    /// Only the library's asynchronous calls are used: each is serialised and queued before it returns. Its callbacks
    /// come on its own thread, hand over and return. The library sends what is queued while there is no connection as
    /// soon as there is one; whoever calls asks the connection's state first (see `ZooKeeperConnection`).
    ///
    /// TLS and SASL are absent: Debian builds the client without them. `EncryptionForwarder` adds the former.
    final class ZooKeeperHandle: @unchecked Sendable {
        // The C handle is used under this lock only, and taken out of it before it is freed.
        private let pointer = Mutex<CHandle?>(nil)
        private let token: UInt
        // Allocated once and never changed; freed with the last reference, after the C handle.
        private let accessList: AccessListMemory

        /// Opens a handle; the connection comes later, as an event. May take long where addresses are names: not for
        /// the cooperative pool.
        ///
        /// Servers are numeric addresses in the order to try them. Nil when the library refuses.
        init?(
            servers: [ServerAddress], lifetime: Duration, resume: ClientIdentity?, credentials: [Credential],
            accessList: [AccessRule], events: @escaping @Sendable (HandleEvent) -> Void
        ) {
            self.accessList = AccessListMemory(accessList)
            token = Self.listeners.withLock { listeners in
                listeners.next += 1
                listeners.table[listeners.next] = events
                return listeners.next
            }
            Self.prepareLibrary
            var identity = clientid_t()
            if let resume {
                identity.client_id = resume.number
                withUnsafeMutableBytes(of: &identity.passwd) { $0.copyBytes(from: resume.password.prefix($0.count)) }
            }
            let context = UnsafeMutableRawPointer(bitPattern: token)
            let timeout = Int32(clamping: max(1, lifetime.milliseconds))
            let hosts = servers.map(\.description).joined(separator: ",")
            let handle = withUnsafePointer(to: &identity) { identity in
                zookeeper_init2(
                    hosts, Self.sessionWatcher, timeout, resume == nil ? nil : identity, context,
                    ZOO_NO_LOG_CLIENTENV, Self.logCallback)
            }
            guard let handle else {
                Self.listeners.withLock { $0.table[token] = nil }
                return nil
            }
            // The addresses are numeric; without this the library resolves them again on every turn of its loop.
            zoo_set_servers_resolution_delay(handle, -1)
            for credential in credentials {
                let secret = Array(credential.secret.value.utf8)
                secret.withUnsafeBytes { bytes in
                    _ = zoo_add_auth(
                        handle, credential.scheme, bytes.baseAddress?.assumingMemoryBound(to: CChar.self),
                        Int32(bytes.count), nil, nil)
                }
            }
            let owned = CHandle(raw: handle)
            pointer.withLock { $0 = owned }
        }

        deinit {
            // An owner that forgot to close: the library's threads must not outlive the callbacks' table entry.
            if let handle = takePointer() { Self.dispose(handle, token: token, abandon: false) }
        }

        // MARK: Requests

        func get(_ path: String, watch: Bool) -> PendingReply<Node> {
            let reply = PendingReply<Node>()
            submit(reply) { handle, data in
                watch
                    ? zoo_awget(handle, path, Self.nodeWatcher, self.context, Self.dataCompletion, data)
                    : zoo_aget(handle, path, 0, Self.dataCompletion, data)
            }
            return reply
        }

        func exists(_ path: String, watch: Bool) -> PendingReply<NodeStat> {
            let reply = PendingReply<NodeStat>()
            submit(reply) { handle, data in
                watch
                    ? zoo_awexists(handle, path, Self.nodeWatcher, self.context, Self.statCompletion, data)
                    : zoo_aexists(handle, path, 0, Self.statCompletion, data)
            }
            return reply
        }

        func children(_ path: String, watch: Bool) -> PendingReply<NodeChildren> {
            let reply = PendingReply<NodeChildren>()
            submit(reply) { handle, data in
                watch
                    ? zoo_awget_children2(
                        handle, path, Self.nodeWatcher, self.context, Self.childrenCompletion, data)
                    : zoo_aget_children2(handle, path, 0, Self.childrenCompletion, data)
            }
            return reply
        }

        /// Makes the server catch up with its leader before it answers what follows on this connection.
        func sync(_ path: String) -> PendingReply<Bool> {
            let reply = PendingReply<Bool>()
            submit(reply) { handle, data in zoo_async(handle, path, Self.textCompletion, data) }
            return reply
        }

        /// Creates a permanent, empty node.
        func createDirectory(_ path: String) -> PendingReply<Bool> {
            let reply = PendingReply<Bool>()
            submit(reply) { handle, data in
                zoo_acreate(handle, path, "", 0, self.accessList.vector, 0, Self.textCompletion, data)
            }
            return reply
        }

        /// Carries out all operations or none. `observe` is told the outcome on the library's thread before anybody
        /// who waits, in the order in which the server answered.
        func multi(
            _ operations: [Operation],
            observe: (@Sendable (Result<[NodeStat?], CallFailure>) -> Void)? = nil
        ) -> PendingReply<[NodeStat?]> {
            let reply = TransactionReply(operations, accessList: accessList, observe: observe)
            submit(reply) { handle, data in
                zoo_amulti(
                    handle, Int32(operations.count), reply.operations, reply.results, Self.transactionCompletion, data)
            }
            if let refused = reply.refused { observe?(.failure(refused)) }
            return reply
        }

        private var context: UnsafeMutableRawPointer? { UnsafeMutableRawPointer(bitPattern: token) }

        private func submit<Value>(
            _ reply: PendingReply<Value>, _ call: (OpaquePointer, UnsafeMutableRawPointer) -> Int32
        ) {
            let box = Unmanaged.passRetained(reply)
            let code = pointer.withLock { handle -> Int32? in
                guard let handle else { return nil }
                return call(handle.raw, box.toOpaque())
            }
            guard code != ZooKeeperCode.ok.rawValue else { return }
            // Refused: the library will never call back.
            box.release()
            let failure = CallFailure(code.map { ZooKeeperCode($0) } ?? .closing, .notSent)
            (reply as? TransactionReply)?.refused = failure
            reply.finish(.failure(failure))
        }

        // MARK: Life

        /// Replaces the servers to try, and drops the connection there is.
        ///
        /// Not by one call: the library (3.8.0, measured) takes lists of as many servers for the same if their addresses
        /// are, whatever the ports, and then keeps connections that it should drop. A list that is like no other first
        /// makes it forget.
        func setServers(_ servers: [ServerAddress]) {
            let hosts = servers.map(\.description).joined(separator: ",")
            pointer.withLock { handle in
                guard let handle else { return }
                zoo_set_servers(handle.raw, Self.nobody)
                zoo_set_servers(handle.raw, hosts)
                // The library's thread sleeps on the socket just closed until it is given something to do.
                _ = zoo_aexists(handle.raw, "/", 0, { _, _, _ in }, nil)
            }
        }

        /// Cuts the connection (the server seems frozen), so that the library tries the next one at once.
        ///
        /// The library has no call for that and keeps its socket to itself, so the socket is looked for: the one of
        /// this process that is connected to that server. Without exactly one nothing is done, and the library finds
        /// out by itself after two thirds of the session's lifetime.
        func cut(_ server: ServerAddress) -> Bool {
            let open = pointer.withLock { $0 != nil }
            guard open else { return false }
            let found = OpenSockets.duplicates { ServerAddress.peer(of: $0) == server }
            defer { for descriptor in found { Glibc.close(descriptor) } }
            guard found.count == 1, let descriptor = found.first else { return false }
            return shutdown(descriptor, Int32(SHUT_RDWR)) == 0
        }

        /// Frees the handle: pending requests end with `closing`. Blocks (up to seconds with a frozen server): not for
        /// the cooperative pool.
        ///
        /// Abandoned, the server is told nothing, so that the session lives on until it is resumed or expires.
        func close(abandon: Bool) {
            guard let handle = takePointer() else { return }
            Self.dispose(handle, token: token, abandon: abandon)
        }

        /// The C handle, for whoever frees it; nobody else sees it afterwards.
        private func takePointer() -> CHandle? {
            pointer.withLock { handle in
                defer { handle = nil }
                return handle
            }
        }

        private static func dispose(_ handle: CHandle, token: UInt, abandon: Bool) {
            if abandon {
                // A connected handle would send the request that ends the session. Given servers among which the
                // connected one is not, it drops its connection at once, and closing tells nobody anything.
                zoo_set_servers(handle.raw, nobody)
            }
            listeners.withLock { $0.table[token] = nil }
            zookeeper_close(handle.raw)
        }

        /// Nobody can listen at the broadcast address.
        private static let nobody = "255.255.255.255:1"

        // MARK: Callbacks, all on the library's thread

        private struct Listeners {
            var next: UInt = 0
            var table: [UInt: @Sendable (HandleEvent) -> Void] = [:]
        }

        // A callback carries a number, never a reference: it may come never, once, or after we stopped caring.
        private static let listeners = Mutex(Listeners())

        private static func listener(_ context: UnsafeMutableRawPointer?) -> (@Sendable (HandleEvent) -> Void)? {
            let token = UInt(bitPattern: context)
            return listeners.withLock { $0.table[token] }
        }

        private static let sessionWatcher: watcher_fn = { handle, type, state, path, context in
            guard type == ZOO_SESSION_EVENT, let listener = ZooKeeperHandle.listener(context) else { return }
            if state == ZOO_CONNECTED_STATE {
                guard let handle, let identity = zoo_client_id(handle)?.pointee else { return }
                var password = identity.passwd
                let bytes = withUnsafeBytes(of: &password) { Array($0) }
                listener(
                    .connected(
                        ClientIdentity(number: identity.client_id, password: bytes),
                        negotiated: .milliseconds(Int64(zoo_recv_timeout(handle))),
                        server: ServerAddress.connected { zookeeper_get_connected_host(handle, $0, $1) != nil }))
            } else if state == ZOO_EXPIRED_SESSION_STATE {
                listener(.expired)
            } else if state == ZOO_AUTH_FAILED_STATE {
                listener(.authenticationFailed)
            } else {
                listener(.disconnected)
            }
        }

        private static let nodeWatcher: watcher_fn = { _, type, _, path, context in
            // Every watcher gets every session event too; those are the session watcher's.
            guard type != ZOO_SESSION_EVENT, let path, let listener = ZooKeeperHandle.listener(context) else { return }
            let kind: HandleEvent.WatchKind =
                if type == ZOO_CREATED_EVENT {
                    .created
                } else if type == ZOO_DELETED_EVENT {
                    .deleted
                } else if type == ZOO_CHANGED_EVENT {
                    .changed
                } else if type == ZOO_CHILD_EVENT {
                    .children
                } else {
                    .other
                }
            listener(.watch(path: String(cString: path), kind))
        }

        private static let dataCompletion: data_completion_t = { code, value, count, stat, data in
            let reply = ZooKeeperHandle.taken(data, as: PendingReply<Node>.self)
            guard code == 0, let stat else {
                reply?.finish(.failure(ZooKeeperHandle.failure(code)))
                return
            }
            let bytes = value.map { Array(UnsafeRawBufferPointer(start: $0, count: Int(max(0, count)))) } ?? []
            reply?.finish(.success(Node(value: bytes, stat: NodeStat(stat.pointee))))
        }

        private static let statCompletion: stat_completion_t = { code, stat, data in
            let reply = ZooKeeperHandle.taken(data, as: PendingReply<NodeStat>.self)
            guard code == 0, let stat else {
                reply?.finish(.failure(ZooKeeperHandle.failure(code)))
                return
            }
            reply?.finish(.success(NodeStat(stat.pointee)))
        }

        private static let childrenCompletion: strings_stat_completion_t = { code, strings, stat, data in
            let reply = ZooKeeperHandle.taken(data, as: PendingReply<NodeChildren>.self)
            guard code == 0, let strings, let stat else {
                reply?.finish(.failure(ZooKeeperHandle.failure(code)))
                return
            }
            let names = UnsafeBufferPointer(start: strings.pointee.data, count: Int(max(0, strings.pointee.count)))
            reply?.finish(
                .success(
                    NodeChildren(
                        names: names.compactMap { $0.map { String(cString: $0) } }, stat: NodeStat(stat.pointee))))
        }

        private static let textCompletion: string_completion_t = { code, _, data in
            let reply = ZooKeeperHandle.taken(data, as: PendingReply<Bool>.self)
            reply?.finish(code == 0 ? .success(true) : .failure(ZooKeeperHandle.failure(code)))
        }

        private static let transactionCompletion: void_completion_t = { code, data in
            ZooKeeperHandle.taken(data, as: TransactionReply.self)?.complete(code)
        }

        private static func taken<Reply: AnyObject>(_ data: UnsafeRawPointer?, as type: Reply.Type) -> Reply? {
            data.map { Unmanaged<Reply>.fromOpaque($0).takeRetainedValue() }
        }

        static func failure(_ code: Int32) -> CallFailure {
            let code = ZooKeeperCode(code)
            return CallFailure(code, code.isAnswer ? .answered : .unknown)
        }

        // MARK: Library-wide

        /// Where the library's own messages go; the latest store's logger. Handed over to a queue: no logging on the
        /// library's threads.
        static let messages = Mutex<(@Sendable (String) -> Void)?>(nil)
        private static let messageQueue = DispatchQueue(label: "zookeeper.messages")

        private static let logCallback: log_callback_fn = { message in
            guard let message else { return }
            let text = String(cString: message)
            ZooKeeperHandle.messageQueue.async {
                ZooKeeperHandle.messages.withLock { $0 }?(text)
            }
        }

        private static let prepareLibrary: Void = {
            zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR)
            // Servers are tried in the order given, the leader first.
            zoo_deterministic_conn_order(1)
        }()
    }

    /// The C handle on its way between threads; whoever has it out of the lock is its only user.
    private struct CHandle: @unchecked Sendable {
        let raw: OpaquePointer
    }

    extension NodeStat {
        init(_ stat: Stat) {
            self.init(
                created: UInt64(bitPattern: stat.czxid), modified: UInt64(bitPattern: stat.mzxid),
                childrenModified: UInt64(bitPattern: stat.pzxid), version: stat.version, owner: stat.ephemeralOwner,
                children: stat.numChildren)
        }
    }
#endif
