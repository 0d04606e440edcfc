import ClusterModel
import PluginInterfaces

@testable import ClusterStore
@testable import HighAvailability
@testable import PeerClient
@testable import PostgresControl
@testable import RESTServer

extension FuzzTarget {
    /// Records of a key's line and its value; a record whose key begins with `@` is no entry.
    static let cluster = FuzzTarget(
        "cluster", reads: "the store's entries as a cluster, and what is made of them", maximumLength: 4096
    ) { bytes in
        let view = ClusterCodec.view(of: snapshot(bytes, at: Instant(nanoseconds: 1)))
        try require(view.members == view.members.sorted { $0.name < $1.name }, "members without an order")
        for (key, value) in rewritten(view) {
            let again = ClusterCodec.view(of: snapshot(Array("\(key)\n\(value)".utf8), at: view.requestedAt))
            guard let (_, second) = rewritten(again).first else { throw FuzzFinding("\(key): \(value) is lost") }
            try require(second == value, "\(key): written as \(value), again as \(second)")
        }
        let document = ClusterDocument.make(view: view, scope: "demo")
        _ = try JSONValue.parse(JSONValue.object(document).serialized())
        try require(document["members"]?.array?.count == view.members.count, "a member is missing in the document")
        if let row = view.history?.rows.last {
            try require(row.timeline < Timeline(.max), "a timeline that has no next one")
        }
        for member in view.members {
            _ = (member.position, member.tags.failoverPriority, member.tags.replicateFrom, member.isMatriarch)
            _ = member.connURL.flatMap { URLAuthority.hostAndPort(of: $0)?.port }
        }
    }

    /// A state machine that is fed with what others wrote: the store, peers, PostgreSQL, operators.
    static let machine = FuzzTarget(
        "machine", reads: "views, peers' words, samples and requests as the state machine's events", maximumLength: 4096
    ) { bytes in
        var now = Instant(nanoseconds: 1_000_000_000_000)
        let wall = WallTime(seconds: 1_700_000_000)
        let control = ControlData(
            systemIdentifier: "7268616322854375442", state: .shutDown, timeline: Timeline(5),
            checkpoint: LSN(0x400_0000))
        var settings = MachineSettings()
        settings.bootstrapConfiguration = ["ttl": 30]
        var machine = HAMachine(
            identity: MemberIdentity(
                name: "pg1", scope: "demo", connURL: "postgres://10.0.0.1:5432/postgres",
                apiURL: "http://10.0.0.1:8008/patroni"), settings: settings,
            at: Moment(now: now, wall: wall))
        var entries: [StoreEntry] = []
        var revision: UInt64 = 100
        /// Takes one event, and answers its effects as a world would in which all goes well.
        func handle(_ first: Event) throws {
            var events = [first]
            for _ in 0..<12 where !events.isEmpty {
                now = now + .milliseconds(10)
                let reaction = machine.handle(events.removeFirst(), at: Moment(now: now, wall: wall))
                try require(reaction.effects.count < 100, "\(reaction.effects.count) effects of one event")
                for effect in reaction.effects {
                    switch effect {
                    case .openSession(let id, let lifetime, _):
                        events.append(
                            .sessionOpened(
                                id,
                                SessionFacts(
                                    id: SessionID("0x1"), granted: lifetime, renewalInterval: lifetime / 4,
                                    isResumed: false)))
                    case .read(let id, _):
                        revision += 1
                        let snapshot = StoreSnapshot(
                            revision: StoreRevision(number: revision), entries: entries, isCut: true, requestedAt: now)
                        events.append(.view(id, ClusterCodec.view(of: snapshot)))
                    case .commit(let id, _):
                        events.append(.committed(id, .committed(StoreRevision(number: revision))))
                    case .renew(let id, _, _):
                        events.append(.renewed(id, .proven(sent: now, notExpiredBefore: now + .seconds(30))))
                    case .release(let id): events.append(.released(id, .committed(StoreRevision(number: revision))))
                    case .arm(let fence, _): events.append(.guardArmed(fence))
                    case .persistMarker(let id, _), .persistGrant(let id, _):
                        events.append(.persisted(id, succeeded: true))
                    case .checkpoint(let id): events.append(.checkpointed(id, succeeded: true))
                    case .startJob(let id, _): events.append(.jobEnded(id, .done))
                    case .probeDuplicate: events.append(.duplicateProbed(isAlive: false))
                    default: break
                    }
                }
            }
            _ = StatusDocument.make(status: machine.status, now: now)
            _ = MetricsDocument.make(status: machine.status, now: now)
        }
        try handle(.guardReady(isAdopting: false))
        try handle(.started(InstanceStart(server: .down(.initialized(control), exit: nil))))
        for record in Parts.records(bytes).prefix(24) {
            let (head, body) = Parts.headed(text(record))
            let value = Array(body.utf8)
            switch head {
            case "@peer":
                guard let object = (try? JSONValue.parse(value))?.object else { continue }
                let name = object["name"]?.string ?? object["patroni"]?["name"]?.string ?? "pg2"
                try handle(.peer(PeerStatus.read(name: name, document: object, askedAt: now)))
            case "@sample":
                guard let sample = sample(value, at: now) else { continue }
                try handle(.sample(sample))
            case "@running": try handle(.server(.running(pid: 42, isAdopted: false)))
            case "@history":
                try handle(.localHistory(EffectID(1), TimelineHistory.read(value).history))
            case "@switchover", "@failover", "@restart", "@config":
                guard let object = (try? JSONValue.parse(value))?.object else { continue }
                let request: OperatorRequest?
                switch head {
                case "@restart": request = try? OperatorBodies.restart(object, isPaused: false, now: wall)
                case "@config": request = .patchConfiguration(object)
                default:
                    request = try? OperatorBodies.handOver(
                        object, isFailover: head == "@failover", isPaused: false, now: wall)
                }
                if let request { try handle(.asked(RequestID(1), request)) }
            case "@wake":
                now = now + .seconds(5)
                try handle(.wake)
            default:
                entries.removeAll { $0.key == head }
                entries.append(entry(head, value, number: revision))
                try handle(.storeChanged)
            }
        }
        try handle(.stopAsked)
    }

