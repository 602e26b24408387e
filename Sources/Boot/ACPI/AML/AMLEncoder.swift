extension AMLTerm {
    /// The term's bytes (ACPI 6.5, 20.2).
    ///
    /// - Throws: `ACPIError` when a name, a text, a number or a length cannot be expressed in AML.
    package func encoded() throws(ACPIError) -> [UInt8] {
        var bytes: [UInt8] = []
        try encode(into: &bytes)
        return bytes
    }

    /// The bytes of terms that follow each other.
    package static func encoded(_ terms: [AMLTerm]) throws(ACPIError) -> [UInt8] {
        var bytes: [UInt8] = []
        for term in terms { try term.encode(into: &bytes) }
        return bytes
    }

    private func encode(into bytes: inout [UInt8]) throws(ACPIError) {
        switch self {
        case .encoded(let content): bytes += content
        case .integer, .string, .buffer, .resourceTemplate, .package, .eisaID, .uuid, .path, .local, .argument:
            try encodeData(into: &bytes)
        case .name, .scope, .device, .method, .operationRegion, .field, .bufferField, .mutex:
            try encodeObject(into: &bytes)
        case .if, .while, .break, .return, .store, .notify, .call, .release:
            try encodeStatement(into: &bytes)
        case .arithmetic, .increment, .decrement, .logical, .not, .sizeOf, .index, .dereference, .acquire:
            try encodeExpression(into: &bytes)
        }
    }

    private func encodeData(into bytes: inout [UInt8]) throws(ACPIError) {
        switch self {
        case .integer(let value): Self.append(integer: value, to: &bytes)
        case .string(let text):
            guard text.utf8.allSatisfy({ (0x01...0x7F).contains($0) }) else {
                throw .badText(text, expected: "ASCII without zero bytes")
            }
            bytes += [0x0D] + text.utf8 + [0x00]
        case .buffer(let content): try Self.append(buffer: content, to: &bytes)
        case .resourceTemplate(let resources):
            var content: [UInt8] = []
            for resource in resources { content += try resource.encoded() }
            // An end tag whose checksum is 0 is taken as correct (6.4.2.9).
            try Self.append(buffer: content + [0x79, 0x00], to: &bytes)
        case .package(let elements):
            let content = try Self.encoded(elements)
            if let count = UInt8(exactly: elements.count) {
                try Self.append(block: [0x12], [count] + content, to: &bytes)
            } else {
                let count = try AMLTerm.integer(UInt64(elements.count)).encoded()
                try Self.append(block: [0x13], count + content, to: &bytes)
            }
        case .eisaID(let text): Self.append(integer: try AMLName.eisaID(text), to: &bytes)
        case .uuid(let text): try Self.append(buffer: AMLName.uuid(text), to: &bytes)
        case .path(let path): bytes += try AMLName.path(path)
        case .local(let number): bytes.append(try Self.opcode(0x60, number, last: 7, "a local variable's number"))
        case .argument(let number): bytes.append(try Self.opcode(0x68, number, last: 6, "an argument's number"))
        default: break
        }
    }

    private func encodeObject(into bytes: inout [UInt8]) throws(ACPIError) {
        switch self {
        case .name(let name, let value):
            bytes += [0x08] + (try AMLName.declared(name))
            try value.encode(into: &bytes)
        case .scope(let name, let terms):
            try Self.append(block: [0x10], AMLName.path(name) + Self.encoded(terms), to: &bytes)
        case .device(let name, let terms):
            try Self.append(block: [0x5B, 0x82], AMLName.declared(name) + Self.encoded(terms), to: &bytes)
        case .method(let name, let arguments, let serialized, let terms):
            let flags = try Self.opcode(serialized ? 0x08 : 0x00, arguments, last: 7, "a method's number of arguments")
            try Self.append(block: [0x14], AMLName.declared(name) + [flags] + Self.encoded(terms), to: &bytes)
        case .operationRegion(let name, let space, let offset, let length):
            bytes += [0x5B, 0x80] + (try AMLName.declared(name)) + [space.rawValue]
            try offset.encode(into: &bytes)
            try length.encode(into: &bytes)
        case .field(let region, let access, let lock, let update, let units):
            var content = try AMLName.path(region)
            content.append(access.rawValue | (lock ? 0x10 : 0) | update.rawValue << 5)
            for unit in units { try unit.encode(into: &content) }
            try Self.append(block: [0x5B, 0x81], content, to: &bytes)
        case .bufferField(let name, let width, let buffer, let index):
            bytes.append(width.rawValue)
            try buffer.encode(into: &bytes)
            try index.encode(into: &bytes)
            bytes += try AMLName.declared(name)
        case .mutex(let name, let level):
            bytes += [0x5B, 0x01] + (try AMLName.declared(name))
            bytes.append(try Self.opcode(0x00, level, last: 15, "a mutex's level"))
        default: break
        }
    }

    private func encodeStatement(into bytes: inout [UInt8]) throws(ACPIError) {
        switch self {
        case .if(let condition, let then, let otherwise):
            try Self.append(block: [0xA0], condition.encoded() + Self.encoded(then), to: &bytes)
            if !otherwise.isEmpty { try Self.append(block: [0xA1], Self.encoded(otherwise), to: &bytes) }
        case .while(let condition, let terms):
            try Self.append(block: [0xA2], condition.encoded() + Self.encoded(terms), to: &bytes)
        case .break: bytes.append(0xA5)
        case .return(let value):
            bytes.append(0xA4)
            try value.encode(into: &bytes)
        case .store(let value, let target):
            bytes.append(0x70)
            try value.encode(into: &bytes)
            try target.encode(into: &bytes)
        case .notify(let object, let value):
            bytes += [0x86] + (try AMLName.path(object))
            try value.encode(into: &bytes)
        case .call(let method, let arguments):
            bytes += try AMLName.path(method) + Self.encoded(arguments)
        case .release(let mutex): bytes += [0x5B, 0x27] + (try mutex.encoded())
        default: break
        }
    }

    private func encodeExpression(into bytes: inout [UInt8]) throws(ACPIError) {
        switch self {
        case .arithmetic(let operation, let left, let right, let target):
            bytes.append(operation.rawValue)
            try left.encode(into: &bytes)
            try right.encode(into: &bytes)
            try Self.append(target: target, to: &bytes)
        case .increment(let target): bytes += [0x75] + (try target.encoded())
        case .decrement(let target): bytes += [0x76] + (try target.encoded())
        case .logical(let operation, let left, let right):
            bytes.append(operation.rawValue)
            try left.encode(into: &bytes)
            try right.encode(into: &bytes)
        case .not(let value): bytes += [0x92] + (try value.encoded())
        case .sizeOf(let object): bytes += [0x87] + (try object.encoded())
        case .index(let object, let index):
            bytes.append(0x88)
            try object.encode(into: &bytes)
            try index.encode(into: &bytes)
            try Self.append(target: nil, to: &bytes)
        case .dereference(let reference): bytes += [0x83] + (try reference.encoded())
        case .acquire(let mutex, let milliseconds):
            bytes += [0x5B, 0x23] + (try mutex.encoded())
            bytes.appendACPI(milliseconds)
        default: break
        }
    }
}

