import Host
import Snapshot

/// A structure that is so many numbers in this order, and nothing else.
package protocol NumberRow: Codable, Sendable, Equatable {
    /// How many.
    static var width: Int { get }
    /// Adds them to a list.
    func append(to numbers: inout [UInt64])
    /// Takes them back; nil where they are not such.
    init?(numbers: ArraySlice<UInt64>)
}

/// A list of structures that is coded as one of their numbers, row by row: a vCPU has hundreds, and a guest that moves
/// stands still while they are written and read, which takes many times as long where each number has a name.
@propertyWrapper
package struct FlatNumbers<Row: NumberRow>: Codable, Sendable, Equatable {
    package var wrappedValue: [Row]

    package init(wrappedValue: [Row]) { self.wrappedValue = wrappedValue }

    /// Also reads the list of structures with named members that was written before.
    package init(from decoder: any Decoder) throws {
        func damaged(_ words: String) -> DecodingError {
            .dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: words))
        }
        let numbers: [UInt64]
        if PackedParts.of(decoder) != nil {
            guard let values = ValueBytes.values(of: try RawBytes(from: decoder).bytes[...], as: UInt64.self) else {
                throw damaged("the last of the numbers is not whole")
            }
            numbers = values
        } else {
            let container = try decoder.singleValueContainer()
            guard let list = try? container.decode([UInt64].self) else {
                wrappedValue = try container.decode([Row].self)
                return
            }
            numbers = list
        }
        guard numbers.count % Row.width == 0 else {
            throw damaged("\(numbers.count) numbers, where \(Row.width) each belong together")
        }
        wrappedValue = try stride(from: 0, to: numbers.count, by: Row.width).map { first in
            guard let row = Row(numbers: numbers[first..<first + Row.width]) else {
                throw damaged("the numbers from the \(first + 1)th on are too large")
            }
            return row
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var numbers: [UInt64] = []
        numbers.reserveCapacity(wrappedValue.count * Row.width)
        for row in wrappedValue { row.append(to: &numbers) }
        if PackedParts.of(encoder) != nil { return try RawBytes(ValueBytes.of(all: numbers)).encode(to: encoder) }
        var container = encoder.singleValueContainer()
        try container.encode(numbers)
    }
}

extension CPUIDEntry: NumberRow {
    package static let width = 7

    package func append(to numbers: inout [UInt64]) {
        for number in [function, index, flags, eax, ebx, ecx, edx] { numbers.append(UInt64(number)) }
    }

    package init?(numbers: ArraySlice<UInt64>) {
        let words = numbers.compactMap { UInt32(exactly: $0) }
        guard words.count == Self.width else { return nil }
        self.init(words[0], words[1])
        (flags, eax, ebx, ecx, edx) = (words[2], words[3], words[4], words[5], words[6])
    }
}

extension MSR: NumberRow {
    package static let width = 2

    package func append(to numbers: inout [UInt64]) {
        numbers.append(UInt64(index))
        numbers.append(value)
    }

    package init?(numbers: ArraySlice<UInt64>) {
        guard numbers.count == Self.width, let first = numbers.first, let last = numbers.last,
            let index = UInt32(exactly: first)
        else { return nil }
        self.init(index, last)
    }
}
