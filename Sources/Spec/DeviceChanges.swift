extension VMConfig {
    /// Makes Ethernet addresses for the network interfaces that came without one, so that they stay the same over the
    /// VM's boots and its clients see them.
    package mutating func assignMACs(_ make: () -> MACAddress = MACAddress.random) {
        for index in net.indices where net[index].mac == nil { net[index].mac = make() }
    }
}

extension VMConfig {
    /// Takes the disk, network interface or vsock device of an id out; false where there is none.
    package mutating func removeDevice(_ id: String) -> Bool {
        if let vsock, vsock.id == id {
            self.vsock = nil
            return true
        }
        let before = disks.count + net.count
        disks.removeAll { $0.id == id }
        net.removeAll { $0.id == id }
        return disks.count + net.count < before
    }
}