    /// Entries of records; which session has them is told by the key alone.
    static func snapshot(_ bytes: [UInt8], at instant: Instant) -> StoreSnapshot {
        let entries = Parts.records(bytes).map { record in
            let (key, value) = Parts.headed(text(record))
            return entry(key, Array(value.utf8), number: 7)
        }
        return StoreSnapshot(
            revision: StoreRevision(number: 9), entries: entries, isCut: true, requestedAt: instant)
    }

    private static func entry(_ key: String, _ value: [UInt8], number: UInt64) -> StoreEntry {
        let owner = key == "leader" || key.hasPrefix("members/") ? SessionID("0x2") : nil
        return StoreEntry(
            key: key, value: value, version: EntryVersion(created: number, number: number), created: number,
            owner: owner)
    }

    /// What would be written for what was read.
    private static func rewritten(_ view: ClusterView) -> [(String, String)] {
        var values: [(String, JSONValue)] = view.members.map { ("members/\($0.name)", $0.storedValue()) }
        if let failover = view.failover { values.append(("failover", failover.storedValue())) }
        if let status = view.status, view.statusVersion != nil { values.append(("status", status.storedValue())) }
        if view.syncVersion != nil { values.append(("sync", view.sync.storedValue())) }
        if let history = view.history { values.append(("history", history.storedValue())) }
        if view.promotionsVersion != nil { values.append(("promotions", view.promotions.storedValue())) }
        if let configuration = view.configuration { values.append(("config", .object(configuration))) }
        return values.map { ($0.0, $0.1.serialized()) }
    }

    /// A row of the monitoring query, as an object of its columns.
    static func sample(_ bytes: [UInt8], at instant: Instant) -> PostgresSample? {
        guard let object = (try? JSONValue.parse(bytes))?.object else { return nil }
        let result = QueryResult(
            columns: object.keys,
            rows: [object.members.map { $0.value.isNull ? nil : $0.value.string ?? $0.value.serialized() }])
        return try? PostgresMonitor.read(result, takenAt: instant, serverVersion: 150_018)
    }
}
