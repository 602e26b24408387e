import CLinux
import Host
import Synchronization

/// One VM of KVM. Its requests may be made from any thread; closed when the last user lets go.
package final class VMHandle: Sendable {
    private let file: FileDescriptor
    private let runAreaSize: Int
    /// How this host's dirty logs can work.
    package let dirtyLogFeatures: DirtyLogFeatures

    /// Entries of the dirty ring of each vCPU that is made; 0 for none.
    let ringEntries = Atomic<Int>(0)

    init(_ file: consuming FileDescriptor, runAreaSize: Int, dirtyLogFeatures: DirtyLogFeatures) {
        self.file = file
        (self.runAreaSize, self.dirtyLogFeatures) = (runAreaSize, dirtyLogFeatures)
    }

    /// The kernel's number of the VM's descriptor, for requests in this room.
    var descriptor: Int32 { file.raw }

    /// Makes host memory the guest's RAM (KVM_SET_USER_MEMORY_REGION, api.rst 4.35).
    ///
    /// - Parameters:
    ///   - hostAddress: of the first byte; it stays mapped as long as the VM.
    ///   - size: bytes; 0 removes the slot.
    ///   - logDirty: whether KVM records the pages that the guest writes.
    package func setMemory(
        slot: UInt32, address: UInt64, size: UInt64, hostAddress: UInt, logDirty: Bool = false
    ) throws(KVMError) {
        var region = kvm_userspace_memory_region(
            slot: slot, flags: logDirty ? UInt32(KVM_MEM_LOG_DIRTY_PAGES) : 0, guest_phys_addr: address,
            memory_size: size, userspace_addr: UInt64(hostAddress))
        try request(CL_KVM_SET_USER_MEMORY_REGION, &region, "map guest memory slot \(slot)")
    }

    /// Creates the PICs, the IOAPIC and, with each vCPU, its local APIC in the kernel (api.rst 4.24).
    package func createInterruptChip() throws(KVMError) {
        try request(CL_KVM_CREATE_IRQCHIP, value: 0, "create the interrupt chip")
    }

    /// Places the three pages that Intel hosts need for real mode (KVM_SET_TSS_ADDR, api.rst 4.32).
    package func setTSS(at address: UInt64) throws(KVMError) {
        try request(CL_KVM_SET_TSS_ADDR, value: UInt(address), "place the task state segment")
    }

    /// Places the page that Intel hosts need for real mode (KVM_SET_IDENTITY_MAP_ADDR, api.rst 4.54).
    package func setIdentityMap(at address: UInt64) throws(KVMError) {
        var address = address
        try request(CL_KVM_SET_IDENTITY_MAP_ADDR, &address, "place the identity map page")
    }

    /// Turns a capability of the VM on (KVM_ENABLE_CAP, api.rst 4.37).
    package func enable(_ capability: KVMCapability, _ argument: UInt64 = 0) throws(KVMError) {
        var enable = kvm_enable_cap()
        enable.cap = UInt32(capability.number)
        enable.args.0 = argument
        try request(CL_KVM_ENABLE_CAP, &enable, "enable \(capability.name)")
    }

    /// Sets the level of an input of the interrupt chip (KVM_IRQ_LINE, api.rst 4.25).
    package func setInterruptLine(_ gsi: UInt32, high: Bool) throws(KVMError) {
        let result = cl_kvm_irq_line(file.raw, gsi, high ? 1 : 0)
        guard result >= 0 else { throw .request("set interrupt line \(gsi)", Errno(-result)) }
    }

    /// What a guest's write is compared with before it counts as a notification.
    package enum Notification: Equatable, Sendable {
        /// A write of any length to a guest-physical address.
        case memory(UInt64)
        /// A two-byte write to an I/O port.
        case port(UInt16)
    }

    /// Signals `event` on the guest's writes in place of an exit, or ends that (KVM_IOEVENTFD, api.rst 4.59).
    package func notify(_ event: EventFD, on notification: Notification, assign: Bool) throws(KVMError) {
        var request = kvm_ioeventfd()
        request.fd = event.raw
        request.flags = assign ? 0 : 1 << UInt32(kvm_ioeventfd_flag_nr_deassign)
        switch notification {
        case .memory(let address): request.addr = address
        case .port(let port):
            request.addr = UInt64(port)
            request.len = 2
            request.flags |= 1 << UInt32(kvm_ioeventfd_flag_nr_pio)
        }
        try self.request(CL_KVM_IOEVENTFD, &request, assign ? "watch a queue's notifications" : "stop watching a queue")
    }

    /// Raises an interrupt whenever `event` is signalled, or ends that (KVM_IRQFD, api.rst 4.75).
    package func raise(_ gsi: UInt32, on event: EventFD, assign: Bool) throws(KVMError) {
        var request = kvm_irqfd()
        request.fd = UInt32(event.raw)
        request.gsi = gsi
        request.flags = assign ? 0 : UInt32(KVM_IRQFD_FLAG_DEASSIGN)
        try self.request(CL_KVM_IRQFD, &request, assign ? "connect interrupt \(gsi)" : "disconnect interrupt \(gsi)")
    }

    /// Replaces the whole table of interrupt routes (KVM_SET_GSI_ROUTING, api.rst 4.52).
    func setRoutes(_ routes: [kvm_irq_routing_entry]) throws(KVMError) {
        let header = MemoryLayout<kvm_irq_routing>.size
        let bytes = header + routes.count * MemoryLayout<kvm_irq_routing_entry>.stride
        let space = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 8)
        defer { unsafe space.deallocate() }
        // SAFETY: the space holds the header and all the entries; KVM reads as many as the header counts.
        let table = unsafe space.bindMemory(to: kvm_irq_routing.self, capacity: 1)
        unsafe table.pointee.nr = UInt32(routes.count)
        unsafe table.pointee.flags = 0
        if let entries = unsafe cl_kvm_routing_entries(table) {
            for (index, route) in routes.enumerated() { unsafe (entries + index).initialize(to: route) }
        }
        let result = unsafe cl_ioctl_pointer(file.raw, CL_KVM_SET_GSI_ROUTING, table)
        guard result >= 0 else { throw .request("route \(routes.count) interrupts", Errno(-result)) }
    }

    /// Creates a vCPU (api.rst 4.7).
    ///
    /// - Parameter id: its APIC id.
    package func createVCPU(id: UInt32) throws(KVMError) -> VCPUHandle {
        let result = cl_ioctl_value(file.raw, CL_KVM_CREATE_VCPU, UInt(id))
        guard result >= 0 else { throw .request("create vCPU \(id)", Errno(-result)) }
        return try VCPUHandle(
            FileDescriptor(owning: result), id: id, runAreaSize: runAreaSize,
            ringEntries: ringEntries.load(ordering: .relaxed))
    }

    func request<Argument: BitwiseCopyable>(
        _ number: UInt, _ argument: inout Argument, _ what: @autoclosure () -> String
    ) throws(KVMError) {
        // SAFETY: the argument's type is that of the request, and KVM keeps no pointer to it.
        let result = unsafe cl_ioctl_pointer(file.raw, number, &argument)
        guard result >= 0 else { throw .request(what(), Errno(-result)) }
    }

    private func request(_ number: UInt, value: UInt, _ what: @autoclosure () -> String) throws(KVMError) {
        let result = cl_ioctl_value(file.raw, number, value)
        guard result >= 0 else { throw .request(what(), Errno(-result)) }
    }
}
