/// What a store's plugin says of its servers when an operator asks (`matriarch doctor`): that all is well with one of them,
/// or what is not.
public struct StoreFinding: Hashable, Sendable {
    public enum Grade: Hashable, Sendable {
        /// As it should be; worth knowing.
        case fine
        /// It works, and not as well as it could.
        case warning
        /// It does not work, or not for long.
        case error
    }

    public var grade: Grade
    /// What was seen, and where. Never a secret.
    public var text: String
    /// What to do about it; nil where nothing is to be done.
    public var remedy: String?

    public init(_ grade: Grade, _ text: String, remedy: String? = nil) {
        self.grade = grade
        self.text = text
        self.remedy = remedy
    }
}
