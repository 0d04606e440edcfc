public import ClusterModel
import PluginInterfaces

/// Another member's server (or a remote primary), asked over the replication protocol.
public struct RemoteServer: Hashable, Sendable {
    public var endpoint: ServerEndpoint
    public var layout: PostgresLayout

    /// The layout gives the logins, which are the cluster's.
    public init(endpoint: ServerEndpoint, layout: PostgresLayout) {
        self.endpoint = endpoint
        self.layout = layout
    }

    /// What the server says of itself.
    public struct Facts: Hashable, Sendable {
        public var systemIdentifier: String
        public var timeline: Timeline
        public var position: LSN
        /// nil: it could not be asked.
        public var isInRecovery: Bool?
        /// Its timeline's ancestors.
        public var ancestry: TimelineAncestry

        public init(
            systemIdentifier: String, timeline: Timeline, position: LSN, isInRecovery: Bool?,
            ancestry: TimelineAncestry
        ) {
            self.systemIdentifier = systemIdentifier
            self.timeline = timeline
            self.position = position
            self.isInRecovery = isInRecovery
            self.ancestry = ancestry
        }
    }

    /// Asks `IDENTIFY_SYSTEM` and `TIMELINE_HISTORY`, and whether the server really is out of recovery.
    public func inspect(within time: Duration) async throws(PostgresError) -> Facts {
        let until = SystemClock.now() + time
        let connection = try await PostgresConnection.connect(
            ConnectionTarget(
                endpoint: endpoint, database: layout.database, login: layout.replication,
                applicationName: "Matriarch \(layout.memberName)", isReplication: true),
            within: time)
        let result: Result<Facts, PostgresError>
        do throws(PostgresError) {
            result = .success(try await inspect(connection, until))
        } catch {
            result = .failure(error)
        }
        await connection.close()
        var facts = try result.get()
        if facts.isInRecovery == nil { facts.isInRecovery = await askOverSQL(until) }
        return facts
    }

    private func inspect(_ connection: PostgresConnection, _ until: Instant) async throws(PostgresError) -> Facts {
        let identity = try await connection.simpleQuery("IDENTIFY_SYSTEM", within: until - SystemClock.now())
        guard let system = identity["systemid"], let number = identity["timeline"].flatMap({ UInt32($0) }),
            let position = identity["xlogpos"].flatMap({ LSN(text: $0) })
        else { throw PostgresError(.malformed, "IDENTIFY_SYSTEM was answered in a form that is not known") }
        let timeline = Timeline(number)
        var ancestry = TimelineAncestry(timeline: timeline)
        if number > 1 {
            let history = try await connection.simpleQuery(
                "TIMELINE_HISTORY \(number)", within: until - SystemClock.now())
            guard let text = history["content"],
                let read = TimelineAncestry(timeline: timeline, text: Self.plainText(text))
            else { throw PostgresError(.malformed, "TIMELINE_HISTORY \(number) was answered without a history") }
            ancestry = read
        }
        let recovering: Bool? =
            switch await connection.reported("in_hot_standby") {
            case "on": true
            case "off": false
            default: nil
            }
        return Facts(
            systemIdentifier: system, timeline: timeline, position: position, isInRecovery: recovering,
            ancestry: ancestry)
    }

    /// The content comes as plain text, or, where it is declared as bytes, possibly in hexadecimal.
    static func plainText(_ text: String) -> String {
        guard text.hasPrefix("\\x") else { return text }
        var bytes: [UInt8] = []
        var digits = text.utf8.dropFirst(2)
        while digits.count >= 2 {
            guard let byte = UInt8(String(decoding: digits.prefix(2), as: UTF8.self), radix: 16) else { return text }
            bytes.append(byte)
            digits = digits.dropFirst(2)
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private func askOverSQL(_ until: Instant) async -> Bool? {
        do throws(PostgresError) {
            let connection = try await PostgresConnection.connect(
                ConnectionTarget(
                    endpoint: endpoint, database: layout.database, login: layout.rewindLogin,
                    applicationName: "Matriarch \(layout.memberName)"),
                within: until - SystemClock.now())
            let answer: String?
            do throws(PostgresError) {
                answer = try await connection.simpleQuery(
                    "SELECT pg_is_in_recovery()", within: until - SystemClock.now()
                ).value
            } catch {
                answer = nil
            }
            await connection.close()
            return answer.map { $0 == "t" }
        } catch {
            // Not being allowed to log in is no word on recovery: the caller sees nil.
            return nil
        }
    }
}
