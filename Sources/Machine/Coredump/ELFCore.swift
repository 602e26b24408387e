/// Builds the head of an ELF core file of a machine (System V ABI; the notes as `dump-guest-memory` of QEMU writes them,
/// which crash(8) knows).
struct ELFCore {
    /// A range of the file that holds memory.
    struct Segment: Equatable {
        /// Where a debugger finds it.
        let virtual: UInt64
        /// Where it is in the guest's memory.
        let physical: UInt64
        /// Bytes.
        let size: UInt64
        /// Where it is in the file.
        let offset: UInt64
    }

    /// Program headers beyond this number need an extension of the format that few readers know.
    static let mostSegments = 60_000
    private static let headerSize = 64
    private static let programHeaderSize = 56
    private static let page: UInt64 = 4096

    private var bytes: [UInt8] = []

    /// The notes and where the memory's bytes are to begin in the file, for a number of segments.
    static func memoryOffset(segments: Int, notes: [UInt8]) -> UInt64 {
        let head = UInt64(headerSize + programHeaderSize * (segments + 1) + notes.count)
        return (head + page - 1) & ~(page - 1)
    }

    /// The file's bytes before the memory.
    static func head(_ segments: [Segment], notes: [UInt8]) -> [UInt8] {
        var core = ELFCore()
        core.header(segments: segments.count)
        let notesOffset = UInt64(headerSize + programHeaderSize * (segments.count + 1))
        core.programHeader(
            type: 4, Segment(virtual: 0, physical: 0, size: UInt64(notes.count), offset: notesOffset), alignment: 4)
        // crash(8) takes a core whose first segment is aligned for one of an old format, netdump, and then ends by a fault.
        for segment in segments { core.programHeader(type: 1, segment, alignment: 0) }
        return core.bytes + notes
    }

    private mutating func header(segments: Int) {
        bytes += [0x7F, 0x45, 0x4C, 0x46, 2, 1, 1, 0] + [UInt8](repeating: 0, count: 8)
        put(UInt16(4))  // ET_CORE
        put(UInt16(62))  // EM_X86_64
        put(UInt32(1))
        put(UInt64(0))
        put(UInt64(Self.headerSize))
        put(UInt64(0))
        put(UInt32(0))
        put(UInt16(Self.headerSize))
        put(UInt16(Self.programHeaderSize))
        put(UInt16(truncatingIfNeeded: segments + 1))
        put(UInt16(0))
        put(UInt16(0))
        put(UInt16(0))
    }

    private mutating func programHeader(type: UInt32, _ segment: Segment, alignment: UInt64) {
        put(type)
        put(UInt32(type == 1 ? 7 : 0))
        put(segment.offset)
        put(segment.virtual)
        put(segment.physical)
        put(segment.size)
        put(segment.size)
        put(alignment)
    }

    private mutating func put(_ value: some FixedWidthInteger) { bytes.putLittleEndian(value) }

    /// One note: a name, a type and a description, each padded to four bytes.
    static func note(_ name: String, type: UInt32, _ description: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.putLittleEndian(UInt32(name.utf8.count + 1))
        bytes.putLittleEndian(UInt32(description.count))
        bytes.putLittleEndian(type)
        bytes += Array(name.utf8) + [0]
        bytes += [UInt8](repeating: 0, count: -bytes.count & 3)
        bytes += description
        bytes += [UInt8](repeating: 0, count: -bytes.count & 3)
        return bytes
    }
}

extension [UInt8] {
    mutating func putLittleEndian(_ value: some FixedWidthInteger) {
        for shift in stride(from: 0, to: value.bitWidth, by: 8) {
            append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }
}
