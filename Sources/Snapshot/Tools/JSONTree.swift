import FoundationEssentials

/// Any JSON value, to compare two of them.
enum JSONTree: Decodable, Equatable {
    case null, bool(Bool), integer(Int64), unsigned(UInt64), number(Double), text(String)
    case list([JSONTree]), object([String: JSONTree])

    init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if value.decodeNil() {
            self = .null
        } else if let text = try? value.decode(String.self) {
            self = .text(text)
        } else if let number = try? value.decode(Int64.self) {
            self = .integer(number)
        } else if let number = try? value.decode(UInt64.self) {
            self = .unsigned(number)
        } else if let number = try? value.decode(Double.self) {
            self = .number(number)
        } else if let bool = try? value.decode(Bool.self) {
            self = .bool(bool)
        } else if let list = try? value.decode([JSONTree].self) {
            self = .list(list)
        } else {
            self = .object(try value.decode([String: JSONTree].self))
        }
    }

    /// Reads a text.
    static func parse(_ bytes: [UInt8], file: String) throws(SnapshotError) -> JSONTree {
        do {
            return try JSONDecoder().decode(JSONTree.self, from: Data(bytes))
        } catch {
            throw DecodingFault(error).snapshotError(in: file)
        }
    }

    /// A member of an object.
    subscript(_ key: String) -> JSONTree? {
        guard case .object(let members) = self else { return nil }
        return members[key]
    }

    /// The places where two values differ, each the innermost, sorted; `path` leads to the values themselves.
    static func differences(_ one: JSONTree?, _ other: JSONTree?, _ path: String) -> [String] {
        switch (one, other) {
        case (.object(let one), .object(let other)):
            let keys = Set(one.keys).union(other.keys).sorted()
            return keys.flatMap { differences(one[$0], other[$0], path.isEmpty ? $0 : "\(path).\($0)") }
        case (.list(let one), .list(let other)) where one.count == other.count:
            return one.indices.flatMap { differences(one[$0], other[$0], "\(path)[\($0)]") }
        default: return one == other ? [] : [path]
        }
    }
}
