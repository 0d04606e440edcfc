import ClusterModel

/// Questions to a person before something is changed.
enum Prompt {
    /// Asks for a yes; anything else ends the command without having changed anything.
    static func confirm(_ question: String) throws {
        guard let answer = CommandEnvironment.current.ask(question + " [y/N]: ") else { throw nobody() }
        guard ["y", "yes"].contains(answer.trimmed.lowercased()) else {
            throw CommandFailure("nothing was changed")
        }
    }

    /// Asks for a text; an empty answer is the default.
    static func text(_ question: String, default fallback: String) throws -> String {
        guard let answer = CommandEnvironment.current.ask("\(question) [\(fallback)]: ") else { throw nobody() }
        return answer.trimmed.isEmpty ? fallback : answer.trimmed
    }

    private static func nobody() -> CommandFailure {
        CommandFailure("there is nobody to ask (the input has ended): name everything and add --force", status: 2)
    }
}
