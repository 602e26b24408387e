import Boot
import KVM
import Legacy
import PCI
import Synchronization

/// The ports 0xCF8 to 0xCFF of the PCI bus.
///
/// The guest writes an address to the first one before each access to the data behind it. Where KVM can, it keeps these
/// writes until then, which spares every second exit of those that a guest's boot has most of.
final class PCIPorts: PortDevice {
    private let root: PCIRoot
    /// Nil until the first vCPU is there, and where KVM keeps no writes.
    private let deferred = Mutex<DeferredPortWrites?>(nil)

    init(_ root: PCIRoot) { self.root = root }

    /// Has KVM keep the writes of addresses, if it can. Before the vCPUs run.
    ///
    /// - Parameter vcpu: any of the VM's.
    func deferAddresses(_ machine: VMHandle, _ vcpu: VCPUHandle) {
        let writes = DeferredPortWrites.begin(machine, vcpu, at: MachineLayout.pciConfigAddress, size: 4)
        deferred.withLock { $0 = writes }
    }

    /// Carries out what KVM has kept: before anybody looks at the address.
    func catchUp() {
        deferred.withLock { writes in
            writes?.take { port, size, value in
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
    }
}
