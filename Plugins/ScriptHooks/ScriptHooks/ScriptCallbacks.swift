import ClusterModel
import PluginInterfaces

/// Runs the callback commands: each gets three arguments, the action, the role and the cluster's name, and the fence
/// number of the term as MATRIARCH_FENCE in its environment.
///
/// Two lanes, each one at a time and in order: `on_reload`, and everything else. A role change is thus never held up by
/// a reload, nor cut short by anything: a newer event waits until the older one's command has ended, or was ended by its
/// deadline. Of the reloads that wait only the newest is run, for all of them say the same.
struct ScriptCallbacks: CallbackHandler {
    struct Command: Hashable, Sendable {
        var executable: String
        var words: [String]
    }

    let commands: [CallbackEvent.Action: Command]
    let timeout: Duration?
    let main = CallbackLane(limit: 64)
    let reloads = CallbackLane(limit: 1)

    func handle(_ event: CallbackEvent, run: @escaping @Sendable (PluginCommand) async -> CommandEnd) async
        -> PluginFailure?
    {
        guard let command = command(event) else { return nil }
        let what = "\(event.action.rawValue) callback \(command.executable)"
        let lane = event.action == .onReload ? reloads : main
        switch await lane.enter() {
        case .entered: break
        case .displaced where event.action == .onReload: return nil
        case .displaced: return PluginFailure("\(what) was not run: too many newer events wait for an older callback")
        case .cancelled: return PluginFailure("\(what) was not run: the agent is stopping")
        }
        defer { lane.leave() }
        let end = await run(command)
        return end.isSuccess ? nil : PluginFailure("\(what) \(end.explanation)")
    }

    /// Nil when nothing is configured for the action.
    func command(_ event: CallbackEvent) -> PluginCommand? {
        guard let command = commands[event.action] else { return nil }
        var environment: [String: String] = [:]
        if let fence = event.fence { environment["MATRIARCH_FENCE"] = fence.description }
        return PluginCommand(
            command.executable, command.words + [event.action.rawValue, Self.word(event.role), event.scope],
            environment: environment, deadline: timeout)
    }

    /// Scripts know nothing of a promotion that is not yet confirmed.
    private static func word(_ role: MemberRole) -> String {
        role == .promoted ? MemberRole.primary.rawValue : role.rawValue
    }
}
