import CLinux
import Host
import Synchronization

/// The guest's writes to I/O ports that KVM keeps in a ring in place of an exit each (KVM_REGISTER_COALESCED_MMIO with
/// KVM_CAP_COALESCED_PIO, api.rst 4.116). Where the ring is full, the write exits as others do, behind those in the ring.
///
/// A VM has one ring. Whoever looks at what the ports' device is takes the writes first; one thread at a time.
@safe
package final class DeferredPortWrites: Sendable {
    private let ring: Mapping

    /// Bytes of the ring's head and of an entry, and how many entries there are.
    private static let head = MemoryLayout<kvm_coalesced_mmio_ring>.size
    private static let stride = MemoryLayout<kvm_coalesced_mmio>.stride
    private static let count = (HostRange.pageSize - head) / stride

    private init(_ ring: consuming Mapping) { self.ring = ring }

    /// Has KVM keep the writes to some ports.
    ///
    /// - Parameters:
    ///   - vcpu: any of the VM's, by which the ring is reached.
    ///   - size: bytes of ports from `port` on.
    /// - Returns: nil where this KVM does not do that, or cannot: then each write is an exit.
    package static func begin(
        _ machine: VMHandle, _ vcpu: VCPUHandle, at port: UInt16, size: UInt32
    ) -> DeferredPortWrites? {
        // It is the number of the page in the vCPU's descriptor.
        let page = machine.value(of: .deferredWrites)
        guard page > 0, machine.value(of: .deferredPortWrites) > 0 else { return nil }
        let offset = Int64(page) * Int64(HostRange.pageSize)
        guard let ring = try? Mapping(length: HostRange.pageSize, .shared(descriptor: vcpu.file.raw, offset: offset))
        else { return nil }
        let writes = DeferredPortWrites(ring)
        return cl_kvm_defer_port_writes(machine.descriptor, port, size) >= 0 ? writes : nil
    }

    /// Takes the writes out of the ring, in the order in which the guest made them. The caller sees to it that one thread
    /// does so at a time.
    ///
    /// - Parameter write: carries one out: the port, 1 to 4 bytes, and these in the lowest place.
    package func take(_ write: (_ port: UInt16, _ size: Int, _ value: UInt32) -> Void) {
        // SAFETY: the page begins with the two numbers and lives as long as this value; the kernel uses them as such.
        let numbers = unsafe ring.base.assumingMemoryBound(to: Atomic<UInt32>.self)
        // Ordering: only the taker moves `first`; acquiring, so that the entries before `last` are there.
        var first = unsafe Int(numbers.pointee.load(ordering: .relaxed))
        let last = unsafe Int((numbers + 1).pointee.load(ordering: .acquiring))
        guard first != last else { return }
        while first != last, first < Self.count {
            // SAFETY: the place is below `count` entries behind the head, inside the page, and aligned as the page is.
            let entry = unsafe (ring.base + Self.head + first * Self.stride)
                .assumingMemoryBound(to: kvm_coalesced_mmio.self)
            let size = unsafe Int(min(entry.pointee.len, 4))
            let bytes = unsafe withUnsafeBytes(of: entry.pointee.data) { unsafe $0.loadUnaligned(as: UInt32.self) }
            let value = size == 4 ? bytes : bytes & (1 << UInt32(size * 8) - 1)
            unsafe write(UInt16(truncatingIfNeeded: entry.pointee.phys_addr), size, value)
            first = (first + 1) % Self.count
        }
        // Ordering: releasing, so that KVM writes an entry anew only after it was read.
        unsafe numbers.pointee.store(UInt32(first), ordering: .releasing)
    }
}
