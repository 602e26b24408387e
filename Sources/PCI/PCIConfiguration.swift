import Snapshot

/// A function's configuration space, header type 0: its bytes and which bits the guest may write. PCI 3.0 chapter 6.
///
/// Bytes from 256 up, the extended space, read as zero: there are no extended capabilities.
package struct PCIConfiguration: Equatable, Sendable {
    /// What identifies a function to its driver.
    package struct Identity: Equatable, Sendable {
        /// Vendor and device id.
        package var vendor: UInt16, device: UInt16
        /// Base class, subclass and programming interface, as 0xCCSSPP.
        package var classCode: UInt32
        /// Revision id.
        package var revision: UInt8 = 0
        /// Subsystem vendor and id.
        package var subsystemVendor: UInt16 = 0, subsystem: UInt16 = 0

        package init(vendor: UInt16, device: UInt16, classCode: UInt32) {
            (self.vendor, self.device, self.classCode) = (vendor, device, classCode)
        }
    }

    /// How a base address register decodes.
    package enum BARKind: Equatable, Sendable { case memory32, memory64 }

    /// One base address register.
    package struct BAR: Equatable, Sendable {
        /// Its number, 0 to 5; a 64-bit one takes the next as well.
        package let index: Int
        /// Bytes, a power of two of at least 16.
        package let size: UInt64
        /// Its width.
        package let kind: BARKind
    }

    /// A base address register's place in guest-physical memory while it decodes.
    package struct Decoded: Equatable, Sendable {
        /// The register's number.
        package let bar: Int
        /// The first address.
        package let address: UInt64
        /// Bytes.
        package let size: UInt64
        /// Its width.
        package let kind: BARKind
    }

    private var bytes = [UInt8](repeating: 0, count: 256)
    private var writable = [UInt8](repeating: 0, count: 256)
    private var lastCapability = 0x34
    private var nextCapability = 0x40
    /// The registers in use.
    package private(set) var bars: [BAR] = []

    /// The command register's bits that are kept: memory space, bus master, interrupt disable, SERR, parity.
    private static let commandMask: UInt16 = 0x0546

    package init(_ identity: Identity) {
        set16(0x00, identity.vendor)
        set16(0x02, identity.device)
        bytes[0x08] = identity.revision
        bytes[0x09] = UInt8(truncatingIfNeeded: identity.classCode)
        bytes[0x0A] = UInt8(truncatingIfNeeded: identity.classCode >> 8)
        bytes[0x0B] = UInt8(truncatingIfNeeded: identity.classCode >> 16)
        set16(0x2C, identity.subsystemVendor)
        set16(0x2E, identity.subsystem)
        writable[0x04] = UInt8(truncatingIfNeeded: Self.commandMask)
        writable[0x05] = UInt8(truncatingIfNeeded: Self.commandMask >> 8)
        writable[0x0C] = 0xFF
        writable[0x3C] = 0xFF
    }

    private mutating func set16(_ offset: Int, _ value: UInt16) {
        bytes[offset] = UInt8(truncatingIfNeeded: value)
        bytes[offset + 1] = UInt8(truncatingIfNeeded: value >> 8)
    }

    private mutating func set32(_ offset: Int, _ value: UInt32) {
        set16(offset, UInt16(truncatingIfNeeded: value))
        set16(offset + 2, UInt16(truncatingIfNeeded: value >> 16))
    }

    private func get32(_ offset: Int) -> UInt32 {
        (0..<4).reduce(0) { $0 | UInt32(bytes[offset + $1]) << UInt32(8 * $1) }
    }

    /// Adds a base address register, not yet decoded until the guest sets the command register's memory bit.
    ///
    /// - Parameters:
    ///   - size: bytes, a power of two of at least 16.
    ///   - address: where it begins until the guest moves it; a multiple of the size.
    package mutating func addBAR(_ index: Int, size: UInt64, kind: BARKind, address: UInt64) {
        bars.append(BAR(index: index, size: size, kind: kind))
        let offset = 0x10 + 4 * index
        let mask = ~(size - 1)
        setWritable(offset, UInt32(truncatingIfNeeded: mask) & ~0xF)
        set32(offset, UInt32(truncatingIfNeeded: address & mask) | (kind == .memory64 ? 0x4 : 0))
        if kind == .memory64 {
            setWritable(offset + 4, UInt32(truncatingIfNeeded: mask >> 32))
            set32(offset + 4, UInt32(truncatingIfNeeded: address >> 32))
        }
    }

    private mutating func setWritable(_ offset: Int, _ mask: UInt32) {
        for byte in 0..<4 { writable[offset + byte] = UInt8(truncatingIfNeeded: mask >> UInt32(8 * byte)) }
    }

    /// Appends a capability to the list (PCI 3.0 section 6.7).
    ///
    /// - Parameters:
    ///   - body: what follows the id and the next pointer.
    ///   - writableBody: which of its bits the guest may write; missing bytes are read-only.
    /// - Returns: the capability's offset, or nil when the space is full.
    @discardableResult
    package mutating func addCapability(id: UInt8, body: [UInt8], writableBody: [UInt8] = []) -> Int? {
        let offset = nextCapability
        guard offset + 2 + body.count <= 256 else { return nil }
        bytes[lastCapability] = UInt8(offset)
        bytes[offset] = id
        for (index, byte) in body.enumerated() { bytes[offset + 2 + index] = byte }
        for (index, mask) in writableBody.enumerated() where index < body.count {
            writable[offset + 2 + index] = mask
        }
        bytes[0x06] |= 0x10
        lastCapability = offset + 1
        nextCapability = (offset + 2 + body.count + 3) & ~3
        return offset
    }

    /// Reads 1, 2 or 4 bytes, at any offset: what lies outside reads as zero.
    package func read(_ offset: Int, size: Int) -> UInt32 {
        guard offset >= 0, size > 0 else { return 0 }
        var value: UInt32 = 0
        for index in 0..<min(size, 4) where offset < 256 - index {
            value |= UInt32(bytes[offset + index]) << UInt32(8 * index)
        }
        return value
    }

    /// Writes 1, 2 or 4 bytes, at any offset; read-only bits keep their value.
    package mutating func write(_ offset: Int, size: Int, value: UInt32) {
        guard offset >= 0, size > 0 else { return }
        for index in 0..<min(size, 4) where offset < 256 - index {
            let mask = writable[offset + index]
            let byte = UInt8(truncatingIfNeeded: value >> UInt32(8 * index))
            bytes[offset + index] = bytes[offset + index] & ~mask | byte & mask
        }
    }

    /// The whole space, for a snapshot.
    package var saved: RawBytes { RawBytes(bytes) }

    /// Gives the bits that the guest may write what they were.
    ///
    /// - Throws: `SnapshotError` where the others are not the same: the device is another one.
    package mutating func restore(_ saved: RawBytes, _ fields: StateFields) throws(SnapshotError) {
        let values = try saved.exactly(bytes.count, "\(fields.place).configuration")
        for offset in bytes.indices {
            try fields.check(
                "configuration", (values[offset] ^ bytes[offset]) & ~writable[offset] == 0,
                "byte \(offset) of the configuration space is \(values[offset]), where the device has \(bytes[offset])"
            )
        }
        for offset in bytes.indices {
            bytes[offset] = bytes[offset] & ~writable[offset] | values[offset] & writable[offset]
        }
    }

    /// The ranges that decode now: none while the command register's memory bit is off.
    package var decoded: [Decoded] {
        guard bytes[0x04] & 0x02 != 0 else { return [] }
        return bars.map { bar in
            let offset = 0x10 + 4 * bar.index
            var address = UInt64(get32(offset) & ~0xF)
            if bar.kind == .memory64 { address |= UInt64(get32(offset + 4)) << 32 }
            return Decoded(bar: bar.index, address: address, size: bar.size, kind: bar.kind)
        }
    }
}
