/// Which of a child's two streams a line came from.
public enum StreamKind: Hashable, Sendable {
    case standardOutput, standardError
}
