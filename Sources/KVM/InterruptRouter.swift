import CLinux
import Host
import Synchronization

/// Where a message-signalled interrupt goes: the address and data that the device would write. SDM volume 3, 11.11.
package struct MSIMessage: Equatable, Hashable, Sendable {
    /// The address's halves.
    package var addressLow: UInt32, addressHigh: UInt32
    /// The data.
    package var data: UInt32

    package init(addressLow: UInt32, addressHigh: UInt32, data: UInt32) {
        (self.addressLow, self.addressHigh, self.data) = (addressLow, addressHigh, data)
    }
}

/// Gives out GSIs for message-signalled interrupts and keeps KVM's table of routes: the inputs of the interrupt chip
/// below 24, a message for each GSI above.
///
/// Any thread may use it; changes are rare (a driver sets up its vectors) and made under a mutex.
package final class InterruptRouter: Sendable {
    /// Inputs of the IOAPIC.
    package static let chipInputs: UInt32 = 24
    /// GSIs that KVM's table can hold.
    package static let limit: UInt32 = 4096

    private struct Table {
        var messages: [UInt32: MSIMessage] = [:]
        var used: Set<UInt32> = []
        var next: UInt32 = InterruptRouter.chipInputs
    }

    private let machine: VMHandle
    private let table = Mutex(Table())

    /// Makes the router of a VM that has its interrupt chip, whose own table KVM has set up.
    package init(_ machine: VMHandle) { self.machine = machine }

    /// A GSI that nobody else has.
    package func allocate() throws(KVMError) -> UInt32 {
        let found = table.withLock { table -> UInt32? in
            for step in 0..<(Self.limit - Self.chipInputs) {
                let candidate = Self.chipInputs + (table.next - Self.chipInputs + step) % (Self.limit - Self.chipInputs)
                if table.used.insert(candidate).inserted {
                    table.next = candidate + 1 < Self.limit ? candidate + 1 : Self.chipInputs
                    return candidate
                }
            }
            return nil
        }
        guard let found else { throw .exhausted("interrupt routes", limit: Int(Self.limit)) }
        return found
    }

    /// Takes a GSI back and removes its route.
    package func release(_ gsi: UInt32) throws(KVMError) {
        try change { table in
            table.used.remove(gsi)
            return table.messages.removeValue(forKey: gsi) != nil
        }
    }

    /// Sends a GSI's interrupts as the given message; nil removes the route.
    package func route(_ gsi: UInt32, to message: MSIMessage?) throws(KVMError) {
        try change { table in
            guard table.messages[gsi] != message else { return false }
            table.messages[gsi] = message
            return true
        }
    }

    private func change(_ edit: (inout Table) -> Bool) throws(KVMError) {
        // The mutex spans KVM's call, so that an older table cannot overtake a newer one.
        let result: Result<Void, KVMError> = table.withLock { table in
            guard edit(&table) else { return .success(()) }
            let routes = Self.chipRoutes + table.messages.sorted { $0.key < $1.key }.map(Self.entry)
            do throws(KVMError) {
                try machine.setRoutes(routes)
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        try result.get()
    }

    /// The inputs of the PICs and the IOAPIC as KVM itself sets them up.
    private static let chipRoutes: [kvm_irq_routing_entry] = (0..<chipInputs).flatMap { gsi in
        let inputs: [(UInt32, UInt32)] =
            gsi < 16
            ? [(gsi < 8 ? UInt32(KVM_IRQCHIP_PIC_MASTER) : UInt32(KVM_IRQCHIP_PIC_SLAVE), gsi % 8)] : []
        return (inputs + [(UInt32(KVM_IRQCHIP_IOAPIC), gsi)]).map { chip, pin in
            var entry = kvm_irq_routing_entry()
            entry.gsi = gsi
            entry.type = UInt32(KVM_IRQ_ROUTING_IRQCHIP)
            unsafe entry.u.irqchip = kvm_irq_routing_irqchip(irqchip: chip, pin: pin)
            return entry
        }
    }

    /// KVM reads bits 8 to 31 of a destination from the address's upper half (KVM_CAP_X2APIC_API); a guest that was
    /// offered KVM_FEATURE_MSI_EXT_DEST_ID puts bits 8 to 14 into bits 5 to 11 of the lower one.
    static func entry(_ gsi: UInt32, _ message: MSIMessage) -> kvm_irq_routing_entry {
        let extended = (message.addressLow >> 5) & 0x7F
        var entry = kvm_irq_routing_entry()
        entry.gsi = gsi
        entry.type = UInt32(KVM_IRQ_ROUTING_MSI)
        unsafe entry.u.msi = kvm_irq_routing_msi()
        unsafe entry.u.msi.address_lo = message.addressLow & ~0xFE0
        unsafe entry.u.msi.address_hi = message.addressHigh | extended << 8
        unsafe entry.u.msi.data = message.data
        return entry
    }
}
