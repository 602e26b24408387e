import Boot
import KVM
import Legacy
import PCI
import Synchronization

/// The ports 0xCF8 to 0xCFF of the PCI bus.
///
/// The guest writes an address to the first one before each access to the data behind it. Where KVM can, it keeps these
/// writes until then, which spares every second exit of those that a guest's boot has most of. It is asked to when the
/// guest first writes one: that takes a millisecond, which guests that do not look at PCI are spared.
final class PCIPorts: PortDevice {
    private enum Deferral {
        /// No vCPU is there yet, or KVM keeps no writes.
        case none
        case wanted(VMHandle, VCPUHandle)
        case begun(DeferredPortWrites)
    }

    private let root: PCIRoot
    private let deferral = Mutex(Deferral.none)

    init(_ root: PCIRoot) { self.root = root }

    /// Has KVM keep the writes of addresses from the first one on, if it can. Before the vCPUs run.
    ///
    /// - Parameter vcpu: any of the VM's.
    func deferAddresses(_ machine: VMHandle, _ vcpu: VCPUHandle) {
        deferral.withLock { $0 = .wanted(machine, vcpu) }
    }

    private func begin() {
        deferral.withLock { deferral in
            guard case .wanted(let machine, let vcpu) = deferral else { return }
            let writes = DeferredPortWrites.begin(machine, vcpu, at: MachineLayout.pciConfigAddress, size: 4)
            deferral = writes.map { .begun($0) } ?? .none
        }
    }

    /// Carries out what KVM has kept: before anybody looks at the address.
    func catchUp() {
        deferral.withLock { deferral in
            guard case .begun(let writes) = deferral else { return }
            writes.take { port, size, value in
                root.writePort(Int(port &- MachineLayout.pciConfigAddress), size: size, value: value)
            }
        }
    }

    func read(_ offset: UInt16, size: Int) -> UInt32 {
        catchUp()
        return root.readPort(Int(offset), size: size)
    }

    func write(_ offset: UInt16, size: Int, value: UInt32) {
        catchUp()
        root.writePort(Int(offset), size: size, value: value)
        if offset == 0 { begin() }
    }
}
