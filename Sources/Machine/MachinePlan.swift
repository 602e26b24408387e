import Boot
import CharBackend
import Memory
import PCI
import Spec
import VirtioBlock
import VirtioNet
import VirtioVsock

/// A machine before anything of it exists: addresses, interrupts, slots and backends, as pure values.
///
/// The plan decides; the builder only carries it out, so that `check` shows what `run` does.
package struct MachinePlan: Equatable, Sendable {
    /// RAM and the guest's map of it.
    package let memory: MemoryMap
    /// What RAM is made of on the host.
    package let backing: MemoryBacking
    /// How KVM notes the pages that the guest writes.
    package let dirtyLog: DirtyLogKind
    /// The vCPUs.
    package let processors: PlannedProcessors
    /// The guest-physical ranges for PCI.
    package let windows: PCIRoot.Windows
    /// The PCI devices in ascending order of their slots.
    package let devices: [PlannedDevice]
    /// Where the first serial port's bytes go; nil without a port.
    package let serial: CharMode?
    /// The port that takes characters for debugging, and where they go.
    package let debugConsole: PlannedDebugConsole?
    /// What is booted.
    package let payload: PlannedPayload

    /// The self-test guest may end the VM with a result.
    package var isSelfTest: Bool { payload == .selfTest }
}

/// The vCPUs of a plan.
package struct PlannedProcessors: Equatable, Sendable {
    /// Present at boot, and at most.
    package let boot: Int, maximum: Int
    /// How they are grouped.
    package let topology: ProcessorTopology
    /// Host processors of a vCPU, by its number.
    package let affinity: [Int: [Int]]
    /// The entry of the configuration's list that binds a vCPU, by the vCPU's number.
    package let affinityEntries: [Int: Int]
    /// The limit on the width of guest-physical addresses.
    package let physicalAddressBits: UInt32?

    /// The APIC id of each vCPU that may be present.
    package var apicIDs: [UInt32] { topology.apicIDs(UInt32(maximum)) }
}

/// A debug console.
package struct PlannedDebugConsole: Equatable, Sendable {
    /// Its I/O port.
    package let port: UInt16
    /// Where the characters go.
    package let mode: CharMode
}

/// What a plan boots.
package enum PlannedPayload: Equatable, Sendable {
    /// The guest inside this executable.
    case selfTest
    /// Files on the host.
    case kernel(path: String, field: String, initramfs: String?, commandLine: String)
}

/// A device on the PCI bus.
package struct PlannedDevice: Equatable, Sendable {
    /// The user's name for it, or the one made for it.
    package let id: String
    /// Its place.
    package let address: PCIAddress
    /// Where its registers begin until the guest moves them, guest-physical.
    package let registers: UInt64
    /// What it is.
    package let kind: Kind

    /// The kinds of devices and their backends.
    package enum Kind: Equatable, Sendable {
        case console(CharMode)
        case entropy(source: String)
        case block(DiskOptions, BlockSettings)
        case net(NetSettings)
        case vsock(VsockSettings)

        /// Its virtqueues.
        var queueCount: Int {
            switch self {
            case .console: 2
            case .entropy: 1
            case .block(_, let settings): settings.queues
            case .net(let settings): 2 * settings.pairs + 1
            case .vsock: 3
            }
        }

        /// The kind in one word, as clients read it.
        package var name: String {
            switch self {
            case .console: "console"
            case .entropy: "rng"
            case .block: "disk"
            case .net: "net"
            case .vsock: "vsock"
            }
        }
    }
}
