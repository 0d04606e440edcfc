import ChildProcesses
import ClusterModel
import ConfigurationTree
import PluginInterfaces
import ScriptHooks
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(1)))
struct ScriptCallbackTests {
    private func handler(_ yaml: Yaml) throws -> any CallbackHandler {
        try #require(try ScriptCallbackFactory().makeHandler(yaml.node))
    }

    private func event(_ action: CallbackEvent.Action, _ role: MemberRole = .primary, fence: Fence? = nil)
        -> CallbackEvent
    {
        CallbackEvent(action: action, role: role, scope: "demo", fence: fence)
    }

    @Test("Nothing configured is no handler")
    func nothing() throws {
        let factory = ScriptCallbackFactory()
        #expect(try factory.makeHandler(nil) == nil)
        #expect(try factory.makeHandler(Yaml.null.node) == nil)
        #expect(try factory.makeHandler(([:] as Yaml).node) == nil)
        #expect(try factory.makeHandler((["on_start": "", "on_stop": .null, "timeout": "5"] as Yaml).node) == nil)
    }

    @Test("A command gets action, role and scope behind its own words", arguments: CallbackEvent.Action.allCases)
    func command(_ action: CallbackEvent.Action) async throws {
        let handler = try handler([
            "on_start": .quoted("/cb --on 'a b'"), "on_stop": "/cb", "on_restart": "/cb", "on_reload": "/cb",
            "on_role_change": "scripts/cb",
        ])
        let commands = Collected<PluginCommand>()
        let failure = await handler.handle(event(action, .standbyLeader)) {
            commands.add($0)
            return .exited(0)
        }
        #expect(failure == nil)
        let command = try #require(commands.all.first)
        #expect(commands.all.count == 1)
        #expect(command.executable == (action == .onRoleChange ? "scripts/cb" : "/cb"))
        let own = action == .onStart ? ["--on", "a b"] : []
        #expect(command.arguments == own + [action.rawValue, "standby_leader", "demo"])
        #expect(command.environment == [:])
        #expect(command.deadline == .seconds(300))
    }

    @Test(
        "Roles are told in the words scripts know",
        arguments: [
            (MemberRole.primary, "primary"), (.promoted, "primary"), (.replica, "replica"), (.demoted, "demoted"),
            (.standbyLeader, "standby_leader"),
        ])
    func roles(_ role: MemberRole, _ word: String) async throws {
        let commands = Collected<PluginCommand>()
        _ = try await handler(["on_role_change": "/cb"]).handle(event(.onRoleChange, role)) {
            commands.add($0)
            return .exited(0)
        }
        #expect(commands.all.first?.arguments == ["on_role_change", word, "demo"])
    }

    @Test("The term's fence number is in the environment")
    func fence() async throws {
        let commands = Collected<PluginCommand>()
        _ = try await handler(["on_role_change": "/cb"]).handle(event(.onRoleChange, fence: Fence(era: 1, number: 77)))
        {
            commands.add($0)
            return .exited(0)
        }
        #expect(commands.all.first?.environment == ["MATRIARCH_FENCE": "1.77"])
    }

    @Test("An action without a command runs nothing")
    func unconfigured() async throws {
        let failure = try await handler(["on_start": "/cb"]).handle(event(.onStop)) { _ in .exited(9) }
        #expect(failure == nil)
    }

    @Test(
        "How long a callback may take is configurable",
        arguments: [
            ("7", Duration.seconds(7)), ("90s", .seconds(90)), ("5min", .seconds(300)), ("500 ms", .milliseconds(500)),
            ("0", nil),
        ] as [(String, Duration?)])
    func timeout(_ text: String, _ duration: Duration?) async throws {
        let commands = Collected<PluginCommand>()
        _ = try await handler(["on_start": "/cb", "timeout": .plain(text)]).handle(event(.onStart)) {
            commands.add($0)
            return .exited(0)
        }
        #expect(commands.all.map(\.deadline) == [duration])
    }

    @Test("What cannot be run is refused with its place, all at once")
    func refused() {
        let yaml: Yaml = ["on_start": "x 'y", "on_stop": ["x"], "timeout": "soon"]
        let text = complaints { _ = try ScriptCallbackFactory().makeHandler(yaml.node) }
        let lines = text?.split(separator: "\n") ?? []
        #expect(lines.count == 3)
        #expect(lines.first?.hasPrefix("test.yml:1:3: postgresql.callbacks.on_start: 'x 'y' cannot be split") == true)
        #expect(lines.dropFirst().first?.hasPrefix("test.yml:2:3: postgresql.callbacks.on_stop: expected a") == true)
        #expect(lines.last?.hasPrefix("test.yml:3:3: postgresql.callbacks.timeout: expected seconds") == true)
        #expect(complaints { _ = try ScriptCallbackFactory().makeHandler(("x" as Yaml).node) } != nil)
    }

    @Test("A callback that fails is reported and changes nothing")
    func failing() async throws {
        let failure = try await handler(["on_stop": "/cb"]).handle(event(.onStop)) { _ in .exited(3) }
        #expect(failure == PluginFailure("on_stop callback /cb exited with status 3"))
    }

