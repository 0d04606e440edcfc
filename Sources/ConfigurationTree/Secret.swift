/// A password, token or passphrase: prints as stars wherever it ends up, unless its `value` is asked for.
public struct Secret: Hashable, Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The secret itself. Whoever reads it must not log it, nor put it into an argument list.
    public var value: String

    public init(_ value: String) {
        self.value = value
    }

    public var description: String { "******" }
    public var debugDescription: String { "******" }
    public var customMirror: Mirror { Mirror(self, children: [(label: String?, value: Any)]()) }
}
