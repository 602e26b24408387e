import FoundationEssentials

extension JSONValue {
    /// The one value that a JSON text holds.
    /// - Throws: `SpecError` with one issue of kind `.syntax`, which says line and column or names the place.
    package static func parse(_ bytes: [UInt8]) throws(SpecError) -> JSONValue {
        let numbers = try JSONStructure.check(bytes)
        do {
            let decoder = JSONDecoder()
            if let key = numberTexts { decoder.userInfo[key] = numbers }
            return try decoder.decode(JSONValue.self, from: Data(bytes))
        } catch DecodingError.dataCorrupted(let context) {
            var path = SpecPath()
            for key in context.codingPath {
                path = key.intValue.map { path.index($0) } ?? path.key(key.stringValue)
            }
            let message = "not valid JSON: this text is not UTF-8 or has an escape that JSON does not have"
            throw SpecError(SpecIssue(.syntax, path.text(.json), message))
        } catch {
            throw SpecError(SpecIssue(.syntax, "$", "not valid JSON: \(quoted("\(error)"))"))
        }
    }
}

extension JSONValue: Decodable {
    /// Where the decoder finds how numbers are written (see `JSONStructure.check`).
    private static let numberTexts = CodingUserInfoKey(rawValue: "swiftlet.numbers")

    /// The name of a member, whatever it is.
    private struct Key: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }

        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    /// Decodes a value of any kind. Each wrong guess costs an error, so the likelier kinds come first.
    package init(from decoder: any Decoder) throws {
        let single = try decoder.singleValueContainer()
        if single.decodeNil() {
            self = .null
            return
        }
        do {
            self = .string(try single.decode(String.self))
            return
        } catch DecodingError.typeMismatch {
        } catch {
            throw DecodingError.dataCorruptedError(in: single, debugDescription: "no text")
        }
        if let members = try? decoder.container(keyedBy: Key.self) {
            var object = JSONObject()
            // The decoder's order differs from run to run; messages should not.
            for key in members.allKeys.sorted(by: { $0.stringValue < $1.stringValue }) {
                object[key.stringValue] = try members.decode(JSONValue.self, forKey: key)
            }
            self = .object(object)
        } else if var items = try? decoder.unkeyedContainer() {
            var array: [JSONValue] = []
            while !items.isAtEnd { array.append(try items.decode(JSONValue.self)) }
            self = .array(array)
        } else if let flag = try? single.decode(Bool.self) {
            self = .bool(flag)
        } else {
            self = .number(JSONNumber(single) { Self.text(of: single.codingPath, decoder) })
        }
    }

    /// How the number at a place is written.
    private static func text(of path: [any CodingKey], _ decoder: any Decoder) -> String {
        let texts = numberTexts.flatMap { decoder.userInfo[$0] } as? [[String]: String]
        return texts?[path.map { $0.intValue.map { String($0) } ?? $0.stringValue }] ?? "a number"
    }
}

extension JSONNumber {
    /// The integer that holds the value, or else how it is written.
    fileprivate init(_ container: any SingleValueDecodingContainer, _ text: () -> String) {
        if let value = try? container.decode(Int64.self) {
            self = .signed(value)
        } else if let value = try? container.decode(UInt64.self) {
            self = .unsigned(value)
        } else {
            self = .other(text())
        }
    }
}
