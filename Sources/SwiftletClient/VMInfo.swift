/// What `vm.info` answers: the fields that orchestrators look at as types, and the whole reply in `raw`.
public struct VMInfo: Sendable, Codable, Hashable {
    /// Where a VM is in its life.
    public struct State: RawRepresentable, Sendable, Codable, Hashable, CustomStringConvertible {
        /// The API's name of it.
        public let rawValue: String
        /// A state of that name.
        public init(rawValue: String) { self.rawValue = rawValue }
        /// The API's name of it.
        public var description: String { rawValue }

        /// Configured, or shut down.
        public static let created = State(rawValue: "Created")
        /// The vCPUs run.
        public static let running = State(rawValue: "Running")
        /// The vCPUs stand still.
        public static let paused = State(rawValue: "Paused")
        /// The guest has powered off.
        public static let shutdown = State(rawValue: "Shutdown")
        /// A debugger has stopped it.
        public static let breakPoint = State(rawValue: "BreakPoint")
    }

    /// A node of the device tree.
    public struct Device: Sendable, Codable, Hashable {
        /// The device's name.
        public let id: String
        /// The node above it.
        public let parent: String?
        /// The nodes below it.
        public let children: [String]?
        /// Where the guest finds it: `0000:00:05.0`.
        public let bdf: String?
        /// What it is: `console`, `disk`, `net`, `rng`, `vsock`; nil for a node that leads to a device.
        public let kind: String?
        /// Whether its removal waits for the guest to let go.
        public let isRemovalPending: Bool?

        enum CodingKeys: String, CodingKey {
            case id, parent, children, kind
            case bdf = "pci_bdf"
            case isRemovalPending = "pending_removal"
        }
    }

    /// The VM's configuration.
    public let config: Config
    /// Where it is in its life.
    public let state: State
    /// The guest's memory, in bytes.
    public let memoryActualSize: UInt64?
    /// The devices by name; nil while the VM is not booted.
    public let deviceTree: [String: Device]?
    /// The reply as it came.
    public internal(set) var raw: [UInt8] = []

    enum CodingKeys: String, CodingKey {
        case config, state
        case memoryActualSize = "memory_actual_size"
        case deviceTree = "device_tree"
    }
}

extension VMInfo {
    /// The parts of a VM's configuration that orchestrators look at.
    public struct Config: Sendable, Codable, Hashable {
        /// The vCPUs.
        public let cpus: CPUs
        /// The memory.
        public let memory: Memory
        /// What boots.
        public let payload: Payload?
        /// The disks, in the guest's order.
        public let disks: [Disk]?
        /// The network cards, in the guest's order.
        public let net: [Net]?
        /// The source of random numbers.
        public let rng: RNG?
        /// The serial port, and the virtio console.
        public let serial: Terminal?, console: Terminal?
        /// The vsock device.
        public let vsock: Vsock?
    }

    /// The vCPUs.
    public struct CPUs: Sendable, Codable, Hashable {
        /// How many there are at boot, and how many there may be.
        public let bootVCPUs: UInt32, maxVCPUs: UInt32

        enum CodingKeys: String, CodingKey {
            case bootVCPUs = "boot_vcpus"
            case maxVCPUs = "max_vcpus"
        }
    }

    /// The memory.
    public struct Memory: Sendable, Codable, Hashable {
        /// Bytes.
        public let size: UInt64
        /// Whether another process can map it.
        public let shared: Bool?
        /// Whether it consists of huge pages.
        public let hugepages: Bool?
    }

    /// What boots; paths on the host.
    public struct Payload: Sendable, Codable, Hashable {
        /// The firmware, the kernel, and the initial file system.
        public let firmware: String?, kernel: String?, initramfs: String?
        /// The kernel's command line.
        public let cmdline: String?
    }

    /// A disk.
    public struct Disk: Sendable, Codable, Hashable {
        /// The device's name, and the image's path.
        public let id: String?, path: String?
        /// Whether the guest may not write.
        public let readonly: Bool?
        /// The image's format.
        public let imageType: String?

        enum CodingKeys: String, CodingKey {
            case id, path, readonly
            case imageType = "image_type"
        }
    }

    /// A network card.
    public struct Net: Sendable, Codable, Hashable {
        /// The device's name.
        public let id: String?
        /// The tap interface.
        public let tap: String?
        /// The guest's MAC address.
        public let mac: String?
        /// The largest packet, in bytes.
        public let mtu: UInt32?
    }

    /// The source of random numbers.
    public struct RNG: Sendable, Codable, Hashable {
        /// The device's name, and the file on the host that the numbers come from.
        public let id: String?, src: String?
    }

    /// A serial port or console.
    public struct Terminal: Sendable, Codable, Hashable {
        /// The device's name; nil for a port, which has none.
        public let id: String?
        /// `Off`, `Null`, `Tty`, `Pty`, `File`, `Socket`.
        public let mode: String
        /// The file, or the pseudo-terminal's path.
        public let file: String?
        /// The socket's path.
        public let socket: String?
    }

    /// The vsock device.
    public struct Vsock: Sendable, Codable, Hashable {
        /// The device's name.
        public let id: String?
        /// The guest's address.
        public let cid: UInt64
        /// The host's side.
        public let socket: String
    }
}
