/// The few things of SVG that the pictures are made of.
struct Drawing {
    private(set) var elements: [String] = []

    /// How a text stands to its point.
    enum Anchor: String {
        case start, middle, end
    }

    mutating func rectangle(
        _ x: Double, _ y: Double, _ width: Double, _ height: Double, _ fill: String, opacity: Double = 1
    ) {
        var attributes = [("x", n(x)), ("y", n(y)), ("width", n(width)), ("height", n(height)), ("fill", fill)]
        if opacity < 1 { attributes.append(("fill-opacity", hundredths(opacity))) }
        elements.append(element("rect", attributes))
    }

    mutating func line(
        _ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, _ colour: String, width: Double = 0.8,
        isDashed: Bool = false
    ) {
        elements.append(
            element(
                "line",
                [
                    ("x1", n(x1)), ("y1", n(y1)), ("x2", n(x2)), ("y2", n(y2)), ("stroke", colour),
                    ("stroke-width", n(width)),
                ] + (isDashed ? [("stroke-dasharray", "3 3")] : [])))
    }

    mutating func circle(_ x: Double, _ y: Double, _ radius: Double, _ fill: String) {
        elements.append(
            element("circle", [("cx", n(x)), ("cy", n(y)), ("r", n(radius)), ("fill", fill), ("stroke", "#111827")]))
    }

    mutating func path(_ description: String, _ fill: String) {
        elements.append(element("path", [("d", description), ("fill", fill)]))
    }

    mutating func text(
        _ x: Double, _ y: Double, _ text: String, _ colour: String = "#111827", size: Double = 11,
        anchor: Anchor = .start, isBold: Bool = false
    ) {
        var attributes = [("x", n(x)), ("y", n(y)), ("fill", colour), ("font-size", n(size))]
        if anchor != .start { attributes.append(("text-anchor", anchor.rawValue)) }
        if isBold { attributes.append(("font-weight", "600")) }
        let start = element("text", attributes).dropLast(2)
        elements.append("\(start)>\(xml(text))</text>")
    }

    /// The whole picture, on white.
    func svg(width: Double, height: Double) -> String {
        let size = "viewBox=\"0 0 \(n(width)) \(n(height))\" width=\"\(n(width))\" height=\"\(n(height))\""
        return
            "<svg xmlns=\"http://www.w3.org/2000/svg\" \(size) font-family=\"system-ui, 'DejaVu Sans', sans-serif\">\n"
            + "<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n" + elements.joined(separator: "\n")
            + "\n</svg>\n"
    }

    private func element(_ name: String, _ attributes: [(String, String)]) -> String {
        "<\(name) " + attributes.map { "\($0.0)=\"\($0.1)\"" }.joined(separator: " ") + "/>"
    }

    private func hundredths(_ value: Double) -> String {
        let whole = Int((value * 100).rounded())
        return "0." + (whole < 10 ? "0" : "") + "\(whole)"
    }
}

/// A number as short as it may be: one digit after the point, none when it is whole.
func n(_ value: Double) -> String {
    let tenths = Int((value * 10).rounded())
    let sign = tenths < 0 ? "-" : ""
    return tenths % 10 == 0 ? "\(tenths / 10)" : "\(sign)\(abs(tenths) / 10).\(abs(tenths) % 10)"
}

/// A text as XML and HTML want it.
func xml(_ text: String) -> String {
    var result = ""
    for character in text {
        switch character {
        case "&": result += "&amp;"
        case "<": result += "&lt;"
        case ">": result += "&gt;"
        case "\"": result += "&quot;"
        default: result.append(character)
        }
    }
    return result
}
