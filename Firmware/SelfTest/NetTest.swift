// The network device (virtio 1.2, 5.1): asks for a neighbour's address (ARP, RFC 826) and waits for the answer.

enum NetTest {
    private static let hasMAC: UInt64 = 1 << 5
    /// struct virtio_net_hdr with num_buffers, which VERSION_1 always has.
    private static let header: UInt64 = 12
    private static let bufferSize: UInt64 = 2048

    static func run(_ given: VirtioDevice, _ addresses: NetAddresses?) {
        var device = given
        guard DeviceTests.negotiate(&device, hasMAC) else { return }
        guard var receive = device.queue(0), var transmit = device.queue(1) else {
            return DeviceTests.fail(device, "queues 0 and 1")
        }
        device.ready()
        let mac = ownAddress(device)
        device.tellName()
        say("MAC \(mac: mac)")
        guard let addresses else {
            device.tellName()
            say("no net_host= and net_guest= on the command line, nothing is sent")
            return
        }
        let buffers = DMA.pages(2)
        for index in 0..<UInt64(4) { receive.offer(.written(buffers + index * bufferSize, UInt32(bufferSize))) }
        receive.kick()

        let frame = DMA.pages()
        fillRequest(frame + header, mac, addresses)
        let sent = Interrupts.count(transmit.vector)
        let received = Interrupts.count(receive.vector)
        let written = transmit.perform(.read(frame, UInt32(header + 60)))
        device.tellName()
        guard Result.check(written == 0, "a frame sent") else { return }
        DeviceTests.checkInterrupt(device, transmit, since: sent)
        let answer = awaitReply(&receive, addresses)
        device.tellName()
        if let answer {
            Result.check(answer != 0, "\(ipv4: addresses.host) is at \(mac: answer)")
            DeviceTests.checkInterrupt(device, receive, since: received)
        } else {
            Result.check(false, "an answer from \(ipv4: addresses.host)")
        }
    }

    /// The address in the configuration, or a local one; the first byte is the highest of the 48 bits.
    private static func ownAddress(_ device: VirtioDevice) -> UInt64 {
        guard device.has(hasMAC), device.config != 0 else { return 0x02_00_00_00_00_01 }
        var mac: UInt64 = 0
        for offset in 0..<UInt64(6) { mac = mac << 8 | UInt64(memoryRead8(device.config + offset)) }
        return mac
    }

    /// Writes the low bytes of `value` with the highest first.
    private static func write(_ address: UInt64, _ value: UInt64, bytes: UInt64) {
        for offset in 0..<bytes {
            memoryWrite8(address + offset, UInt8(truncatingIfNeeded: value >> (8 * (bytes - 1 - offset))))
        }
    }

    private static func read(_ address: UInt64, bytes: UInt64) -> UInt64 {
        var value: UInt64 = 0
        for offset in 0..<bytes { value = value << 8 | UInt64(memoryRead8(address + offset)) }
        return value
    }

    private static func fillRequest(_ frame: UInt64, _ mac: UInt64, _ addresses: NetAddresses) {
        write(frame, 0xFFFF_FFFF_FFFF, bytes: 6)
        write(frame + 6, mac, bytes: 6)
        write(frame + 12, 0x0806, bytes: 2)
        // Ethernet, IPv4, lengths 6 and 4, a request.
        write(frame + 14, 0x0001_0800_0604_0001, bytes: 8)
        write(frame + 22, mac, bytes: 6)
        write(frame + 28, UInt64(addresses.guest), bytes: 4)
        write(frame + 38, UInt64(addresses.host), bytes: 4)
    }

    /// Takes frames until the reply is among them.
    private static func awaitReply(
        _ receive: inout Virtqueue, _ addresses: NetAddresses
    ) -> UInt64? {
        var frames = 0
        let end = Clock.deadline(milliseconds: 3000)
        while frames < 64, readTSC() < end {
            guard let (head, length) = receive.take(milliseconds: 3000) else { return nil }
            frames += 1
            let buffer = receive.buffer(of: head)
            let frame = buffer + header
            if UInt64(length) >= header + 42, read(frame + 12, bytes: 2) == 0x0806, read(frame + 20, bytes: 2) == 2,
                read(frame + 28, bytes: 4) == UInt64(addresses.host)
            {
                return read(frame + 22, bytes: 6)
            }
            receive.offer(.written(buffer, UInt32(bufferSize)))
            receive.kick()
        }
        return nil
    }
}

extension Text.StringInterpolation {
    func appendInterpolation(mac address: UInt64) {
        for shift in stride(from: 40, through: 0, by: -8) {
            Serial.write(hex: address >> UInt64(shift) & 0xFF, digits: 2)
            if shift != 0 { Serial.write(58) }
        }
    }

    func appendInterpolation(ipv4 address: UInt32) {
        for shift in stride(from: 24, through: 0, by: -8) {
            Serial.write(decimal: UInt64(address >> UInt32(shift) & 0xFF))
            if shift != 0 { Serial.write(46) }
        }
    }
}
