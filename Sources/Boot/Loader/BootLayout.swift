/// Where boot data lies in low RAM, below the BIOS area; the guest may overwrite it once it has started.
enum BootLayout {
    static let gdt: UInt64 = 0x500
    static let startInfo: UInt64 = 0x6000
    static let moduleList: UInt64 = 0x6040
    static let memoryMap: UInt64 = 0x7000
    static let bootParameters: UInt64 = 0x8000
    /// Six pages: one of the fourth level, one of the third, four of the second for the first 4 GiB.
    static let pageTables: UInt64 = 0x9000
    static let commandLine: UInt64 = 0x2_0000
    static let commandLineRoom: UInt64 = 0x1_0000
    static let stack: UInt64 = 0x8_FFF0
}

/// One place that loading used, for plans and logs.
package struct LoadedRange: Equatable, Sendable {
    /// What lies there.
    package let name: String
    /// Its first guest-physical address and its length in bytes.
    package let address: UInt64, size: UInt64
}
