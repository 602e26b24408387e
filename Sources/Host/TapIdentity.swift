import CLinux

/// What tells one tap from another, in whatever network namespace each of them is.
package struct TapIdentity: Equatable, Sendable {
    /// The interface's name in its namespace.
    package let name: String
    /// Its hardware address, six bytes. It tells the tap from another of the same name in this process's namespace.
    package let mac: [UInt8]
    /// Its network namespace; nil where this process may not know it.
    let namespace: FileIdentity?

    /// Whether it is a tap that this process finds by its name.
    package var isHere: Bool { namespace != nil && namespace == FileIdentity(following: "/proc/self/ns/net") }

    /// Whether both are one tap, as far as can be told.
    package static func == (left: Self, right: Self) -> Bool {
        guard left.name == right.name, left.mac == right.mac else { return false }
        guard let one = left.namespace, let other = right.namespace else { return true }
        return one == other
    }
}

extension TapQueue {
    /// Which tap it is a queue of.
    package borrowing func identity() throws(HostError) -> TapIdentity {
        var mac = [UInt8](repeating: 0, count: 6)
        // SAFETY: the shim fills six bytes of the array, which lives through the call.
        let result = unsafe mac.withUnsafeMutableBufferPointer { unsafe cl_tap_get_mac(file.raw, $0.baseAddress) }
        _ = try checked(result, "read the MAC address of the tap", interface)
        let space = cl_tap_namespace(file.raw)
        guard space >= 0 else { return TapIdentity(name: interface, mac: mac, namespace: nil) }
        let opened = FileDescriptor(owning: space)
        return TapIdentity(name: interface, mac: mac, namespace: try FileIdentity(opened))
    }
}

extension FileDescriptor {
    /// Whether two descriptors are one open file (kcmp(2)); false where the kernel does not tell.
    package borrowing func isSameOpenFile(as other: borrowing FileDescriptor) -> Bool {
        cl_same_open_file(raw, other.raw) != 0
    }
}
