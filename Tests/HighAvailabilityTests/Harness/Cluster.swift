import ClusterModel
import HighAvailability

/// Some members, one store and a clock that only tests move: everything happens in one order, given by the seed.
final class Cluster {
    enum Fault {
        /// Done, and the answer lost.
        case answerLost
        /// Not done, and nobody knows.
        case lost
        case notSent
        case late(Duration)
    }

    struct Line {
        var at: Instant
        var node: String
        var decision: Decision
    }

    static let origin = Instant(nanoseconds: 1_000_000_000_000)
    static let wallOrigin = WallTime(seconds: 1_800_000_000)

    private(set) var now = Cluster.origin
    var store = VirtualStore()
    private(set) var nodes: [String: Node] = [:]
    private(set) var names: [String] = []
    private(set) var lines: [Line] = []
    /// What must never be, and was.
    private(set) var violations: [String] = []
    var random: SplitMix
    var ttl: Duration
    var jitter: Duration = .zero
    /// How long a dead host's silence goes unnoticed by its peers.
    var silenceTakes: Duration = .milliseconds(1200)
    /// What goes wrong with an effect of a node; asked at its beginning.
    var fault: ((Node, Effect) -> Fault?)?
    private var queue = EventQueue()
    private var lastBranch = 0
    private var lastRequest: UInt64 = 0
    /// Members that are no machines: what they answer when asked; nil: nothing.
    var aliens: [String: () -> PeerStatus?] = [:]

    /// In their order: a dictionary's would differ from run to run.
    var all: [Node] { names.map { self[$0] } }

    var wall: WallTime { Cluster.wallOrigin + (now - Cluster.origin) }
    var elapsed: Duration { now - Cluster.origin }

    init(
        _ count: Int, ttl: Duration = .seconds(30), seed: UInt64 = 1,
        settings: (inout MachineSettings, String) -> Void = { _, _ in }
    ) {
        self.ttl = ttl
        self.random = SplitMix(seed: seed)
        for index in 1...max(1, count) {
            var value = MachineSettings(ttl: ttl, bootstrapConfiguration: ["ttl": .integer(ttl.milliseconds / 1000)])
            settings(&value, "pg\(index)")
            add("pg\(index)", value)
        }
    }

    func add(_ name: String, _ settings: MachineSettings) {
        nodes[name] = Node(name: name, settings: settings)
        names.append(name)
    }

    subscript(name: String) -> Node {
        guard let node = nodes[name] else { preconditionFailure("no member \(name)") }
        return node
    }

    // MARK: - Time

    func after(_ delay: Duration, _ action: @escaping () -> Void) {
        let extra =
            jitter > .zero ? Duration.nanoseconds(Int64(random.next() % UInt64(jitter.nanosecondsClamped))) : .zero
        queue.push(now + delay + extra, action)
    }

    /// Takes the next thing that happens; false when it is later than the limit.
    func step(until limit: Instant) -> Bool {
        guard let next = queue.first, next <= limit else {
            now = max(now, limit)
            return false
        }
        now = max(now, next)
        queue.pop()()
        settleStore()
        check()
        return true
    }

    func run(for duration: Duration) {
        let limit = now + duration
        while step(until: limit) {}
    }

    /// Runs until something holds; how long that took, or nil.
    @discardableResult
    func run(until condition: (Cluster) -> Bool, within limit: Duration = .seconds(120)) -> Duration? {
        let began = now
        let end = now + limit
        while !condition(self) {
            if !step(until: end) { return condition(self) ? now - began : nil }
        }
        return now - began
    }

    /// Sessions expire when the store's clock says so, whoever looks.
    private func settleStore() {
        if store.expire(at: now) { signalAll() }
    }

    private func scheduleExpiry() {
        guard let next = store.sessions.values.map(\.expiresAt).min() else { return }
        queue.push(next, {})
    }

    func signalAll() {
        for node in all where node.storeReachable { deliver(node, .storeChanged, after: .milliseconds(1)) }
    }

    // MARK: - Members

    func startAll() {
        for name in names { start(self[name]) }
    }

