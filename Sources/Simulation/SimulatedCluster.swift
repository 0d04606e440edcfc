package import ClusterModel
package import HighAvailability

/// Some members, one store and a clock that only its owner moves: everything happens in one order, given by the seed.
///
/// The members' machines are the real ones; the store, PostgreSQL, the guards, the network and the clients are models of
/// what the machines can tell of them. Single-threaded; the same seed and the same calls give the same world.
package final class SimulatedCluster {
    /// What goes wrong with one effect.
    package enum Mishap {
        /// Done, and the answer lost.
        case answerLost
        /// Not done, and nobody knows.
        case lost
        case notSent
        case late(Duration)
        /// The agent ends before the effect is begun.
        case crashBefore
        /// The agent ends right after the effect was begun.
        case crashAfter
    }

    /// One decision, where and when it was made.
    package struct Line {
        package var at: Instant
        package var node: String
        package var decision: Decision
    }

    package static let origin = Instant(nanoseconds: 1_000_000_000_000)
    static let wallOrigin = WallTime(seconds: 1_800_000_000)

    package private(set) var now = SimulatedCluster.origin
    /// The stores, in the order in which the cluster has moved to them, or will.
    package var stores = [ModelStore()]
    /// The number of the one that rules.
    package internal(set) var ruling = 0
    /// The one that rules.
    package var store: ModelStore {
        _read { yield stores[ruling] }
        _modify { yield &stores[ruling] }
    }
    private var members: [String: SimulatedMember] = [:]
    /// In their order: a dictionary's would differ from run to run.
    package private(set) var all: [SimulatedMember] = []
    package var names: [String] { all.map(\.name) }
    package private(set) var lines: [Line] = []
    /// What must never be, and was.
    package private(set) var violations: [String] = []
    package var random: SplitMix
    package var ttl: Duration
    package var jitter: Duration = .zero
    /// How long a dead host's silence goes unnoticed by its peers.
    package var silenceTakes: Duration = .milliseconds(1200)
    /// What goes wrong with an effect of a member; asked at its beginning.
    package var fault: ((SimulatedMember, Effect) -> Mishap?)?
    /// Members that are no machines: what they answer when asked; nil: nothing.
    package var aliens: [String: () -> PeerStatus?] = [:]
    /// The store answers nobody, and its clock goes on.
    var isStoreStopped = false
    /// Since when.
    var stoppedAt = Instant.distantPast
    /// How long it takes until a client notices that its servers are gone.
    static let outageNoticed: Duration = .milliseconds(300)
    /// Those that answer nobody, the others being well.
    var stoppedStores: Set<Int> = []
    /// Migrations that were begun.
    var attempts = 0
    /// How long the store takes for one answer.
    package var storeDelay: Duration = .milliseconds(2)
    /// Share of the peers' words that get lost, and that come twice, in thousandths.
    var wordsLost: UInt64 = 0
    var wordsTwice: UInt64 = 0
    /// Whether everything that is decided is kept for the story; without it only the newest.
    package var keepsStory = true
    /// What clients were told is safe.
    var clients = AcknowledgedWrites()
    /// Requests that an operator made of a living agent, until they are answered.
    var open: [RequestID: (member: String, instance: Int, at: Instant)] = [:]
    /// Acknowledgements of two members at once while a residual risk was tried on one of them.
    package var residualDoubles = 0
    /// Counted for the report: what happened how often.
    package var tally: [String: Int] = [:]
    /// Told of every fault, decision and promotion as it happens.
    package var onLine: ((String) -> Void)?
    /// Who was confirmed to have everything when the lease was released to him, the branch that ended so, and where.
    /// Should nobody take the lead, its primary may come back and write on beyond that.
    var confirmed: (name: String, branch: ModelPostgres.Branch, end: LSN)?
    /// Restarts, in hundredths, after which the record of grants is not to be read.
    var grantsLost: UInt64 = 0
    /// How long a disk may be at other work before it takes a marker.
    var diskBusy: Duration = .zero
    /// What the next cut-over of a migration meets.
    var cutOverTrial: Fault?
    /// What the leaders asked of the others, until it is answered.
    var asked: [RequestID: (holder: String, instance: Int, effect: EffectID, from: String, at: Instant)] = [:]
    /// When the store's data was last another from one moment to the next.
    var exchangedAt = Instant.distantPast
    /// What was sent before went to the servers that were there until then.
    var requestsCountFrom = Instant.distantPast
    /// The list of members that the store had before.
    var lastListed: [String: String]?
    /// Nothing goes wrong any more.
    var isHealed = false

    /// Which branch has which timeline's number: no number is made twice.
    var makers: [Timeline: Int] = [:]

    private var queue = EventQueue()
    private var lastBranch = 0
    var lastRequest: UInt64 = 0
    private(set) var steps = 0

    /// Far more than the busiest storm of faults brings to one member.
    private static let mostEventsInASecond = 3000

    package var wall: WallTime { SimulatedCluster.wallOrigin + (now - SimulatedCluster.origin) }
    package var elapsed: Duration { now - SimulatedCluster.origin }

    package init(
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

    package func add(_ name: String, _ settings: MachineSettings) {
        let member = SimulatedMember(name: name, index: all.count, settings: settings)
        members[name] = member
        all.append(member)
    }

    package subscript(name: String) -> SimulatedMember {
        guard let member = members[name] else { preconditionFailure("no member \(name)") }
        return member
    }

    package func member(_ name: String) -> SimulatedMember? { members[name] }

    // MARK: - Time

    func after(_ delay: Duration, _ action: @escaping () -> Void) {
        queue.push(now + delay + (jitter > .zero ? random.duration(upTo: jitter) : .zero), action)
    }

    func at(_ instant: Instant, _ action: @escaping () -> Void) {
        queue.push(max(now, instant), action)
    }

    /// Takes the next thing that happens; false when it is later than the limit.
    func step(until limit: Instant) -> Bool {
        guard let next = queue.first, next <= limit, let action = queue.pop() else {
            now = max(now, limit)
            return false
        }
        steps += 1
        now = max(now, next)
        action()
        settleStore()
        check()
        return true
    }

    /// Ends the world: what is still to happen, and holds on to it, is forgotten.
    package func end() {
        queue = EventQueue()
        fault = nil
        onLine = nil
        aliens = [:]
    }

    package func run(for duration: Duration) {
        let limit = now + duration
        while step(until: limit) {}
    }

    /// Runs until something holds; how long that took, or nil.
    @discardableResult
    package func run(until condition: (SimulatedCluster) -> Bool, within limit: Duration = .seconds(120)) -> Duration? {
        let began = now
        let end = now + limit
        while !condition(self) {
            if !step(until: end) { return condition(self) ? now - began : nil }
        }
        return now - began
    }

    // MARK: - The store's clock

    /// Sessions expire when the store's clock says so, whoever looks.
    private func settleStore() {
        if isStoreStopped { return }
        for number in stores.indices where !stoppedStores.contains(number) {
            if stores[number].expire(at: now) { expired(number) }
        }
    }

    func expired(_ number: Int) {
        if let holding = stores[number].expiredHolding {
            stores[number].expiredHolding = nil
            // A lease in a store that does not rule gives nobody anything.
            if number == ruling { judgeExpiry(holding.name, holding.fence) }
        }
        signalAll(number)
    }

    package func signalAll() { signalAll(ruling) }

    func signalAll(_ number: Int) {
        for member in all where member.home == number && answers(member, number) {
            tell(member, .storeChanged, after: .milliseconds(1))
        }
    }

    /// What the store tells that a member lives on now: no news any more once it lives on another.
    func tell(_ member: SimulatedMember, _ event: Event, after delay: Duration = .zero) {
        deliver(member, .from(store: member.home - member.firstHome, event), after: delay)
    }

    /// Whether a store answers a member.
    func answers(_ member: SimulatedMember, _ number: Int) -> Bool {
        !member.isStoreCut && !member.cutFrom.contains(number) && !isStoreStopped && !stoppedStores.contains(number)
    }

    // MARK: - Events in

    package func deliver(_ member: SimulatedMember, _ event: Event, after delay: Duration = .zero) {
        let instance = member.instance
        after(delay + member.turn) { [unowned self, unowned member] in
            guard member.instance == instance, member.hasMachine, !member.isHostDown else { return }
            if member.isFrozen || member.isHostPaused || !member.inbox.isEmpty {
                member.inbox.append(event)
                return
            }
            self.handle(member, event)
        }
    }

    /// For what one source tells in its order: the guard, the server, the jobs.
    func deliverInOrder(_ member: SimulatedMember, _ event: Event, after delay: Duration = .zero) {
        var due = now + delay + member.turn + (jitter > .zero ? random.duration(upTo: jitter) : .zero)
        due = max(due, member.lastInOrder)
        member.lastInOrder = due
        let instance = member.instance
        at(due) { [unowned self, unowned member] in
            guard member.instance == instance, member.hasMachine, !member.isHostDown else { return }
            if member.isFrozen || member.isHostPaused || !member.inbox.isEmpty {
                member.inbox.append(event)
                return
            }
            self.handle(member, event)
        }
    }

    func handle(_ member: SimulatedMember, _ event: Event) {
        replicate()
        let local = member.local(now)
        // In place: a machine is large.
        guard let reaction = member.machine?.handle(event, at: Moment(now: local, wall: wall, random: random.next()))
        else { return }
        member.handled += 1
        judgeHaste(member)
        judgeFailsafe(member)
        for decision in reaction.decisions { note(member, decision) }
        if reaction.wakeAt <= local { complain("\(member.name): a wake in the past") }
        let instance = member.instance
        member.wakeNumber += 1
        let number = member.wakeNumber
        queue.push(max(now, member.global(reaction.wakeAt))) { [unowned self, unowned member] in
            guard member.instance == instance, member.wakeNumber == number, member.hasMachine else { return }
            if member.isFrozen || member.isHostPaused { return }
            self.handle(member, .wake)
        }
        for effect in reaction.effects {
            guard member.instance == instance else { return }
            begin(member, effect)
        }
        guard member.instance == instance else { return }
        publish(member)
    }

    /// An agent that answers itself without end would stop the world's clock, and burn a processor in the real one.
    private func judgeHaste(_ member: SimulatedMember) {
        if now - member.hasteSince >= .seconds(1) {
            member.hasteSince = now
            member.hasteFrom = member.handled
        } else if member.handled - member.hasteFrom == Self.mostEventsInASecond {
            complain("\(member.name): \(Self.mostEventsInASecond) events within a second")
        }
    }

    private func note(_ member: SimulatedMember, _ decision: Decision) {
        lines.append(Line(at: now, node: member.name, decision: decision))
        if !keepsStory, lines.count > 400 { lines.removeFirst(200) }
        if decision.rule == "switchover.release", let name = decision["confirmed"]?.string {
            confirmed = (name, member.postgres.branch, member.postgres.lsn)
        }
        if decision.rule == "migration.movedAway" {
            after(.seconds(3)) { [unowned self, unowned member] in self.correctConfiguration(member) }
        }
        onLine?("\(member.name): \(decision.line)")
    }

    /// The word that goes to whoever watches this member.
    private func publish(_ member: SimulatedMember) {
        guard all.contains(where: { $0 !== member && $0.watches.contains(member.name) }),
            let status = member.machine?.word(askedAt: .distantPast), status != member.lastWord
        else { return }
        member.lastWord = status
        for other in all where other.watches.contains(member.name) { tell(other, status, of: member) }
    }

    private func tell(_ other: SimulatedMember, _ status: PeerStatus, of member: SimulatedMember) {
        if wordsLost > 0, random.perMille(wordsLost) { return }
        let times = wordsTwice > 0 && random.perMille(wordsTwice) ? 2 : 1
        for _ in 0..<times {
            after(.milliseconds(1)) { [unowned self, unowned other, unowned member] in
                guard self.arrives(from: member, at: other) else { return }
                var word = status
                word.askedAt = other.local(self.now)
                self.deliver(other, .peer(word))
            }
        }
    }

    /// After a connection came back: each tells the other how it stands.
    func greet(_ member: SimulatedMember) {
        guard !member.isFrozen, let status = member.machine?.word(askedAt: .distantPast) else { return }
        for other in all where other.watches.contains(member.name) { tell(other, status, of: member) }
    }

    func newBranch() -> Int {
        lastBranch += 1
        return lastBranch
    }

    // MARK: - Operators

    @discardableResult
    package func ask(_ name: String, _ request: OperatorRequest) -> RequestID {
        lastRequest += 1
        let id = RequestID(lastRequest)
        open[id] = (name, self[name].instance, now)
        deliver(self[name], .asked(id, request), after: .milliseconds(1))
        return id
    }

    package func answer(_ id: RequestID) -> OperatorAnswer? {
        all.compactMap { $0.answers[id]?.first }.first
    }

    // MARK: - The story

    func complain(_ text: String) {
        let known = "ms: " + text
        if violations.count < 20, violations.last?.hasSuffix(known) != true {
            violations.append("\(elapsed.milliseconds) \(known)")
            onLine?("VIOLATION: \(text)")
        }
    }

    package func decisions(_ node: String, _ rule: RuleCode) -> [Decision] {
        lines.filter { $0.node == node && $0.decision.rule == rule }.map(\.decision)
    }

    package func said(_ node: String, _ rule: RuleCode) -> Bool { !decisions(node, rule).isEmpty }

    package func saidAnywhere(_ rule: RuleCode) -> Bool { lines.contains { $0.decision.rule == rule } }

    /// Everything that was decided, one line each: what a failing test prints.
    package func story(last: Int = 80) -> String {
        let text = lines.suffix(last).map { line in
            "\((line.at - SimulatedCluster.origin).milliseconds) \(line.node): \(line.decision.line)"
        }
        return (violations + text + summary).joined(separator: "\n")
    }

    /// How everything stands at this moment, a line each.
    package var summary: [String] {
        let records = (store.promotions?.value.records ?? [:]).sorted { $0.key < $1.key }
        let members = store.members.keys.sorted()
        let head = [
            "at \(elapsed.milliseconds): leader \(leader ?? "nobody"), members \(members)",
            "\(records.map { "\($0.key): \($0.value)" })",
        ]
        return head
            + all.map { member -> String in
                let world = member.machine?.world
                return
                    "\(member.name): \(world.map { "\($0.lease)" } ?? "no agent") "
                    + "\(String(describing: member.postgres.run)) \(member.postgres.branch) \(member.postgres.lsn) past \(member.postgres.past) "
                    + "marker \(world?.marker as Any) job \(world?.job?.job.name as Any) "
                    + "session \(world?.sessionFacts?.id.text ?? "none") sees \(world?.view?.leader as Any)"
            }
    }
}
