/// Where a function lies: segment 0, bus, device and function (BDF).
package struct PCIAddress: Equatable, Hashable, Sendable, CustomStringConvertible {
    /// Bus, device (0 to 31) and function (0 to 7).
    package let bus: UInt8, device: UInt8, function: UInt8

    package init(bus: UInt8 = 0, device: UInt8, function: UInt8 = 0) {
        (self.bus, self.device, self.function) = (bus, device & 31, function & 7)
    }

    /// For example `0000:00:05.0`.
    package var description: String { "0000:\(Self.hex(bus)):\(Self.hex(device)).\(function)" }

    private static func hex(_ value: UInt8) -> String {
        let digits = String(value, radix: 16)
        return digits.count < 2 ? "0" + digits : digits
    }
}
