/// Columns of text, as wide as their widest entry.
struct Table {
    private var rows: [[String]] = []
    /// Which columns hold numbers, set flush right.
    private let numbers: Set<Int>

    /// - Parameter heading: the columns' names; none without.
    init(_ heading: [String] = [], numbers: Set<Int> = []) {
        self.numbers = numbers
        if !heading.isEmpty { rows.append(heading) }
    }

    /// Adds a row. What a VMM or a file says is shown without control characters.
    mutating func add(_ cells: String...) {
        rows.append(
            cells.map { cell in
                let safe = cell.unicodeScalars.map { $0.properties.generalCategory == .control ? " " : $0 }
                return String(String.UnicodeScalarView(safe))
            })
    }

    /// The lines, without blanks at their ends.
    var text: String {
        let columns = rows.map(\.count).max() ?? 0
        let widths = (0..<columns).map { column in rows.map { $0.count > column ? $0[column].count : 0 }.max() ?? 0 }
        return rows.map { row in
            var line = ""
            for (column, cell) in row.enumerated() {
                let blanks = String(repeating: " ", count: widths[column] - cell.count)
                line += numbers.contains(column) ? blanks + cell : cell + blanks
                line += "  "
            }
            while line.last == " " { line.removeLast() }
            return line
        }.joined(separator: "\n")
    }
}
