import FoundationEssentials

extension JSONValue {
    /// The one value that a JSON text holds.
    /// - Throws: `SpecError` with one issue of kind `.syntax`, which says line and column or names the place.
    static func parse(_ bytes: [UInt8]) throws(SpecError) -> JSONValue {
        try JSONStructure.check(bytes)
        do {
            return try JSONDecoder().decode(JSONValue.self, from: Data(bytes))
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
            self = .number(JSONNumber(single))
        }
    }
}

extension JSONNumber {
    /// The narrowest number that holds the value: a double would round whole numbers beyond 53 bits.
    fileprivate init(_ container: any SingleValueDecodingContainer) {
        if let value = try? container.decode(Int64.self) {
            self = .signed(value)
        } else if let value = try? container.decode(UInt64.self) {
            self = .unsigned(value)
        } else if let value = try? container.decode(Double.self), value.isFinite {
            self = .real(value)
        } else {
            self = .unrepresentable
        }
    }
}