    /// Starts an agent: what runs is found running.
    func start(_ node: Node, resume: Bool = false, marker: Bool = true) {
        node.instance += 1
        node.ids = []
        node.job = nil
        node.watches = []
        node.lastWord = nil
        let identity = MemberIdentity(
            name: node.name, scope: "demo", connURL: "postgres://\(node.name)/postgres", apiURL: node.apiURL,
            nonce: UInt64(node.instance))
        node.machine = HAMachine(
            identity: identity, settings: node.settings, at: Moment(now: now, wall: wall, random: random.next()))
        node.guardian.isUp = true
        if !resume { node.session = nil }
        node.isFrozen = false
        node.inbox = []
        let adopted = node.postgres.run?.isAdopted ?? false
        let server: ServerFacts =
            node.postgres.run == nil ? .down(node.postgres.data, exit: nil) : .running(pid: 1, isAdopted: adopted)
        let begin = InstanceStart(
            server: server, marker: marker ? node.marker : nil, cachedConfiguration: nil, hasSavedSession: resume)
        deliver(node, .started(begin), after: .milliseconds(1))
        deliver(node, .guardReady(isAdopting: adopted), after: .milliseconds(2))
    }

    /// The agent ends; guard and PostgreSQL go on.
    func killAgent(_ node: Node) {
        node.machine = nil
        node.instance += 1
        node.inbox = []
        for other in all where other.name != node.name {
            if other.watches.contains(node.name), reachable(other, node) {
                deliver(other, .peerSilent(node.name, "connection reset"), after: .milliseconds(2))
            }
        }
    }

    /// Everything of the host ends at once, without a word.
    func killHost(_ node: Node) {
        node.machine = nil
        node.instance += 1
        node.inbox = []
        node.isHostDown = true
        node.postgres.crash()
        node.guardian = ModelGuard()
        for other in all where other.watches.contains(node.name) {
            deliver(other, .peerSilent(node.name, "no heartbeat"), after: silenceTakes)
        }
    }

    func startHost(_ node: Node) {
        node.isHostDown = false
        start(node)
    }

    func crashPostgres(_ node: Node) {
        guard node.postgres.run != nil else { return }
        node.postgres.crash()
        silent(node, exit: "ended by signal 9")
    }

    func freeze(_ node: Node) { node.isFrozen = true }

    func thaw(_ node: Node) {
        node.isFrozen = false
        let waiting = node.inbox
        node.inbox = []
        for event in waiting { deliver(node, event, after: .milliseconds(1)) }
        deliver(node, .wake, after: .milliseconds(2))
        if let session = node.session, store.sessions[session] == nil {
            node.session = nil
            deliver(node, .sessionLost("it expired"), after: .milliseconds(5))
        }
    }

    func cutStore(_ node: Node) {
        node.storeReachable = false
        deliver(node, .storeDisconnected("connection lost"), after: .milliseconds(5))
    }

    func joinStore(_ node: Node) {
        node.storeReachable = true
        store.expire(at: now)
        if let session = node.session, store.sessions[session] == nil {
            node.session = nil
            deliver(node, .sessionLost("it expired"), after: .milliseconds(5))
        } else if let session = node.session {
            _ = store.touch(session, at: now)
            deliver(node, .storeConnected, after: .milliseconds(5))
        }
    }

    func reachable(_ a: Node, _ b: Node) -> Bool {
        !a.isHostDown && !b.isHostDown && !a.isolated.contains(b.name) && !b.isolated.contains(a.name)
    }

    @discardableResult
    func ask(_ name: String, _ request: OperatorRequest) -> RequestID {
        lastRequest += 1
        let id = RequestID(lastRequest)
        deliver(self[name], .asked(id, request), after: .milliseconds(1))
        return id
    }

    func answer(_ id: RequestID) -> OperatorAnswer? {
        all.compactMap { $0.answers[id]?.first }.first
    }

    /// A client writes to whoever takes it.
    @discardableResult
    func write(_ bytes: UInt64 = 100_000) -> String? {
        guard let node = names.map({ self[$0] }).first(where: { $0.postgres.isWritable && !$0.isHostDown }) else {
            return nil
        }
        node.postgres.lsn = LSN(node.postgres.lsn.bytes + bytes)
        replicate()
        return node.name
    }

