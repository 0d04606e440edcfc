import AgentConfiguration
import ClusterModel
import ClusterStore
import Dispatch
import HighAvailability
import LeaseGuard
import Logging
import PeerClient
import PluginInterfaces
import PostgresControl

extension Agent {
    /// How long a store operation may take: what the timing rule gives one.
    var storeLimit: Duration { inForce.machine.retryTimeout }

    /// Begins an effect. Nothing here waits; what takes time is a task whose end is an event.
    func perform(_ effect: Effect) {
        let yield = self.yield
        switch effect {
        case .openSession(let id, let lifetime, let resume):
            open(id, lifetime, resume: resume)
        case .closeSession(let abandon):
            // One that is still being opened is not wanted any more.
            opening = nil
            abandonsStrays = abandon
            guard let session else { break }
            self.session = nil
            if !abandon { state.remove("session") }
            close(session, abandon: abandon)
        case .read(let id, let scope):
            let cluster = self.cluster
            let session = self.session
            let limit = storeLimit
            Task(executorPreference: storeThread) {
                do throws(StoreError) {
                    switch scope {
                    case .cluster: yield(.view(id, try await cluster.read(.linearizable, within: limit)))
                    case .resolving: yield(.view(id, try await cluster.resolve(session: session, within: limit)))
                    case .glimpse(let revision):
                        yield(.glimpse(id, try await cluster.glimpse(since: revision, within: limit)))
                    }
                } catch {
                    yield(.viewFailed(id, error.description))
                }
            }
        case .commit(let id, let change):
            let cluster = self.cluster
            let session = self.session
            let name = setup.settings.name
            let limit = storeLimit
            Task(executorPreference: storeThread) {
                yield(.committed(id, await cluster.commit(change, as: name, session: session, within: limit)))
            }
        case .renew(let id, let holding, let limit):
            guard let session else {
                yield(.renewed(id, .unknown("no session is open")))
                return
            }
            Task(executorPreference: storeThread) {
                switch await session.renew(holding: holding, within: limit) {
                case .proven(let sent, let until): yield(.renewed(id, .proven(sent: sent, notExpiredBefore: until)))
                case .gone(let why): yield(.renewed(id, .gone(why)))
                case .unknown(let error): yield(.renewed(id, .unknown(error.description)))
                }
            }
        case .release(let id):
            guard let session else {
                yield(.released(id, .notSent("no session is open")))
                return
            }
            let cluster = self.cluster
            let limit = storeLimit
            Task(executorPreference: storeThread) {
                yield(.released(id, await cluster.releaseLeader(session, within: limit)))
            }

        case .other(let effect):
            perform(effect)
        case .arm(let fence, let deadlines):
            link.arm(fence, deadlines)
        case .succeed(let fence, let deadlines):
            link.arm(fence, deadlines, succeeds: true)
        case .endTerm:
            link.endTerm()
        case .posture(let posture):
            let term = machine.world.term
            link.posture(posture, term: term?.fence, grace: term?.deadlines.granted ?? .seconds(30))
        case .stopServer(let mode):
            link.stop(mode)
        case .startJob(let id, let job):
            start(id, job)
        case .cancelJob(let id):
            jobTasks[id]?.cancel()

        case .sample:
            guard let monitor else {
                yield(.sampleFailed("not ready"))
                return
            }
            Task(executorPreference: postgresThread) {
                switch await monitor.sample(within: .seconds(3)) {
                case .success(let sample): yield(.sample(sample))
                case .failure(let error): yield(.sampleFailed(error.description))
                }
            }
        case .queryPeers(let addresses, let limit):
            let peers = self.peers
            for address in addresses {
                Task {
                    switch await peers.status(of: address.name, apiURL: address.apiURL, within: limit) {
                    case .success(let status): yield(.peer(status))
                    case .failure(let error): yield(.peerSilent(address.name, error.description))
                    }
                }
            }
        case .watchPeers(let addresses):
            watch(addresses)
        case .persistMarker(let id, let marker):
            let state = self.state
            let logger = self.logger
            // One queue: a mark that is taken back and one that is set never overtake each other.
            stateQueue.async {
                do throws(AgentError) {
                    try state.save(marker)
                    yield(.persisted(id, succeeded: true))
                } catch {
                    logger.error("\(error)")
                    yield(.persisted(id, succeeded: false))
                }
            }
        case .persistGrant(let id, let record):
            let state = self.state
            let logger = self.logger
            stateQueue.async {
                do throws(AgentError) {
                    try state.save(record)
                    yield(.persisted(id, succeeded: true))
                } catch {
                    logger.error("\(error)")
                    yield(.persisted(id, succeeded: false))
                }
            }
        case .requestGrants(let id, let addresses, let request, let limit):
            requestGrants(id, addresses, request, within: limit)
        case .answerGrant(let id, let answer):
            shared.answer(id, answer)
        case .checkpoint(let id):
            let operations = PostgresOperations(layout: inForce.layout, logger: logger)
            let logger = self.logger
            Task {
                do throws(PostgresError) {
                    try await operations.checkpoint(within: .seconds(3600))
                    yield(.checkpointed(id, succeeded: true))
                } catch {
                    logger.warning("checkpoint: \(error)")
                    yield(.checkpointed(id, succeeded: false))
                }
            }
        case .readHistory(let id):
            readHistory(id)
        case .callback(let action, let role, let fence):
            callback(action, role, fence)
        case .answer(let id, let answer):
            shared.answer(id, answer)
        case .probeDuplicate(let url):
            let peers = self.peers
            Task { yield(.duplicateProbed(isAlive: await peers.isAlive(apiURL: url, within: .seconds(3)))) }
        case .exit(let code, let text):
            if code == 0 { logger.info("\(text)") } else { logger.critical("\(text)") }
            if exit == nil { exit = (code, text) }
        }
    }

