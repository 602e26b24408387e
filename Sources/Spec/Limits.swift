/// What the fields of a configuration may be. Sizes are in bytes.
package enum Limits {
    /// vCPUs of a VM: KVM's own upper bound on x86 (KVM_MAX_VCPUS).
    package static let vcpus: ClosedRange<UInt32> = 1...4096
    /// A host CPU's number (CONFIG_NR_CPUS's maximum is 8192).
    package static let hostCPU: ClosedRange<UInt32> = 0...8191
    /// Guest-physical address bits: 36 is the least that holds devices above RAM, 52 x86's architectural limit.
    package static let physicalAddressBits: ClosedRange<UInt8> = 36...52
    /// RAM: below 16 MiB no Linux boots, 64 TiB is what 46 address bits reach.
    package static let memorySize: ClosedRange<UInt64> = 16 << 20...64 << 40
    /// The unit of RAM.
    package static let pageSize: UInt64 = 4096
    /// The huge pages that x86_64 has.
    package static let hugepageSizes: [UInt64] = [2 << 20, 1 << 30]
    /// Entries of a virtqueue (virtio 1.2 section 2.7): a power of two in this range.
    package static let queueSize: ClosedRange<UInt16> = 2...32768
    /// Entries of a disk's queue: a request has a header and a status besides its data.
    package static let diskQueueSize: ClosedRange<UInt16> = 4...32768
    /// Queues of a disk; one vCPU serves at most one.
    package static let diskQueues: ClosedRange<UInt16> = 1...1024
    /// Queues of a network interface, which come in pairs.
    package static let netQueues: ClosedRange<UInt16> = 2...1024
    /// The id that virtio-blk gives the guest (virtio 1.2 section 5.2.6).
    package static let diskSerialLength = 20
    /// Bytes that a guest addresses on a disk.
    package static let logicalBlockSize: ClosedRange<UInt32> = 512...4096
    /// Bytes that a disk writes at once.
    package static let physicalBlockSize: ClosedRange<UInt32> = 512...65536
    /// virtio 1.2 section 5.1.4.1: an MTU below 1280 breaks IPv6.
    package static let mtu: ClosedRange<UInt16> = 1280...65535
    /// IFNAMSIZ without its terminator.
    package static let interfaceNameLength = 15
    /// PATH_MAX without its terminator.
    package static let pathLength = 4095
    /// `sun_path` of a Unix socket without its terminator.
    package static let socketPathLength = 107
    /// A guest's context id on vsock: those below and the last one have meanings of their own (virtio 1.2 section
    /// 5.10.4).
    package static let guestCID: ClosedRange<UInt32> = 3...0xFFFF_FFFE
    /// An id, which names files and keys of snapshots.
    package static let idLength = 255
}
