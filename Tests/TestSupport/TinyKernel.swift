/// A kernel of a few bytes: an ELF executable whose note says where PVH enters it, 32-bit protected mode, paging off.
package struct TinyKernel: Sendable {
    /// The whole file.
    package let elf: [UInt8]
    /// Where the code lies, guest-physical.
    package static let address: UInt32 = 0x10_0000

    /// - Parameter code: machine code for 32-bit protected mode, entered at its first byte.
    package init(_ code: [UInt8]) {
        func bytes(_ value: some FixedWidthInteger) -> [UInt8] {
            (0..<value.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
        }
        let headers = 64 + 2 * 56
        // A name of 4 bytes, a value of 4 bytes, type 18 (XEN_ELFNOTE_PHYS32_ENTRY).
        let note =
            bytes(UInt32(4)) + bytes(UInt32(4)) + bytes(UInt32(18)) + Array("Xen".utf8) + [0] + bytes(Self.address)
        let start = headers + note.count
        var file: [UInt8] = [0x7F, 0x45, 0x4C, 0x46, 2, 1, 1, 0] + [UInt8](repeating: 0, count: 8)
        file += bytes(UInt16(2)) + bytes(UInt16(62)) + bytes(UInt32(1)) + bytes(UInt64(Self.address))
        file += bytes(UInt64(64)) + bytes(UInt64(0)) + bytes(UInt32(0))
        file += bytes(UInt16(64)) + bytes(UInt16(56)) + bytes(UInt16(2))
        file += bytes(UInt16(0)) + bytes(UInt16(0)) + bytes(UInt16(0))
        func segment(_ type: UInt32, _ offset: Int, _ address: UInt32, _ size: Int) -> [UInt8] {
            bytes(type) + bytes(UInt32(7)) + bytes(UInt64(offset)) + bytes(UInt64(address)) + bytes(UInt64(address))
                + bytes(UInt64(size)) + bytes(UInt64(size)) + bytes(UInt64(4))
        }
        file += segment(1, start, Self.address, code.count) + segment(4, headers, 0, note.count)
        elf = file + note + code
    }
}
