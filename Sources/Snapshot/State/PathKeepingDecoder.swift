import FoundationEssentials

/// A decoder in front of another one that adds the path to errors without one.
///
/// JSONDecoder says of a number that its type cannot hold neither where it is nor, once the decoding of the whole text is
/// over, that it is a `DecodingError`. So a section that failed is decoded a second time through this one.
struct PathKeepingDecoder: Decoder {
    let base: any Decoder

    var codingPath: [any CodingKey] { base.codingPath }
    var userInfo: [CodingUserInfoKey: Any] { base.userInfo }

    func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
        KeyedDecodingContainer(Keyed(base: try base.container(keyedBy: type)))
    }

    func unkeyedContainer() throws -> any UnkeyedDecodingContainer {
        Unkeyed(base: try base.unkeyedContainer(), codingPath: base.codingPath)
    }

    func singleValueContainer() throws -> any SingleValueDecodingContainer {
        Single(base: try base.singleValueContainer(), codingPath: base.codingPath)
    }
}

extension PathKeepingDecoder {
    // Each plain value is decoded as any other: its type asks the decoder below its key for a single value.

    private struct Keyed<Key: CodingKey>: KeyedDecodingContainerProtocol {
        let base: KeyedDecodingContainer<Key>

        var codingPath: [any CodingKey] { base.codingPath }
        var allKeys: [Key] { base.allKeys }

        func contains(_ key: Key) -> Bool { base.contains(key) }
        func decodeNil(forKey key: Key) throws -> Bool { try base.decodeNil(forKey: key) }

        func decode<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T {
            // The decoder knows Data itself; what is missing or null has its path.
            let isKnown = type == Data.self
            let isNull = try !contains(key) || decodeNil(forKey: key)
            if isKnown || isNull { return try base.decode(type, forKey: key) }
            return try T(from: try superDecoder(forKey: key))
        }

        func nestedContainer<Nested: CodingKey>(
            keyedBy type: Nested.Type, forKey key: Key
        ) throws -> KeyedDecodingContainer<Nested> {
            KeyedDecodingContainer<Nested>(
                PathKeepingDecoder.Keyed<Nested>(base: try base.nestedContainer(keyedBy: type, forKey: key)))
        }

        func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
            try superDecoder(forKey: key).unkeyedContainer()
        }

        func superDecoder() throws -> any Decoder { PathKeepingDecoder(base: try base.superDecoder()) }

        func superDecoder(forKey key: Key) throws -> any Decoder {
            PathKeepingDecoder(base: try base.superDecoder(forKey: key))
        }
    }

    private struct Unkeyed: UnkeyedDecodingContainer {
        var base: any UnkeyedDecodingContainer
        let codingPath: [any CodingKey]

        var count: Int? { base.count }
        var isAtEnd: Bool { base.isAtEnd }
        var currentIndex: Int { base.currentIndex }

        mutating func decodeNil() throws -> Bool { try base.decodeNil() }

        mutating func decode<T: Decodable>(_ type: T.Type) throws -> T {
            guard !base.isAtEnd, type != Data.self else { return try base.decode(type) }
            return try T(from: try superDecoder())
        }

        mutating func nestedContainer<Nested: CodingKey>(
            keyedBy type: Nested.Type
        ) throws -> KeyedDecodingContainer<Nested> {
            KeyedDecodingContainer<Nested>(
                PathKeepingDecoder.Keyed<Nested>(base: try base.nestedContainer(keyedBy: type)))
        }

        mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer {
            try superDecoder().unkeyedContainer()
        }

        mutating func superDecoder() throws -> any Decoder { PathKeepingDecoder(base: try base.superDecoder()) }
    }

    private struct Single: SingleValueDecodingContainer {
        let base: any SingleValueDecodingContainer
        let codingPath: [any CodingKey]

        func decodeNil() -> Bool { base.decodeNil() }

        func decode<T: Decodable>(_ type: T.Type) throws -> T {
            do {
                return try base.decode(type)
            } catch {
                if error is DecodingError || error is SnapshotError { throw error }
                // The number stands in the decoder's own error in quotation marks.
                let parts = "\(error)".split(separator: "\"", omittingEmptySubsequences: false)
                let words = parts.count == 3 ? "got \(parts[1]), expected \(DecodingFault.words(type))" : "\(error)"
                throw DecodingError.dataCorrupted(.init(codingPath: codingPath, debugDescription: words))
            }
        }
    }
}