    var primary: String? { names.first { self[$0].postgres.isWritable } }
    var leader: String? { store.leader?.value.name }

    func isHealthy(_ count: Int) -> Bool {
        guard let leader, primary == leader else { return false }
        return names.filter { self[$0].postgres.isStreaming && self[$0].postgres.run?.upstream == leader }.count
            == count - 1
            && store.members.count >= count
    }

    // MARK: - Events in

    func deliver(_ node: Node, _ event: Event, after delay: Duration = .zero) {
        let instance = node.instance
        after(delay) { [unowned self, unowned node] in
            guard node.instance == instance, node.machine != nil, !node.isHostDown else { return }
            if node.isFrozen {
                node.inbox.append(event)
                return
            }
            self.handle(node, event)
        }
    }

    private func handle(_ node: Node, _ event: Event) {
        replicate()
        guard var machine = node.machine else { return }
        node.machine = nil  // one owner: the machine's arrays are not copied
        let reaction = machine.handle(event, at: Moment(now: now, wall: wall, random: random.next()))
        node.machine = machine
        node.handled += 1
        for decision in reaction.decisions { lines.append(Line(at: now, node: node.name, decision: decision)) }
        if reaction.wakeAt <= now { violations.append("\(node.name): a wake in the past") }
        let instance = node.instance
        node.wakeNumber += 1
        let number = node.wakeNumber
        queue.push(reaction.wakeAt) { [unowned self, unowned node] in
            guard node.instance == instance, node.wakeNumber == number, node.machine != nil else { return }
            if node.isFrozen { return }
            self.handle(node, .wake)
        }
        for effect in reaction.effects { begin(node, effect) }
        publish(node)
    }

    /// The word that goes to whoever watches this member.
    private func publish(_ node: Node) {
        guard let machine = node.machine else { return }
        let status = peerStatus(machine.status)
        var known = status
        known.askedAt = node.lastWord?.askedAt ?? .distantPast
        if known == node.lastWord { return }
        node.lastWord = status
        node.lastWord?.askedAt = .distantPast
        for other in all where other.watches.contains(node.name) && reachable(node, other) {
            after(.milliseconds(1)) { [unowned self, unowned other] in
                var word = status
                word.askedAt = self.now
                self.deliver(other, .peer(word))
            }
        }
    }

    func peerStatus(_ status: AgentStatus) -> PeerStatus {
        var peer = PeerStatus(name: status.name, askedAt: now, state: status.state)
        peer.role = status.role
        peer.isInRecovery = status.sample?.isInRecovery
        peer.timeline = status.sample?.timeline
        peer.position = status.sample?.position
        peer.tags = status.tags
        peer.isPaused = status.isPaused
        peer.fenceState = status.fenceState
        peer.isSilent = status.isSilent
        peer.systemIdentifier = status.systemIdentifier
        return peer
    }

    // MARK: - Replication

    /// Standbys have what their upstream has, if it can be reached and is their future.
    func replicate() {
        for name in names {
            let node = self[name]
            guard let run = node.postgres.run, !run.isPrimary, run.isReady else { continue }
            guard let upstream = run.upstream, let source = nodes[upstream], source.postgres.run?.isReady == true,
                reachable(node, source), node.postgres.isPast(of: source.postgres),
                node.postgres.identifier == source.postgres.identifier
            else {
                node.postgres.isStreaming = false
                continue
            }
            if node.postgres.isTwin(of: source.postgres) {
                violations.append("\(name) streams from a twin of its timeline")
            }
            node.postgres.isStreaming = true
            if node.postgres.isReplicationHeld { continue }
            node.postgres.lsn = source.postgres.lsn
            node.postgres.branch = source.postgres.branch
            node.postgres.past = source.postgres.past
            node.postgres.controlTimeline = source.postgres.controlTimeline
            node.postgres.checkpoint = source.postgres.checkpoint
        }
    }

    func newBranch() -> Int {
        lastBranch += 1
        return lastBranch
    }