extension AMLTerm {
    /// The shortest encoding of an integer (20.2.3): ZeroOp, OneOp, OnesOp, or a constant of 1, 2, 4 or 8 bytes.
    private static func append(integer value: UInt64, to bytes: inout [UInt8]) {
        switch value {
        case 0: bytes.append(0x00)
        case 1: bytes.append(0x01)
        case .max: bytes.append(0xFF)
        case ...0xFF: bytes += [0x0A, UInt8(truncatingIfNeeded: value)]
        case ...0xFFFF:
            bytes.append(0x0B)
            bytes.appendACPI(UInt16(truncatingIfNeeded: value))
        case ...0xFFFF_FFFF:
            bytes.append(0x0C)
            bytes.appendACPI(UInt32(truncatingIfNeeded: value))
        default:
            bytes.append(0x0E)
            bytes.appendACPI(value)
        }
    }

    private static func append(buffer content: [UInt8], to bytes: inout [UInt8]) throws(ACPIError) {
        let size = try AMLTerm.integer(UInt64(content.count)).encoded()
        try append(block: [0x11], size + content, to: &bytes)
    }

    /// An absent target is the null name (20.2.2, Target).
    private static func append(target: AMLTerm?, to bytes: inout [UInt8]) throws(ACPIError) {
        if let target { try target.encode(into: &bytes) } else { bytes.append(0x00) }
    }

    /// An opcode that counts from a first one.
    private static func opcode(
        _ first: UInt8, _ number: Int, last: UInt8, _ what: String
    ) throws(ACPIError) -> UInt8 {
        guard let number = UInt8(exactly: number), number <= last else {
            throw .outOfRange(what: what, value: UInt64(bitPattern: Int64(number)), allowed: 0...UInt64(last))
        }
        return first + number
    }

    /// An opcode, the length of what follows with the length's own bytes, and what follows.
    private static func append(
        block opcode: [UInt8], _ content: [UInt8], to bytes: inout [UInt8]
    ) throws(ACPIError) {
        bytes += opcode
        try AMLLength.append(content.count, includesItself: true, to: &bytes)
        bytes += content
    }
}

extension AMLFieldUnit {
    fileprivate func encode(into bytes: inout [UInt8]) throws(ACPIError) {
        let width: Int
        switch self {
        case .named(let name, let bits):
            guard bits > 0 else { throw .badName(name, reason: "a field's named part needs at least one bit") }
            try AMLName.append(segment: name[...].utf8, of: name, to: &bytes)
            width = bits
        case .reserved(let bits):
            bytes.append(0x00)
            width = bits
        }
        try AMLLength.append(width, includesItself: false, to: &bytes)
    }
}

/// AML's PkgLength (20.2.4): 1 byte up to 63, else up to 4 bytes of which the first holds the number of the others in
/// its bits 6 and 7 and the lowest 4 bits of the length.
enum AMLLength {
    /// The greatest length: 28 bits.
    static let limit = (1 << 28) - 1

    /// Appends a length; `includesItself` adds the bytes of the encoding, as every use but a field's width does.
    static func append(_ length: Int, includesItself: Bool, to bytes: inout [UInt8]) throws(ACPIError) {
        guard (0...limit).contains(length) else { throw .tooLong(what: "an AML block", size: length, limit: limit) }
        for (more, limit) in [63, (1 << 12) - 1, (1 << 20) - 1, limit].enumerated() {
            let total = includesItself ? length + more + 1 : length
            guard total <= limit else { continue }
            guard more > 0 else { return bytes.append(UInt8(truncatingIfNeeded: total)) }
            bytes.append(UInt8(truncatingIfNeeded: more << 6 | total & 0x0F))
            for part in 0..<more { bytes.append(UInt8(truncatingIfNeeded: total >> (4 + 8 * part))) }
            return
        }
        throw .tooLong(what: "an AML block", size: length, limit: limit)
    }
}
