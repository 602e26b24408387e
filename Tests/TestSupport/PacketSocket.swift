import Glibc
import Host

/// A raw socket on a network interface: sees the frames that the interface takes, and sends some out of it (packet(7)).
package final class PacketSocket {
    private let file: FileDescriptor
    private let etherType: [UInt8]

    /// - Parameter etherType: the frames that `receive` answers; all others are passed over.
    package init(_ interface: String, etherType: UInt16 = 0x88B5) throws {
        let everything: UInt16 = 0x0003
        let raw = socket(
            AF_PACKET, Int32(SOCK_RAW.rawValue) | Int32(SOCK_CLOEXEC.rawValue), Int32(everything.bigEndian))
        guard raw >= 0 else { throw HostError("open a packet socket", interface, Errno(errno)) }
        let file = FileDescriptor(owning: raw)
        // struct sockaddr_ll, 20 bytes: family, protocol, interface, and what a bind leaves out.
        // SAFETY: the name lives through the call.
        let index = unsafe if_nametoindex(interface)
        var address = [UInt8](repeating: 0, count: 20)
        (address[0], address[3]) = (UInt8(AF_PACKET), UInt8(everything))
        for byte in 0..<4 { address[4 + byte] = UInt8(truncatingIfNeeded: index >> UInt32(8 * byte)) }
        // SAFETY: the kernel copies the 20 bytes of the array, which outlives the call.
        let result = unsafe address.withUnsafeBytes { bytes in
            unsafe bytes.withMemoryRebound(to: sockaddr.self) { unsafe bind(raw, $0.baseAddress, 20) }
        }
        guard result == 0 else { throw HostError("bind a packet socket to", interface, Errno(errno)) }
        self.file = file
        self.etherType = [UInt8(etherType >> 8), UInt8(etherType & 0xFF)]
    }

    /// Sends a frame out of the interface; for a tap, to the process behind it.
    package func send(_ frame: [UInt8]) throws { _ = try file.write(frame.span) }

    /// The next frame of the type, or nil when the time is up.
    package func receive(by deadline: Deadline = .seconds(10)) -> [UInt8]? {
        while !deadline.hasPassed {
            let frame = file.read(1, by: deadline)
            if frame.count >= 14, Array(frame[12..<14]) == etherType { return frame }
        }
        return nil
    }
}