    /// Nothing of this PostgreSQL is left.
    func silent(_ node: Node, exit: String?) {
        node.guardian.posture = .replica
        node.guardian.isEnforced = false
        node.guardian.graceUntil = nil
        deliver(node, .guardSilent, after: .milliseconds(5))
        deliver(node, .server(.down(node.postgres.data, exit: exit)), after: .milliseconds(5))
    }

    // MARK: - What must hold

    private func check() {
        let writable = names.filter { self[$0].postgres.isWritable && !self[$0].isUnfenced }
        if writable.count > 1 { complain("\(writable.joined(separator: " and ")) can both acknowledge") }
    }

    func complain(_ text: String) {
        if violations.count < 20, violations.last != text { violations.append("\(elapsed.milliseconds) ms: \(text)") }
    }

    // MARK: - The story

    func decisions(_ node: String, _ rule: RuleCode) -> [Decision] {
        lines.filter { $0.node == node && $0.decision.rule == rule }.map(\.decision)
    }

    func said(_ node: String, _ rule: RuleCode) -> Bool { !decisions(node, rule).isEmpty }

    func saidAnywhere(_ rule: RuleCode) -> Bool { lines.contains { $0.decision.rule == rule } }

    /// Everything that was decided, one line each: what a failing test prints.
    func story(last: Int = 80) -> String {
        let text = lines.suffix(last).map { line in
            "\((line.at - Cluster.origin).milliseconds) \(line.node): \(line.decision.line)"
        }
        let state = names.map { name -> String in
            let node = self[name]
            return
                "\(name): \(node.machine == nil ? "no agent" : "\(node.machine?.world.lease as Any)") \(String(describing: node.postgres.run)) \(node.postgres.branch) \(node.postgres.lsn) past \(node.postgres.past) marker \(node.machine?.world.marker as Any)"
        }
        let records = (store.promotions?.value.records ?? [:]).sorted { $0.key < $1.key }.map {
            "\($0.key): \($0.value)"
        }
        let summary = ["at \(elapsed.milliseconds): leader \(leader ?? "nobody")", "\(records)"]
        return (violations + text + summary + state).joined(separator: "\n")
    }
}

/// One host: an agent with its machine, a guard, a PostgreSQL.
final class Node {
    let name: String
    var settings: MachineSettings
    var apiURL: String
    var machine: HAMachine?
    var instance = 0
    var handled = 0
    var wakeNumber = 0
    var postgres = ModelPostgres()
    var guardian = ModelGuard()
    var marker: PromotionMarker?
    var session: SessionID?
    var storeReachable = true
    var isHostDown = false
    var isFrozen = false
    var inbox: [Event] = []
    var isolated: Set<String> = []
    var watches: Set<String> = []
    var lastWord: PeerStatus?
    var job: (id: EffectID, job: Job, instance: Int)?
    var answers: [RequestID: [OperatorAnswer]] = [:]
    var exit: (code: Int32, text: String)?
    var counts: [String: Int] = [:]
    var ids: Set<EffectID> = []
    var callbacks: [String] = []
    /// Nothing enforces a lease here, and everybody knows: in pause.
    var isUnfenced: Bool { guardian.posture == .paused || guardian.posture == .resumed && guardian.graceUntil != nil }

    init(name: String, settings: MachineSettings) {
        self.name = name
        self.settings = settings
        self.apiURL = "http://\(name):8008/patroni"
    }
}

struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// What is to happen, by time and then by order of asking.
struct EventQueue {
    private struct Item {
        var at: Instant
        var number: UInt64
        var action: () -> Void
        func isBefore(_ other: Item) -> Bool { (at, number) < (other.at, other.number) }
    }

    private var heap: [Item] = []
    private var count: UInt64 = 0

    var first: Instant? { heap.first?.at }

    mutating func push(_ at: Instant, _ action: @escaping () -> Void) {
        count += 1
        heap.append(Item(at: at, number: count, action: action))
        var child = heap.count - 1
        while child > 0, heap[child].isBefore(heap[(child - 1) / 2]) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func pop() -> () -> Void {
        heap.swapAt(0, heap.count - 1)
        let item = heap.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && heap[child].isBefore(heap[least])
            {
                least = child
            }
            if least == parent { break }
            heap.swapAt(parent, least)
            parent = least
        }
        return item.action
    }
}
