/// The rows that a statement returned, as texts.
public struct QueryResult: Hashable, Sendable {
    public var columns: [String]
    public var rows: [[String?]]

    public init(columns: [String] = [], rows: [[String?]] = []) {
        self.columns = columns
        self.rows = rows
    }

    /// The one value of the first row's first column.
    public var value: String? { rows.first?.first ?? nil }

    /// A value of the first row by its column's name.
    public subscript(column: String) -> String? {
        guard let index = columns.firstIndex(of: column), let row = rows.first, index < row.count else { return nil }
        return row[index]
    }
}
