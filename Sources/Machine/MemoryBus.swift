import Boot
import Legacy
import Memory
import PCI

/// Guest-physical addresses that are not RAM.
struct MemoryBus: Sendable {
    let pci: PCIRoot
    /// The guest's RAM, which KVM reaches without us, unless it is lost to this process.
    let ram: [MemoryRange]

    /// Reads 1 to 8 bytes; nobody at the address answers all ones.
    ///
    /// - Returns: nil at an address of RAM.
    func read(_ address: UInt64, size: Int) -> UInt64? {
        if MachineLayout.ecam.contains(address) {
            return pci.readECAM(address - MachineLayout.ecam.lowerBound, size: size)
        }
        return pci.readMemory(address, size: size) ?? (isRAM(address) ? nil : .max)
    }

    /// Writes 1 to 8 bytes; what goes to nobody is lost.
    ///
    /// - Returns: false at an address of RAM.
    func write(_ address: UInt64, size: Int, value: UInt64) -> Bool {
        if MachineLayout.ecam.contains(address) {
            pci.writeECAM(address - MachineLayout.ecam.lowerBound, size: size, value: value)
            return true
        }
        return pci.writeMemory(address, size: size, value: value) || !isRAM(address)
    }

    private func isRAM(_ address: UInt64) -> Bool {
        ram.contains { address >= $0.address && address - $0.address < $0.size }
    }
}
