/// How texts are written so that PostgreSQL reads them back as they were.
enum Quoting {
    /// A value of `postgresql.conf`: `'it''s'`. Line ends cannot be written and become spaces.
    static func configuration(_ value: String) -> String {
        var text = "'"
        for scalar in value.unicodeScalars {
            switch scalar {
            case "'": text += "''"
            case "\\": text += "\\\\"
            case "\n", "\r", "\0": text += " "
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text + "'"
    }

    /// A value of a libpq connection string.
    static func connectionValue(_ value: String) -> String {
        let plain = value.unicodeScalars.allSatisfy { scalar in
            scalar.isASCII && scalar.value > 32 && scalar != "'" && scalar != "\\" && scalar.value != 127
        }
        if plain, !value.isEmpty { return value }
        // By scalar, not by character: a combining mark behind a quote must not hide it.
        var text = "'"
        for scalar in value.unicodeScalars {
            if scalar == "'" || scalar == "\\" { text += "\\" }
            text.unicodeScalars.append(scalar)
        }
        return text + "'"
    }

    /// An SQL identifier.
    static func identifier(_ name: String) -> String {
        var text = "\""
        for character in name.unicodeScalars where character != "\0" {
            if character == "\"" { text += "\"" }
            text.unicodeScalars.append(character)
        }
        return text + "\""
    }

    /// An SQL literal, whatever `standard_conforming_strings` says.
    static func literal(_ value: String) -> String {
        var text = ""
        var hasBackslash = false
        for character in value.unicodeScalars where character != "\0" {
            if character == "'" { text += "'" }
            if character == "\\" {
                text += "\\"
                hasBackslash = true
            }
            text.unicodeScalars.append(character)
        }
        return (hasBackslash ? " E'" : "'") + text + "'"
    }
}