    @Test("A callback that hangs is ended by its deadline, for real, and the next one follows")
    func hanging() async throws {
        let playground = try Playground()
        let script = try playground.script(
            "cb",
            """
            echo "$*" >> '\(playground.path)/calls'
            if [ "$1" = on_start ]; then echo $$ > '\(playground.path)/pid'; sleep 300; fi
            """)
        let handler = try handler(["on_start": .plain(script), "on_role_change": .plain(script), "timeout": "3s"])
        let run: @Sendable (PluginCommand) async -> CommandEnd = { await playground.run($0, nil) }
        async let first = handler.handle(event(.onStart, .replica), run: run)
        #expect(await eventually { playground.exists("pid") })
        async let second = handler.handle(event(.onRoleChange, .promoted), run: run)
        #expect(
            await first == PluginFailure("on_start callback \(script) did not end in time and was stopped"))
        #expect(await second == nil)
        #expect(playground.read("calls") == "on_start replica demo\non_role_change primary demo\n")
        await playground.remove()
    }

    /// Lets a test decide when each command ends.
    private final class Stage: Sendable {
        private struct State {
            var started: [String] = []
            var waiting: [String: CheckedContinuation<CommandEnd, Never>] = [:]
        }

        private let state = Mutex(State())
        var started: [String] { state.withLock { $0.started } }

        @Sendable func run(_ command: PluginCommand) async -> CommandEnd {
            let name = command.arguments.suffix(3).prefix(2).joined(separator: " ")
            return await withCheckedContinuation { waiter in
                state.withLock {
                    $0.started.append(name)
                    $0.waiting[name] = waiter
                }
            }
        }

        func end(_ name: String) {
            state.withLock { $0.waiting.removeValue(forKey: name) }?.resume(returning: .exited(0))
        }
    }

    @Test("Role callbacks wait for each other in order; a reload neither waits for them nor holds them up")
    func lanes() async throws {
        let handler = try handler([
            "on_start": "/cb", "on_stop": "/cb", "on_restart": "/cb", "on_reload": "/cb", "on_role_change": "/cb",
        ])
        let stage = Stage()
        await withTaskGroup(of: Void.self) { group in
            func fire(_ action: CallbackEvent.Action, _ role: MemberRole) {
                let event = event(action, role)
                group.addTask { _ = await handler.handle(event) { await stage.run($0) } }
            }
            fire(.onReload, .replica)
            #expect(await eventually { stage.started == ["on_reload replica"] })
            fire(.onStart, .replica)
            #expect(await eventually { stage.started.last == "on_start replica" })
            fire(.onRoleChange, .primary)
            fire(.onReload, .primary)
            // Nothing may start now; there is no event to wait for, so what is started is looked at after a while.
            try? await Task.sleep(for: .milliseconds(100))
            #expect(stage.started == ["on_reload replica", "on_start replica"])
            stage.end("on_start replica")
            #expect(await eventually { stage.started.last == "on_role_change primary" })
            stage.end("on_reload replica")
            #expect(await eventually { stage.started.last == "on_reload primary" })
            stage.end("on_reload primary")
            stage.end("on_role_change primary")
        }
        #expect(stage.started.count == 4)
    }

    @Test("Of the reloads that wait only the newest is run")
    func reloadsCoalesce() async throws {
        let handler = try handler(["on_reload": "/cb"])
        let stage = Stage()
        await withTaskGroup(of: PluginFailure?.self) { group in
            func fire(_ role: MemberRole) {
                let event = event(.onReload, role)
                group.addTask { await handler.handle(event) { await stage.run($0) } }
            }
            fire(.primary)
            #expect(await eventually { stage.started.count == 1 })
            fire(.demoted)
            fire(.demoted)
            fire(.demoted)
            // Two of the three are displaced, and end without a failure.
            #expect(await group.next() == .some(nil))
            #expect(await group.next() == .some(nil))
            stage.end("on_reload primary")
            #expect(await eventually { stage.started == ["on_reload primary", "on_reload demoted"] })
            stage.end("on_reload demoted")
        }
        #expect(stage.started.count == 2)
    }

    @Test("A cancelled event that waits is not run, and holds nobody up")
    func cancelled() async throws {
        let handler = try handler(["on_start": "/cb", "on_stop": "/cb", "on_restart": "/cb"])
        let stage = Stage()
        let start = event(.onStart)
        let restart = event(.onRestart)
        let stop = event(.onStop)
        let first = Task { await handler.handle(start) { await stage.run($0) } }
        #expect(await eventually { stage.started.count == 1 })
        let second = Task { await handler.handle(restart) { await stage.run($0) } }
        second.cancel()
        #expect(await second.value == PluginFailure("on_restart callback /cb was not run: the agent is stopping"))
        let third = Task { await handler.handle(stop) { await stage.run($0) } }
        stage.end("on_start primary")
        #expect(await eventually { stage.started == ["on_start primary", "on_stop primary"] })
        stage.end("on_stop primary")
        #expect(await first.value == nil)
        #expect(await third.value == nil)
    }
}
