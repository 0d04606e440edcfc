public import ClusterModel
public import PluginInterfaces

/// Translates between a store's entries and the model of a cluster. Pure.
///
/// Reading refuses nothing: other programs write into the same store, so what cannot be understood is left out and told
/// in the view's `problems`.
public enum ClusterCodec {
    /// The cluster as the entries show it. `era` is the era known so far; the store's, and the one in the snapshot, count
    /// if they are higher.
    public static func view(of snapshot: StoreSnapshot, era: UInt32 = 0) -> ClusterView {
        let stored = storedEra(in: snapshot)
        let revision = revision(snapshot.revision, era: max(era, stored ?? 0))
        var view = ClusterView(revision: revision, requestedAt: snapshot.requestedAt)
        view.era = stored
        view.eraVersion = snapshot[ClusterKey.era]?.version
        if view.eraVersion != nil, stored == nil { view.problems.append("era: no number") }
        var legacyStatus: ClusterStatus?
        for entry in snapshot.entries {
            let value = entry.value
            switch entry.key {
            case ClusterKey.initialize:
                readInitialize(entry, into: &view)
            case ClusterKey.leader:
                let name = String(decoding: value, as: UTF8.self)
                // An entry without a usable name is a lock all the same: nobody else can create it.
                if name.isEmpty { view.problems.append("leader: empty") }
                view.leader = ClusterView.Leader(
                    name: name, session: entry.owner, version: entry.version,
                    // The era that the store itself has: whoever raises it does so together with an entry.
                    fence: Fence(era: stored ?? 0, number: entry.created))
            case ClusterKey.configuration:
                view.configurationVersion = entry.version
                do {
                    view.configuration = try JSONValue.parse(value).object
                    if view.configuration == nil { view.problems.append("config: no JSON object") }
                } catch {
                    view.problems.append("config: no JSON: \(error)")
                }
            case ClusterKey.failover:
                let (request, problem) = FailoverRequest.read(value)
                view.failover = request
                view.failoverVersion = entry.version
                if let problem { view.problems.append(problem) }
            case ClusterKey.status:
                let (status, problem) = ClusterStatus.read(value)
                view.status = status
                view.statusVersion = entry.version
                if let problem { view.problems.append(problem) }
            case ClusterKey.legacyStatus:
                legacyStatus = readLegacyStatus(value, problems: &view.problems)
            case ClusterKey.sync:
                let (state, problem) = SyncState.read(value)
                view.sync = state
                view.syncVersion = entry.version
                if let problem { view.problems.append(problem) }
            case ClusterKey.history:
                let (history, problem) = TimelineHistory.read(value)
                view.history = history
                view.historyVersion = entry.version
                if let problem { view.problems.append(problem) }
            case ClusterKey.promotions:
                let (records, problem) = PromotionRecords.read(value)
                view.promotions = records
                view.promotionsVersion = entry.version
                if let problem { view.problems.append(problem) }
            case ClusterKey.migration:
                let (mark, problem) = MigrationMark.read(value)
                view.migration = mark
                view.migrationVersion = entry.version
                if let problem { view.problems.append(problem) }
            case ClusterKey.failsafe:
                view.failsafeVersion = entry.version
                view.failsafe = readFailsafe(value, problems: &view.problems)
            default:
                guard let name = ClusterKey.memberName(of: entry.key) else { continue }
                let (member, problems) = Member.read(name: name, value: value, session: entry.owner)
                view.members.append(member)
                view.memberVersions[name] = entry.version
                view.problems += problems
            }
        }
        // Only without `status`: a key that an old member left behind may be years old.
        if view.statusVersion == nil { view.status = legacyStatus }
        // The order of entries is the store's; what is decided from a view must not depend on it.
        view.members.sort { $0.name < $1.name }
        view.problems.sort()
        return view
    }

    /// The number of the key `era`; nil when there is none that can be read.
    public static func storedEra(in snapshot: StoreSnapshot) -> UInt32? {
        snapshot[ClusterKey.era].flatMap { UInt32(String(decoding: $0.value, as: UTF8.self)) }
    }

    /// A store's revision under the site's era.
    static func revision(_ revision: StoreRevision, era: UInt32) -> StoreRevision {
        StoreRevision(era: max(era, revision.era), number: revision.number)
    }

    private static func readInitialize(_ entry: StoreEntry, into view: inout ClusterView) {
        let isDigits = entry.value.allSatisfy { (48...57).contains($0) }
        if entry.value.isEmpty {
            view.initialize = .inProgress(entry.version)
        } else if isDigits, entry.value.count >= 10 {
            view.initialize = .identifier(String(decoding: entry.value, as: UTF8.self), entry.version)
        } else {
            view.initialize = .invalid(entry.version)
            view.problems.append("initialize: no system identifier")
        }
    }

    private static func readLegacyStatus(_ value: [UInt8], problems: inout [String]) -> ClusterStatus? {
        guard let bytes = UInt64(String(decoding: value, as: UTF8.self)) else {
            problems.append("optime/leader: no position")
            return nil
        }
        return ClusterStatus(optime: LSN(bytes))
    }

    private static func readFailsafe(_ value: [UInt8], problems: inout [String]) -> [String: String]? {
        guard let object = (try? JSONValue.parse(value))?.object else {
            problems.append("failsafe: no JSON object")
            return nil
        }
        var urls: [String: String] = [:]
        for (name, value) in object.members {
            if let url = value.string {
                urls[name] = url
            } else {
                problems.append("failsafe: \(name): no URL")
            }
        }
        return urls
    }
}
