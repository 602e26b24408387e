import CLinux

/// The registers of a local APIC as KVM hands them over: 1 KiB, a 32-bit register every 16 bytes (SDM volume 3, 11.4.1).
package struct LocalAPICPage: Sendable {
    /// KVM's structure.
    package private(set) var state: kvm_lapic_state

    package init(_ state: kvm_lapic_state) { self.state = state }

    /// The register at an offset, a multiple of 16 below 1024; others read as zero and are not written.
    package subscript(_ offset: Int) -> UInt32 {
        get {
            guard Self.isRegister(offset) else { return 0 }
            // SAFETY: the offset lies inside the structure's 1024 bytes.
            return unsafe withUnsafeBytes(of: state.regs) {
                unsafe $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
            }
        }
        set {
            guard Self.isRegister(offset) else { return }
            // SAFETY: as above.
            unsafe withUnsafeMutableBytes(of: &state.regs) {
                unsafe $0.storeBytes(of: newValue, toByteOffset: offset, as: UInt32.self)
            }
        }
    }

    private static func isRegister(_ offset: Int) -> Bool { (0..<1024).contains(offset) && offset % 16 == 0 }
}
