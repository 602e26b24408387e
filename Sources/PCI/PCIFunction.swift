/// A function on the bus.
///
/// vCPU threads call it, several at once; it guards its own state. Offsets and sizes come from the guest: any offset
/// inside the space or the register, sizes 1, 2, 4 and 8.
package protocol PCIFunction: AnyObject, Sendable {
    /// The user's name for the device behind it.
    var id: String { get }
    /// Reads 1, 2 or 4 bytes of configuration space.
    func readConfiguration(_ offset: Int, size: Int) -> UInt32
    /// Writes 1, 2 or 4 bytes of configuration space.
    func writeConfiguration(_ offset: Int, size: Int, value: UInt32)
    /// The ranges that the function wants decoded now.
    var decoded: [PCIConfiguration.Decoded] { get }
    /// A register's range is decoded from now on at an address, or no longer (nil).
    func placed(bar: Int, at address: UInt64?)
    /// Reads at an offset of a base address register's range.
    func read(bar: Int, offset: UInt64, size: Int) -> UInt64
    /// Writes at an offset of a base address register's range.
    func write(bar: Int, offset: UInt64, size: Int, value: UInt64)
}

/// The host bridge at 00:00.0, which only says that it is one.
package final class HostBridge: PCIFunction {
    private let configuration = PCIConfiguration(
        PCIConfiguration.Identity(vendor: 0x8086, device: 0x0D57, classCode: 0x060000))

    package init() {}
    package let id = "__host_bridge"
    package func readConfiguration(_ offset: Int, size: Int) -> UInt32 { configuration.read(offset, size: size) }
    package func writeConfiguration(_ offset: Int, size: Int, value: UInt32) {}
    package let decoded: [PCIConfiguration.Decoded] = []
    package func placed(bar: Int, at address: UInt64?) {}
    package func read(bar: Int, offset: UInt64, size: Int) -> UInt64 { .max }
    package func write(bar: Int, offset: UInt64, size: Int, value: UInt64) {}
}
