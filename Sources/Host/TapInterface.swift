import CLinux

/// One queue of a tap: a descriptor that reads and writes whole packets, each behind a 12-byte virtio-net header.
///
/// The interface goes with the last queue unless it existed before.
package struct TapQueue: ~Copyable, Sendable {
    /// The packets' descriptor, non-blocking.
    package let file: FileDescriptor
    /// The interface's name.
    package let interface: String

    /// Length of the header in front of each packet, in bytes (virtio 1.2 section 5.1.6).
    package static let headerSize = 12

    /// Opens a queue of an existing or a new tap.
    ///
    /// - Parameter name: the interface's; empty lets the kernel choose, `%d` in it is numbered.
    package init(name: String, multiQueue: Bool) throws(HostError) {
        let file = try FileDescriptor.open("/dev/net/tun", O_RDWR)
        let bytes = Array(name.utf8)
        let room = Int(CL_INTERFACE_NAME_SIZE)
        guard bytes.count < room else {
            throw HostError("use the tap (a name has at most \(room - 1) bytes)", name, Errno(ENAMETOOLONG))
        }
        var buffer = bytes.map { CChar(bitPattern: $0) } + [CChar](repeating: 0, count: room - bytes.count)
        // SAFETY: the shim reads and fills at most `room` bytes of the array.
        let result = unsafe buffer.withUnsafeMutableBufferPointer { space in
            unsafe cl_tap_attach(file.raw, space.baseAddress, room, multiQueue ? 1 : 0)
        }
        _ = try checked(result, "attach to the tap", name.isEmpty ? "(a new one)" : name)
        let chosen = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        try Self.prepare(file, name)
        self.file = file
        interface = chosen
    }

    /// Takes a tap queue over that somebody else opened.
    ///
    /// - Parameter multiQueue: whether the interface is to have further queues.
    /// - Throws: `EBADFD` for a descriptor that is no queue of a tap, `EINVAL` for one whose packets come without a
    ///   virtio-net header or behind another one, or whose interface has a single queue.
    package init(adopting file: consuming FileDescriptor, multiQueue: Bool) throws(HostError) {
        let what = "use as a tap queue"
        var buffer = [CChar](repeating: 0, count: Int(CL_INTERFACE_NAME_SIZE))
        var kind: Int32 = 0
        // SAFETY: the shim fills the local and at most the array's bytes.
        let result = unsafe buffer.withUnsafeMutableBufferPointer { space in
            unsafe cl_tap_describe(file.raw, space.baseAddress, space.count, &kind)
        }
        guard result >= 0 else { throw HostError(what, "a descriptor that is no tap's", Errno(EBADFD)) }
        let name = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let needed: [(flag: Int32, words: String)] = [
            (Int32(CL_TAP_ETHERNET), "that is no tap (IFF_TAP)"), (Int32(CL_TAP_PLAIN), "without IFF_NO_PI"),
            (Int32(CL_TAP_HEADER), "without IFF_VNET_HDR"),
            (multiQueue ? Int32(CL_TAP_MULTI_QUEUE) : 0, "without IFF_MULTI_QUEUE"),
        ]
        for (flag, words) in needed where kind & flag != flag { throw HostError(what, "\(name) \(words)", .invalid) }
        try Self.prepare(file, name)
        self.file = file
        interface = name
    }

    private static func prepare(_ file: borrowing FileDescriptor, _ name: String) throws(HostError) {
        var header = Int32(Self.headerSize)
        // SAFETY: the request reads a 32-bit local.
        _ = try checked(
            unsafe cl_ioctl_pointer(file.raw, CL_TUNSETVNETHDRSZ, &header), "set the packet header of the tap", name)
        try file.setNonBlocking(true)
    }

    /// Says which packets the reader takes unfinished: TUN_F_… bits.
    package borrowing func setOffloads(_ flags: UInt32) throws(HostError) {
        _ = try checked(
            cl_ioctl_value(file.raw, CL_TUNSETOFFLOAD, UInt(flags)), "set the offloads of the tap", interface)
    }

    /// Lets the kernel give this queue packets, or not.
    package borrowing func setEnabled(_ on: Bool) throws(HostError) {
        _ = try checked(cl_tap_enable_queue(file.raw, on ? 1 : 0), "switch a queue of the tap", interface)
    }
}

