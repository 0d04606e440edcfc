import AgentConfiguration
import ClusterModel
import ConfigurationTree
import PluginInterfaces

/// Looks at the store: reads the cluster, asks the plugin about its servers, and opens a session for as long as that takes.
enum StoreLook {
    static func facts(_ opened: OpenedStore, _ settings: Settings, within limit: Duration) async -> StoreFacts {
        var facts = StoreFacts(section: opened.section)
        let deadline = SystemClock.now() + limit
        var snapshot: StoreSnapshot?
        while snapshot == nil {
            let start = SystemClock.now()
            do throws(StoreError) {
                // The first connection may still be under way.
                snapshot = try await opened.store.read(.all, .linearizable, within: max(deadline - start, .zero))
                facts.took = SystemClock.now() - start
            } catch {
                facts.error = error.description
                if [.notAuthorized, .misconfigured].contains(error.code) || SystemClock.now() >= deadline { break }
                try? await Task.sleep(for: .milliseconds(50))
            }
        }
        facts.findings = await opened.store.findings(within: min(limit, .seconds(5)))
        guard let snapshot else { return facts }
        facts.error = nil
        facts.keys = snapshot.entries.count
        facts.leader = snapshot["leader"].map { String(decoding: $0.value, as: UTF8.self) }

        let dynamic = self.dynamic(snapshot, settings, opened.root)
        facts.timingSource = dynamic.source
        let (timing, complaints) = dynamic.settings.timing(allPeersOurs: true)
        facts.timingComplaints = complaints.map(\.description)
        do throws(StoreError) {
            let session = try await opened.store.openSession(
                SessionRequest(lifetime: timing.ttl, name: "doctor"), within: limit)
            facts.lease = StoreFacts.Lease(
                asked: timing.ttl, granted: session.granted, wishedInterval: session.renewalInterval,
                intervalsBehind: session.intervalsBehind)
            await session.close(abandon: false)
        } catch {
            facts.sessionError = error.description
        }
        return facts
    }

    /// The dynamic configuration that holds, or will: the store's, else the file's, else the defaults.
    private static func dynamic(
        _ snapshot: StoreSnapshot, _ settings: Settings, _ root: String
    ) -> (settings: DynamicSettings, source: String) {
        if let value = snapshot["config"]?.value, let document = try? JSONValue.parse(value),
            let found = DynamicSettings.decode(document, source: "key \(root)config").settings
        {
            return (found, "the cluster's configuration")
        }
        if let node = settings.bootstrap?.dynamicNode,
            let found = DynamicSettings.decode(node, path: "bootstrap.dcs").settings
        {
            return (found, "bootstrap.dcs")
        }
        return (DynamicSettings(), "the default")
    }
}
