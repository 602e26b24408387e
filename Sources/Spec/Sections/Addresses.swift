/// An Ethernet address.
package struct MACAddress: Sendable, Equatable, Hashable, CustomStringConvertible {
    /// The six bytes in the order of the wire.
    package let bytes: [UInt8]

    /// An address from its bytes; nil unless there are six.
    package init?(bytes: [UInt8]) {
        guard bytes.count == 6 else { return nil }
        self.bytes = bytes
    }

    /// An address from text like `2e:89:a8:e4:92:95`; nil unless it is six pairs of hexadecimal digits.
    package init?(_ text: String) {
        let pairs = text.utf8.split(separator: UInt8(ascii: ":"), maxSplits: 6, omittingEmptySubsequences: false)
        guard pairs.count == 6 else { return nil }
        var bytes: [UInt8] = []
        for pair in pairs {
            let text = String(Substring(pair))
            guard pair.count == 2, !text.hasPrefix("+"), !text.hasPrefix("-"), let byte = UInt8(text, radix: 16)
            else { return nil }
            bytes.append(byte)
        }
        self.bytes = bytes
    }

    private init(sixBytes: [UInt8]) { bytes = sixBytes }

    /// A locally administered unicast address.
    package static func random() -> MACAddress {
        MACAddress(sixBytes: [0x12, 0x34, 0x56] + (0..<3).map { _ in UInt8.random(in: .min ... .max) })
    }

    /// Whether it names a group of stations (IEEE 802: the lowest bit of the first byte).
    package var isMulticast: Bool { bytes[0] & 1 == 1 }

    /// Whether all its bits are zero.
    package var isZero: Bool { bytes.allSatisfy { $0 == 0 } }

    /// Lower-case pairs with colons.
    package var description: String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":")
    }
}

/// An IPv4 address or mask.
package struct IPv4Address: Sendable, Equatable, Hashable, CustomStringConvertible {
    /// The address as a number: `10.0.0.1` is 0x0a000001.
    package let value: UInt32

    /// An address from its number.
    package init(value: UInt32) { self.value = value }

    /// An address from text like `192.168.249.1`; nil unless it is four decimal numbers from 0 to 255 without
    /// leading zeros.
    package init?(_ text: String) {
        let parts = text.utf8.split(separator: UInt8(ascii: "."), maxSplits: 4, omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var value: UInt32 = 0
        for part in parts {
            let text = String(Substring(part))
            guard let first = part.first, first >= 0x30, first <= 0x39, let byte = UInt8(text) else { return nil }
            if part.count > 1, first == 0x30 { return nil }
            value = value << 8 | UInt32(byte)
        }
        self.value = value
    }

    /// Whether it is ones followed by zeros, as a mask has to be.
    package var isMask: Bool { (~value).leadingZeroBitCount + (~value).nonzeroBitCount == 32 }

    /// Dotted decimal.
    package var description: String {
        "\(value >> 24).\(value >> 16 & 0xff).\(value >> 8 & 0xff).\(value & 0xff)"
    }
}
