import AsyncHTTPClient
import ClusterModel
import Logging
import NIOCore
import NIOHTTP1
import PluginInterfaces
import Synchronization

/// Keeps one member's stream open.
struct PeerFollower: Sendable {
    /// No word for so long, and the member counts as silent; longer, if it says that its words come at longer intervals.
    static let silence: Duration = .milliseconds(2500)
    static let longestSilence: Duration = .seconds(25)
    static let firstPause: Duration = .milliseconds(200)
    static let longestPause: Duration = .seconds(2)
    /// Between two looks at a member that has no stream.
    static let unsupportedPause: Duration = .seconds(30)
    static let maximumLine = 1 << 20

    var name: String
    var apiURL: String
    var open: @Sendable (_ url: String) async throws -> HTTPClientResponse
    var loop: any EventLoop
    var logger: Logger

    /// How one connection ended.
    private enum End {
        case unsupported
        case ended(String)
    }

    func run(say: @escaping @Sendable (PeerWord) -> Void) async {
        let url: String
        do throws(PeerError) {
            url = try PeerURL(apiURL).with(path: "/peer/stream")
        } catch {
            say(.ended(reason: error.description))
            return
        }
        var pause = Duration.zero
        var lastSaid: PeerWord?
        while !Task.isCancelled {
            let hadWord = Mutex(false)
            let end = await followOnce(url) { word in
                hadWord.withLock { $0 = true }
                say(word)
            }
            if Task.isCancelled { return }
            if hadWord.withLock({ $0 }) {
                lastSaid = nil
                pause = .zero
            }
            // A member that stays as it is is told of once, not at each try.
            switch end {
            case .unsupported:
                if lastSaid != .unsupported { say(.unsupported) }
                lastSaid = .unsupported
                pause = Self.unsupportedPause
            case .ended(let reason):
                if case .ended? = lastSaid {} else { say(.ended(reason: reason)) }
                lastSaid = .ended(reason: reason)
            }
            if pause > .zero {
                try? await Task.sleep(for: pause, tolerance: .milliseconds(10), clock: .continuous)
            }
            pause = min(Self.longestPause, max(Self.firstPause, pause * 2))
        }
    }

    /// One connection from its opening to its end. Ends on silence too, at once, whatever the transport knows.
    private func followOnce(_ url: String, say: @escaping @Sendable (PeerWord) -> Void) async -> End {
        let lastWord = LastWord()
        return await withTaskGroup(of: End.self) { group in
            group.addTask {
                await read(url) { word, next in
                    lastWord.isNow(next: next)
                    say(word)
                }
            }
            group.addTask {
                await lastWord.silence(on: loop)
                return .ended("no word for \(lastWord.limit.milliseconds) ms")
            }
            let first = await group.next() ?? .ended("cancelled")
            group.cancelAll()
            return first
        }
    }

    private func read(_ url: String, say: @Sendable (_ word: PeerWord, _ next: Duration?) -> Void) async -> End {
        do {
            let response = try await open(url)
            guard response.status == .ok,
                response.headers.first(name: "content-type")?.hasPrefix("application/x-ndjson") == true
            else { return .unsupported }
            var lines = LineSplitter(maximum: Self.maximumLine)
            for try await part in response.body {
                for line in try lines.add(part.readableBytesView) {
                    guard let object = (try? JSONValue.parse(line))?.object else {
                        return .ended("a line that is no JSON object")
                    }
                    if object["heartbeat"] != nil {
                        say(.heartbeat, object["next_ms"]?.integer.map { .milliseconds($0) })
                    } else {
                        say(.status(PeerStatus.read(name: name, document: object, askedAt: SystemClock.now())), nil)
                    }
                }
            }
            return .ended("the member closed the connection")
        } catch {
            return .ended(PeerClient.explained(error, url: url, within: Self.silence).description)
        }
    }
}

/// When the last word came, and when the next one is to come.
private final class LastWord: Sendable {
    private let state = Mutex((at: SystemClock.now(), limit: PeerFollower.silence))

    func isNow(next: Duration?) {
        state.withLock { state in
            state.at = SystemClock.now()
            if let next { state.limit = min(max(PeerFollower.silence, next / 2 * 5), PeerFollower.longestSilence) }
        }
    }

    var limit: Duration { state.withLock { $0.limit } }

    /// Returns when no word came for too long, or when cancelled.
    ///
    /// The event loop keeps the time: it looks again every few seconds for every peer, and wakes no other thread for it.
    func silence(on loop: any EventLoop) async {
        let over = loop.makePromise(of: Void.self)
        let isOver = Mutex(false)
        let finish: @Sendable () -> Void = {
            let isFirst = isOver.withLock { isOver in
                defer { isOver = true }
                return !isOver
            }
            if isFirst { over.succeed() }
        }
        await withTaskCancellationHandler {
            look(on: loop, finish: finish, isOver: { isOver.withLock { $0 } })
            try? await over.futureResult.get()
        } onCancel: {
            finish()
        }
    }

    private func look(
        on loop: any EventLoop, finish: @escaping @Sendable () -> Void, isOver: @escaping @Sendable () -> Bool
    ) {
        let due = state.withLock { $0.at + $0.limit }
        let left = due - SystemClock.now()
        if left <= .zero { return finish() }
        loop.scheduleTask(in: .nanoseconds(left.nanosecondsClamped)) { [self] in
            guard !isOver() else { return }
            if SystemClock.now() > due + .milliseconds(500) {
                // Woken far too late: it was we who were stopped. What arrived meanwhile is read first.
                loop.scheduleTask(in: .milliseconds(500)) { [self] in look(on: loop, finish: finish, isOver: isOver) }
            } else {
                look(on: loop, finish: finish, isOver: isOver)
            }
        }
    }
}

/// Cuts a stream of bytes into lines.
struct LineSplitter {
    struct TooLong: Error, CustomStringConvertible {
        var description: String { "a line without end" }
    }

    var maximum: Int
    private var rest: [UInt8] = []

    init(maximum: Int) {
        self.maximum = maximum
    }

    /// The lines that are whole now, without their ends; empty ones are left out.
    mutating func add(_ bytes: some Sequence<UInt8>) throws -> [[UInt8]] {
        var lines: [[UInt8]] = []
        for byte in bytes {
            if byte == UInt8(ascii: "\n") {
                if !rest.isEmpty { lines.append(rest) }
                rest.removeAll(keepingCapacity: true)
            } else {
                guard rest.count < maximum else { throw TooLong() }
                rest.append(byte)
            }
        }
        return lines
    }
}
