/// A device at I/O ports. vCPU threads call it, several at once.
package protocol PortDevice: AnyObject, Sendable {
    /// Answers a read of 1, 2 or 4 bytes at an offset from the device's first port.
    func read(_ offset: UInt16, size: Int) -> UInt32
    /// Takes a write of 1, 2 or 4 bytes.
    func write(_ offset: UInt16, size: Int, value: UInt32)
}

/// What a guest asks of its machine by a register.
package enum GuestRequest: Equatable, Sendable {
    /// Soft off (S5).
    case powerOff
    /// Start again.
    case reset
    /// The self-test's end, with its result.
    case exit(UInt8)
}
