import FoundationEssentials
import Synchronization

/// The parts of a document's packed form: the bytes that its JSON refers to by their place in the list instead of having
/// them in base64. A guest that moves stands still while its state is written and read, and of that most are bytes.
///
///     0 "SWST"   4 length of the JSON   8 number of parts   12 the length of each   … the JSON   … the parts
///
/// All numbers are of 32 bits, little-endian.
package final class PackedParts: Sendable {
    private struct State {
        var parts: [[UInt8]]
        /// Bytes that may still be handed out: a list that names one part again and again is none of ours.
        var budget: Int
    }

    private let state: Mutex<State>

    private init(_ parts: [[UInt8]]) {
        state = Mutex(State(parts: parts, budget: Self.mostReadings * parts.reduce(0) { $0 + $1.count }))
    }

    /// How often all the parts together may be read: a section whose decoding fails is decoded twice, for its error, and a
    /// machine may be made twice.
    private static let mostReadings = 8

    private static let magic: [UInt8] = Array("SWST".utf8)
    private static let headSize = 12

    private static let key = CodingUserInfoKey(rawValue: "parts")

    /// Where an encoder puts bytes; nil where it writes plain JSON.
    package static func of(_ encoder: any Encoder) -> PackedParts? {
        key.flatMap { encoder.userInfo[$0] } as? PackedParts
    }

    /// Where a decoder takes bytes from; nil where it reads plain JSON.
    package static func of(_ decoder: any Decoder) -> PackedParts? {
        key.flatMap { decoder.userInfo[$0] } as? PackedParts
    }

    /// Takes bytes.
    ///
    /// - Returns: their place in the list.
    func add(_ bytes: [UInt8]) -> Int {
        state.withLock { state in
            state.parts.append(bytes)
            return state.parts.count - 1
        }
    }

    /// The bytes at a place in the list; nil where there are none, or they were read too often.
    func part(_ index: Int) -> [UInt8]? {
        state.withLock { state in
            guard state.parts.indices.contains(index), state.parts[index].count <= state.budget else { return nil }
            state.budget -= state.parts[index].count
            return state.parts[index]
        }
    }

    // MARK: The whole of it

    /// A value in packed form.
    static func pack(_ value: some Encodable) throws -> [UInt8] {
        let encoder = JSONEncoder()
        let beside = PackedParts([])
        if let key { encoder.userInfo[key] = beside }
        let json = try encoder.encode(value)
        let parts = beside.state.withLock { $0.parts }
        var bytes = magic
        bytes.reserveCapacity(headSize + 4 * parts.count + json.count + parts.reduce(0) { $0 + $1.count })
        for number in [json.count, parts.count] + parts.map(\.count) {
            for byte in 0..<4 { bytes.append(UInt8(truncatingIfNeeded: number >> (8 * byte))) }
        }
        bytes += json
        for part in parts { bytes += part }
        return bytes
    }

    /// Whether bytes begin as the packed form does.
    static func isPacked(_ bytes: [UInt8]) -> Bool { bytes.starts(with: magic) }

    /// Reads a value in packed form.
    ///
    /// - Throws: `DecodingError` where the bytes are none.
    static func unpack<Value: Decodable>(_ bytes: [UInt8]) throws -> Value {
        func damaged(_ words: String) -> DecodingError {
            .dataCorrupted(.init(codingPath: [], debugDescription: words))
        }
        func number(at offset: Int) -> Int { (0..<4).reduce(0) { $0 | Int(bytes[offset + $1]) << (8 * $1) } }
        guard isPacked(bytes), bytes.count >= headSize else { throw damaged("no packed state") }
        let (length, count) = (number(at: 4), number(at: 8))
        guard count <= (bytes.count - headSize) / 4 else {
            throw damaged("\(count) parts, whose lengths are not there")
        }
        var next = headSize + 4 * count
        /// The bytes of the next piece.
        func take(_ length: Int) throws -> Range<Int> {
            guard length <= bytes.count - next else { throw damaged("the bytes end within a part") }
            defer { next += length }
            return next..<next + length
        }
        let json = try take(length)
        var parts: [[UInt8]] = []
        parts.reserveCapacity(count)
        for index in 0..<count { parts.append(Array(bytes[try take(number(at: headSize + 4 * index))])) }
        guard next == bytes.count else { throw damaged("\(bytes.count - next) bytes behind the last part") }
        let decoder = JSONDecoder()
        if let key { decoder.userInfo[key] = PackedParts(parts) }
        return try decoder.decode(Value.self, from: Data(bytes[json]))
    }
}