    /// Closes a session after those before it. The task is kept: the next opening and the agent's end wait for it.
    func close(_ session: any StoreSession, abandon: Bool) {
        let previous = closing
        closing = Task {
            await previous?.value
            await session.close(abandon: abandon)
        }
    }

    private func open(_ id: EffectID, _ lifetime: Duration, resume: Bool) {
        opening = id
        let closing = self.closing
        let saved = resume ? savedSession : nil
        let request = SessionRequest(lifetime: lifetime, name: setup.settings.name, resume: saved)
        let store = self.store
        Task {
            await closing?.value
            do throws(StoreError) {
                let session = try await store.openSession(request, within: max(storeLimit, .seconds(5)))
                self.opened(id, session)
            } catch {
                self.yield(.sessionFailed(id, error.description))
            }
        }
    }

    private func opened(_ id: EffectID, _ session: any StoreSession) {
        guard id == opening, exit == nil else {
            // Nobody waits for it. Ended, unless it is the one in use, or the agent leaves its entries behind.
            let isLeftBehind = abandonsStrays || (exit?.code ?? 0) != 0
            close(session, abandon: isLeftBehind || session.id == self.session?.id)
            return
        }
        opening = nil
        self.session = session
        if let resumption = session.resumption {
            let state = self.state
            let logger = self.logger
            Task {
                await blocking {
                    do throws(AgentError) {
                        try state.save(session: resumption)
                        // The one before it, of whatever store, is not wanted any more.
                        state.remove("session.next")
                    } catch {
                        logger.warning("the session is not saved, a restart will not resume it: \(error)")
                    }
                }
            }
        }
        yield(
            .sessionOpened(
                id,
                SessionFacts(
                    id: session.id, granted: session.granted, renewalInterval: session.renewalInterval,
                    isResumed: session.isResumed, needsIdleRenewal: session.needsIdleRenewal,
                    intervalsBehind: session.intervalsBehind)))
    }

    private func start(_ id: EffectID, _ job: Job) {
        let yield = self.yield
        var setup = self.setup
        setup.settings = local
        let runner = JobRunner(
            setup: setup, inForce: inForce, link: link, catalog: catalog, logger: logger,
            progress: { yield(.jobProgress(id, $0)) })
        jobTasks[id] = Task {
            let end = await runner.run(job)
            yield(.jobEnded(id, end))
            self.forget(id)
        }
    }

    private func forget(_ id: EffectID) {
        jobTasks[id] = nil
    }

    private func watch(_ addresses: [PeerAddress]) {
        for (address, task) in followers where !addresses.contains(address) {
            task.cancel()
            followers[address] = nil
        }
        for address in addresses where followers[address] == nil {
            let words = peers.follow(name: address.name, apiURL: address.apiURL)
            let yield = self.yield
            followers[address] = Task {
                for await word in words {
                    if Task.isCancelled { break }
                    switch word {
                    case .status(let status): yield(.peer(status))
                    case .ended(let why): yield(.peerSilent(address.name, why))
                    case .heartbeat, .unsupported: break
                    }
                }
            }
        }
    }

    private func readHistory(_ id: EffectID) {
        let directory = inForce.layout.dataDirectory
        let timeline = machine.world.sample?.timeline ?? Timeline(1)
        let yield = self.yield
        let logger = self.logger
        Task {
            let history = await blocking { () -> TimelineHistory? in
                do throws(PostgresError) {
                    guard let found = try TimelineAncestry.read(dataDirectory: directory, timeline: timeline) else {
                        return nil
                    }
                    return TimelineHistory(
                        rows: found.ancestry.steps.map {
                            TimelineHistory.Row(timeline: $0.timeline, switchLSN: $0.switchpoint, reason: $0.reason)
                        }, timeline: timeline)
                } catch {
                    logger.warning("\(error)")
                    return nil
                }
            }
            yield(.localHistory(id, history))
        }
    }
}
