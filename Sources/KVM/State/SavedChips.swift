import CLinux
import Host
import Snapshot

/// The two PICs and the IOAPIC as a snapshot keeps them.
package struct SavedInterruptChips: SavedState {
    package static let kind = "irqchip"
    package static let version = 1

    /// `kvm_irqchip` of KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE and KVM_IRQCHIP_IOAPIC, by these numbers.
    package var chips: [RawBytes]

    package init(chips: [RawBytes]) { self.chips = chips }
}

extension VMHandle {
    /// What KVM_CHECK_EXTENSION says of a capability for this VM (KVM_CAP_CHECK_EXTENSION_VM).
    package func value(of capability: KVMCapability) -> Int {
        Int(max(0, cl_ioctl_value(descriptor, CL_KVM_CHECK_EXTENSION, UInt(capability.number))))
    }

    private static let chipNames = ["the first PIC", "the second PIC", "the IOAPIC"]

    /// Bytes of `kvm_irqchip`, whose first four are the chip's number.
    private static let chipSize = 520

    /// The interrupt chips' registers (KVM_GET_IRQCHIP, api.rst 4.26).
    package func saveInterruptChips() throws(KVMError) -> SavedInterruptChips {
        var chips: [RawBytes] = []
        for (number, name) in Self.chipNames.enumerated() {
            var chip = [UInt8](repeating: 0, count: Self.chipSize)
            chip[0] = UInt8(number)
            try transferChip(CL_KVM_GET_IRQCHIP, &chip, "read \(name)")
            chips.append(RawBytes(chip))
        }
        return SavedInterruptChips(chips: chips)
    }

    /// Sets the interrupt chips' registers (KVM_SET_IRQCHIP, api.rst 4.27).
    ///
    /// - Parameter name: the chips' in the snapshot, for errors.
    /// - Throws: `SnapshotError` naming the field that is no such structure, or that KVM refuses.
    package func restore(_ saved: SavedInterruptChips, _ name: String) throws(SnapshotError) {
        let at = "devices.\(name).state.chips"
        guard saved.chips.count == Self.chipNames.count else {
            throw SnapshotError(
                .malformed, field: at,
                "\(saved.chips.count) interrupt chips, where the machine has 3; the snapshot is damaged")
        }
        for (number, bytes) in saved.chips.enumerated() {
            var chip = try bytes.exactly(Self.chipSize, "\(at)[\(number)]")
            for byte in 0..<4 { chip[byte] = byte == 0 ? UInt8(number) : 0 }
            do throws(KVMError) {
                try transferChip(CL_KVM_SET_IRQCHIP, &chip, "set \(Self.chipNames[number])")
            } catch {
                throw SnapshotError(.malformed, field: "\(at)[\(number)]", "\(error)")
            }
        }
    }

    private func transferChip(_ number: UInt, _ chip: inout [UInt8], _ what: String) throws(KVMError) {
        // SAFETY: the array has the structure's size.
        try unsafe transferBytes(descriptor, number, &chip, what)
    }
}

/// Makes a request whose argument is a structure of a size that only the running kernel knows, or that Swift has no type of.
///
/// SAFETY: the array is as long as what the request reads or fills. KVM keeps no pointer to it.
@unsafe
func transferBytes(_ descriptor: Int32, _ number: UInt, _ bytes: inout [UInt8], _ what: String) throws(KVMError) {
    let result = unsafe bytes.withUnsafeMutableBytes {
        unsafe $0.baseAddress.map { unsafe cl_ioctl_pointer(descriptor, number, $0) } ?? -EINVAL
    }
    guard result >= 0 else { throw .request(what, Errno(-result)) }
}
