extension VMConfig {
    /// Makes Ethernet addresses for the network interfaces that came without one, so that they stay the same over the
    /// VM's boots and its clients see them.
    package mutating func assignMACs(_ make: () -> MACAddress = MACAddress.random) {
        for index in net.indices where net[index].mac == nil { net[index].mac = make() }
    }
}
