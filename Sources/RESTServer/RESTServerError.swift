/// Why the REST server cannot serve, in a sentence that says what to do.
public struct RESTServerError: Error, Hashable, Sendable, CustomStringConvertible {
    public var description: String

    public init(_ description: String) {
        self.description = description
    }
}
