import CLinux

/// Why KVM_RUN returned. Kernel: api.rst section 5.
package enum VMExit: Equatable, Sendable {
    /// The guest read or wrote an I/O port; `count` elements of `size` bytes lie in the run area.
    case port(PortAccess)
    /// The guest read or wrote guest-physical memory that is not RAM.
    case memory(MemoryAccess)
    /// The guest halted and no interrupt chip in the kernel waits for it.
    case halt
    /// A triple fault.
    case shutdown
    /// KVM could not enter the guest; the hardware's reason.
    case failedEntry(reason: UInt64)
    /// KVM gave up on the guest, mostly over an instruction that it cannot emulate.
    case internalError(InternalError)
    /// The guest asked for a shutdown, reset or crash; KVM_SYSTEM_EVENT_….
    case systemEvent(UInt32)
    /// The vCPU's dirty ring has next to no room: it runs on when pages were taken out and the rings reset.
    case dirtyRingFull
    /// A kick, a signal, or a request to exit at once.
    case interrupted
    /// Anything else; the kernel's exit number.
    case other(UInt32)

    /// An access to I/O ports.
    package struct PortAccess: Equatable, Sendable {
        /// The port's number.
        package let port: UInt16
        /// Bytes of one element: 1, 2 or 4.
        package let size: UInt8
        /// Whether the guest writes.
        package let isWrite: Bool
        /// Elements, above one for a string instruction.
        package let count: UInt32
        let offset: UInt64
    }

    /// An access to memory-mapped I/O.
    package struct MemoryAccess: Equatable, Sendable {
        /// The guest-physical address.
        package let address: UInt64
        /// Bytes, 1 to 8.
        package let size: UInt8
        /// Whether the guest writes.
        package let isWrite: Bool
        /// What it writes, in its lowest `size` bytes, little-endian.
        package let value: UInt64
    }

    /// KVM_EXIT_INTERNAL_ERROR.
    package struct InternalError: Equatable, Sendable {
        /// KVM_INTERNAL_ERROR_…: 1 is an instruction that cannot be emulated.
        package let suberror: UInt32
        /// The instruction's first bytes where KVM tells them.
        package let instruction: [UInt8]
    }
}
