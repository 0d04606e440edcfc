import AgentConfiguration
import AgentRuntime
import ArgumentParser
import ConfigurationTree
import Dispatch
import Glibc
import HighAvailability
import Logging
import PluginInterfaces
import RESTServer
import Synchronization

/// `matriarch run FILE`: the agent itself.
struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Run the agent beside this host's PostgreSQL server.",
        discussion: """
            FILE is the agent's YAML file (or a directory of them), the same that Patroni reads. Without it, or where \
            it does not exist, PATRONI_* and MATRIARCH_* variables are the configuration.

            SIGHUP reads the file again; SIGTERM and SIGINT hand the leadership over, stop PostgreSQL and leave.
            Exit status: 0 after an orderly stop, 1 when the agent cannot work as configured.
            """)

    @Argument(help: "The configuration file.", completion: .file(extensions: ["yml", "yaml"]))
    var file: String?

    func run() async throws {
        if geteuid() == 0 {
            report("refusing to run as root: PostgreSQL does, too; start the agent as the account that owns data_dir")
            throw ExitCode(1)
        }
        let registry = Plugins.registry
        let environment = ProcessInfo.environment()
        let loaded = ConfigurationLoader.load(
            path: file, environment: environment, knownStores: registry.stores.map(\.section))
        var complaints = loaded.complaints
        if let settings = loaded.settings, let factory = registry.store(section: settings.store.name) {
            complaints += factory.check(settings.store.node)
        }
        guard let settings = loaded.settings, !complaints.containsError else {
            for complaint in complaints { report("\(complaint.severity.rawValue): \(complaint)") }
            throw ExitCode(1)
        }
        for name in loaded.consumedEnvironment { unsetenv(name) }
        let (logger, sink) = AgentLog.start(settings.log)
        for complaint in complaints { logger.warning("\(complaint)") }
        let code = await AgentProcess(
            setup: AgentSetup(
                settings: settings, registry: registry, configurationPath: file, environment: environment),
            logger: logger
        ).run()
        sink.close()
        Glibc.exit(code)
    }
}

/// The agent with everything around it: REST server, signals.
struct AgentProcess {
    let setup: AgentSetup
    let logger: Logger

    func run() async -> Int32 {
        logger.info(
            "matriarch \(matriarchVersion): member \(setup.settings.name) of \(setup.settings.scope), process \(getpid())"
        )
        let agent: Agent
        do {
            agent = try Agent(setup: setup, logger: logger)
        } catch {
            logger.critical("\(error)")
            return 1
        }
        let server = Mutex<RESTServer?>(nil)
        let api = AgentAPI(agent: agent) {
            guard let server = server.withLock({ $0 }) else { return nil }
            let refused = await server.apply(RESTSettings(await agent.currentSettings.restAPI))
            if let refused { return refused }
            return await server.reloadCertificates()
        }
        let rest = RESTServer(settings: RESTSettings(setup.settings.restAPI), control: api, logger: logger)
        server.withLock { $0 = rest }

        var signals = SignalSources()
        signals.on(SIGTERM) { agent.stop() }
        signals.on(SIGINT) { agent.stop() }
        signals.on(SIGHUP) { Task { _ = await api.reload() } }
        // Scripts of operators send these to Patroni; they have no meaning here and must not end the agent's callbacks.
        signal(SIGPIPE, SIG_IGN)

        let failure = Mutex<String?>(nil)
        let serving = Task {
            do {
                try await rest.run()
            } catch {
                if Task.isCancelled { return }
                failure.withLock { $0 = "\(error)" }
                logger.critical("\(error)")
                agent.fail("\(error)")
            }
        }
        let (code, _) = await agent.run()
        // The server serves until the process ends: taken down, its library dies of a connection that is accepted just
        // then ("Deinited NIOAsyncWriter without calling finish()"), and the exit status would tell of a crash.
        _ = serving
        signals.cancel()
        return failure.withLock { $0 } == nil ? code : 1
    }
}

/// Signals as events on a queue of their own; used from the one task that runs the agent.
struct SignalSources {
    private var sources: [any DispatchSourceSignal] = []
    private let queue = DispatchQueue(label: "matriarch.signals")

    mutating func on(_ number: Int32, _ action: @escaping @Sendable () -> Void) {
        signal(number, SIG_IGN)
        let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
        source.setEventHandler(handler: action)
        source.resume()
        sources.append(source)
    }

    func cancel() {
        for source in sources { source.cancel() }
    }
}

/// Says something before there is a log.
func report(_ text: String) {
    let line = text + "\n"
    _ = line.withCString { write(2, $0, strlen($0)) }
}

/// The process's environment.
enum ProcessInfo {
    static func environment() -> [String: String] {
        var result: [String: String] = [:]
        var entry: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?> = environ
        while let text = entry.pointee {
            let line = String(cString: text)
            if let equals = line.firstIndex(of: "=") {
                result[String(line[..<equals])] = String(line[line.index(after: equals)...])
            }
            entry += 1
        }
        return result
    }
}

/// The plugins of this executable: set once, before anything runs.
enum Plugins {
    private static let held = Mutex(PluginRegistry())

    static var registry: PluginRegistry {
        get { held.withLock { $0 } }
        set { held.withLock { $0 = newValue } }
    }
}
