import AsyncHTTPClient
import ClusterModel
import Logging
import NIOCore
import NIOHTTP1
import PluginInterfaces
import Synchronization

/// Keeps one member's stream open.
struct PeerFollower: Sendable {
    /// No word for so long, and the member counts as silent.
    static let silence: Duration = .milliseconds(2500)
    static let firstPause: Duration = .milliseconds(200)
    static let longestPause: Duration = .seconds(2)
    /// Between two looks at a member that has no stream.
    static let unsupportedPause: Duration = .seconds(30)
    static let maximumLine = 1 << 20

    var name: String
    var apiURL: String
    var open: @Sendable (_ url: String) async throws -> HTTPClientResponse
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
                await read(url) { word in
                    lastWord.isNow()
                    say(word)
                }
            }
            group.addTask {
                while !Task.isCancelled {
                    let due = lastWord.instant + Self.silence
                    let now = SystemClock.now()
                    if now >= due { return .ended("no word for \(Self.silence.milliseconds) ms") }
                    try? await Task.sleep(for: due - now, tolerance: .milliseconds(5), clock: .continuous)
                    // Woken far too late: it was we who were stopped. What arrived meanwhile is read first.
                    if SystemClock.now() > due + .milliseconds(500) {
                        try? await Task.sleep(for: .milliseconds(500), clock: .continuous)
                    }
                }
                return .ended("cancelled")
            }
            let first = await group.next() ?? .ended("cancelled")
            group.cancelAll()
            return first
        }
    }

    private func read(_ url: String, say: @Sendable (PeerWord) -> Void) async -> End {
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
                        say(.heartbeat)
                    } else {
                        say(.status(PeerStatus.read(name: name, document: object, askedAt: SystemClock.now())))
                    }
                }
            }
            return .ended("the member closed the connection")
        } catch {
            return .ended(PeerClient.explained(error, url: url, within: Self.silence).description)
        }
    }
}

/// When the last word came.
private final class LastWord: Sendable {
    private let state = Mutex(SystemClock.now())

    var instant: Instant { state.withLock { $0 } }

    func isNow() {
        state.withLock { $0 = SystemClock.now() }
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
