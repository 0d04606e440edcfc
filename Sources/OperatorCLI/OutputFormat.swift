public import ArgumentParser
import ClusterModel

/// How a command prints what it found. `table` and `pretty` are one, as are `yaml` and `yml`.
public enum OutputFormat: String, CaseIterable, ExpressibleByArgument, Sendable {
    case table, json, yaml, tsv, pretty, yml

    public static var allValueStrings: [String] { ["table", "json", "yaml", "tsv"] }
}

/// Rows under named columns, printable in every format.
struct Listing: Sendable {
    struct Column: Sendable {
        /// The name in json, yaml and tsv.
        var name: String
        /// The title in a table, where it differs.
        var title: String?
        var alignment = TextTable.Alignment.left
        var expendable: Int?
        /// Left out of tables.
        var isTabular = true
    }

    var heading: String?
    var columns: [Column]
    /// Cells by column; null is an empty cell, which json and yaml leave out.
    var rows: [[JSONValue]]

    func text(_ format: OutputFormat, width: Int?) -> String {
        switch format {
        case .json: return document.serializedPretty() + "\n"
        case .yaml, .yml: return YAMLText.write(document)
        case .tsv:
            let lines = [columns.map(\.name)] + rows.map { $0.map(Self.cell) }
            return lines.map { line in
                line.map { $0.replacing("\t", with: " ").replacing("\n", with: " ") }.joined(separator: "\t") + "\n"
            }.joined()
        case .table, .pretty:
            let kept = columns.indices.filter { columns[$0].isTabular }
            let table = TextTable(
                heading: heading,
                columns: kept.map {
                    TextTable.Column(
                        columns[$0].title ?? columns[$0].name, columns[$0].alignment, expendable: columns[$0].expendable
                    )
                },
                rows: rows.map { row in kept.map { Self.cell(row[$0]) } })
            return table.lines(width: width).joined(separator: "\n") + "\n"
        }
    }

    private var document: JSONValue {
        .array(
            rows.map { row in
                .object(
                    JSONObject(
                        zip(columns, row).compactMap { column, value in
                            value.isNull || value.string == "" ? nil : (key: column.name, value: value)
                        }))
            })
    }

    private static func cell(_ value: JSONValue) -> String {
        switch value {
        case .null: ""
        case .string(let text): text
        default: value.serialized()
        }
    }
}