/// A network interface of the host, by name.
package struct NetworkInterface: ~Copyable {
    private let name: String
    private let socket: FileDescriptor

    package init(_ name: String) throws(HostError) {
        socket = FileDescriptor(owning: try checked(cl_inet_socket(), "open a socket to configure", name))
        self.name = name
    }

    /// Whether an interface of the name exists.
    package static func exists(_ name: String) -> Bool { unsafe cl_interface_exists(name) != 0 }

    /// Sets the hardware address: six bytes.
    package borrowing func setMAC(_ bytes: [UInt8]) throws(HostError) {
        guard bytes.count == 6 else { throw HostError("set the MAC address of", name, .invalid) }
        _ = try checked(unsafe cl_interface_set_mac(socket.raw, name, bytes), "set the MAC address of", name)
    }

    /// The hardware address: six bytes.
    package borrowing func mac() throws(HostError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 6)
        // SAFETY: the shim fills six bytes of the array, which lives through the call.
        let result = unsafe bytes.withUnsafeMutableBufferPointer { space in
            unsafe cl_interface_get_mac(socket.raw, name, space.baseAddress)
        }
        _ = try checked(result, "read the MAC address of", name)
        return bytes
    }

    /// The largest packet, in bytes.
    package borrowing func mtu() throws(HostError) -> Int {
        Int(try checked(unsafe cl_interface_get_mtu(socket.raw, name), "read the MTU of", name))
    }

    /// Sets the largest packet, in bytes.
    package borrowing func setMTU(_ bytes: Int) throws(HostError) {
        _ = try checked(unsafe cl_interface_set_mtu(socket.raw, name, Int32(clamping: bytes)), "set the MTU of", name)
    }

    /// Sets the IPv4 address and mask, four bytes each.
    package borrowing func setAddress(_ address: [UInt8], mask: [UInt8]) throws(HostError) {
        guard let address = Self.network(address), let mask = Self.network(mask) else {
            throw HostError("set the address of", name, .invalid)
        }
        _ = try checked(unsafe cl_interface_set_address(socket.raw, name, address), "set the address of", name)
        _ = try checked(unsafe cl_interface_set_mask(socket.raw, name, mask), "set the mask of", name)
    }

    /// Brings the interface up.
    package borrowing func setUp() throws(HostError) {
        _ = try checked(unsafe cl_interface_set_up(socket.raw, name), "bring up", name)
    }

    /// Four bytes as the number that has them in this order in memory.
    private static func network(_ bytes: [UInt8]) -> UInt32? {
        guard bytes.count == 4 else { return nil }
        return (0..<4).reduce(0) { $0 | UInt32(bytes[$1]) << UInt32(8 * $1) }
    }
}

/// What an interface of the host is to the driver of taps.
package enum TapNature: Equatable, Sendable {
    /// Neither a tap nor a tun, or a tun: it carries no Ethernet frames for this process.
    case other(isTun: Bool)
    /// A tap, and whether it was made for several queues.
    case tap(multiQueue: Bool)

    /// Looks into sysfs; nil where it does not show an interface of the name. (Kernel: `tun_flags` of drivers/net/tun.c:
    /// IFF_TUN 1, IFF_TAP 2, IFF_MULTI_QUEUE 0x100.)
    package init?(interface name: String) {
        let directory = "/sys/class/net/\(name)"
        guard !name.isEmpty, !name.utf8.contains(UInt8(ascii: "/")), HostProbe.number("\(directory)/ifindex") != nil
        else { return nil }
        guard let file = try? FileDescriptor.openForReading("\(directory)/tun_flags"),
            let bytes = try? file.readAll(limit: 64),
            let flags = UInt32(String(decoding: bytes.dropFirst(2).prefix { $0 > 0x20 }, as: UTF8.self), radix: 16)
        else {
            self = .other(isTun: false)
            return
        }
        self = flags & 2 == 0 ? .other(isTun: flags & 1 != 0) : .tap(multiQueue: flags & 0x100 != 0)
    }
}
