/// One of `net`: a network interface of the guest, backed by a TAP interface of the host.
package struct NetConfig: Sendable, Equatable {
    /// The name of the device in the API; nil until one is assigned.
    package var id: String?
    /// The TAP interface's name; nil lets the kernel choose.
    package var tap: String?
    /// The host's address on the TAP interface; nil leaves it unset.
    package var ip: IPv4Address?
    /// The network mask that goes with `ip`.
    package var mask: IPv4Address?
    /// The guest's Ethernet address; nil has one made.
    package var mac: MACAddress?
    /// The host's Ethernet address on the TAP interface; nil leaves the kernel's.
    package var hostMAC: MACAddress?
    /// The largest packet that the guest is told, in bytes; nil says nothing.
    package var mtu: UInt16?
    /// Queues, two for each pair of receive and transmit.
    package var queueCount: UInt16 = 2
    /// Entries of each queue, a power of two.
    package var queueSize: UInt16 = 256
    /// Whether the guest may leave TCP segmentation to the host.
    package var offloadTSO = true
    /// Whether the guest may leave UDP fragmentation to the host.
    package var offloadUFO = true
    /// Whether the guest may leave checksums to the host.
    package var offloadChecksum = true

    /// An interface with the defaults.
    package init() {}
}

extension NetConfig {
    init(_ reader: SectionReader) {
        self.init()
        id = reader.string("id")
        tap = reader.string("tap", "the name of a TAP interface")
        ip = reader.address("ip")
        mask = reader.address("mask")
        mac = reader.mac("mac")
        hostMAC = reader.mac("host_mac")
        mtu = reader.integer("mtu", Limits.mtu)
        queueCount = reader.integer("num_queues", Limits.netQueues) ?? queueCount
        queueSize = reader.integer("queue_size", Limits.queueSize) ?? queueSize
        offloadTSO = reader.bool("offload_tso", default: offloadTSO)
        offloadUFO = reader.bool("offload_ufo", default: offloadUFO)
        offloadChecksum = reader.bool("offload_csum", default: offloadChecksum)
        var supported = [
            "id", "tap", "ip", "mask", "mac", "host_mac", "mtu", "num_queues", "queue_size", "offload_tso",
            "offload_ufo", "offload_csum",
        ]
        var unsupported = Harmless.pciPlacement.merging([
            "vhost_user": .value(.bool(false)), "vhost_socket": .nothing, "vhost_mode": .text("Client"),
            "fds": .nothing, "rate_limiter_config": .rateLimiter,
        ]) { $1 }
        // Numbers of another process's descriptors: the descriptors themselves come beside the request.
        if reader.value("fds") != nil, reader.report.mode == .lenient {
            reader.report.warning(
                .ignored, reader.path.key("fds"),
                "numbers of descriptors are ignored; send the descriptors with the request (SCM_RIGHTS)")
            unsupported["fds"] = nil
            supported.append("fds")
        }
        reader.finish(supported, unsupported: unsupported)
    }

    /// The section as Cloud Hypervisor's format has it.
    package var json: JSONValue {
        .members([
            ("id", id.map { .string($0) }), ("pci_segment", .integer(0)), ("tap", tap.map { .string($0) }),
            ("ip", ip.map { .string($0.description) }), ("mask", mask.map { .string($0.description) }),
            ("mac", mac.map { .string($0.description) }), ("host_mac", hostMAC.map { .string($0.description) }),
            ("mtu", mtu.map { .integer($0) }), ("num_queues", .integer(queueCount)),
            ("queue_size", .integer(queueSize)), ("vhost_user", .bool(false)), ("vhost_mode", .string("Client")),
            ("offload_tso", .bool(offloadTSO)), ("offload_ufo", .bool(offloadUFO)),
            ("offload_csum", .bool(offloadChecksum)),
        ])
    }

    func validate(bootVCPUs: UInt32, _ path: SpecPath, _ report: Report) {
        let checks = Checks(path, report)
        checks.id(id)
        validateNames(checks)
        if let mtu { checks.range("mtu", mtu, Limits.mtu) }
        checks.range("num_queues", queueCount, Limits.netQueues)
        if queueCount % 2 != 0 {
            checks.invalid("num_queues", "got \(queueCount), expected an even number; queues come in pairs")
        } else if queueCount / 2 > bootVCPUs {
            let advice = "give at most two for each"
            checks.invalid(
                "num_queues", "\(queueCount) queues for \(bootVCPUs) boot vCPU\(bootVCPUs == 1 ? "" : "s"); \(advice)")
        }
        checks.powerOfTwo("queue_size", queueSize, Limits.queueSize)
        if !offloadChecksum, offloadTSO || offloadUFO {
            checks.invalid(
                "offload_csum",
                "false while offload_tso or offload_ufo is true; they need checksums, set them to false too")
        }
    }

    private func validateNames(_ checks: Checks) {
        if let tap, !Self.isInterfaceName(tap) {
            let allowed = "1 to \(Limits.interfaceNameLength) letters, digits or signs without '/', ':' or spaces"
            checks.invalid("tap", "got \(quoted(tap)), expected an interface name: \(allowed)")
        }
        for (key, mac) in [("mac", mac), ("host_mac", hostMAC)] {
            guard let mac else { continue }
            if mac.isMulticast {
                checks.invalid(key, "\(mac) is a multicast address; make its first byte even")
            } else if mac.isZero {
                checks.invalid(key, "\(mac) is no station's address; choose another, or remove it to have one made")
            }
        }
        switch (ip, mask) {
        case (.some(let ip), nil): checks.report(.missing, "mask", "missing beside ip \(ip); give the network mask")
        case (nil, .some(let mask)):
            checks.report(.missing, "ip", "missing beside mask \(mask); give the host's address")
        case (.some, .some(let mask)) where !mask.isMask:
            checks.invalid("mask", "\(mask) is no network mask; expected one like 255.255.255.0")
        default: break
        }
    }

    private static func isInterfaceName(_ name: String) -> Bool {
        let bytes = name.utf8
        guard 1...Limits.interfaceNameLength ~= bytes.count, name != ".", name != ".." else { return false }
        return bytes.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: ":") }
    }
}

extension SectionReader {
    fileprivate func address(_ key: String) -> IPv4Address? {
        guard let text = string(key, "an IPv4 address") else { return nil }
        if let address = IPv4Address(text) { return address }
        if text.contains(":") {
            report.issue(
                .unsupported, path.key(key), "\(quoted(text)): IPv6 is not supported yet by this version; give IPv4")
        } else {
            report.issue(.invalid, path.key(key), "got \(quoted(text)), expected an IPv4 address like 192.168.249.1")
        }
        return nil
    }

    fileprivate func mac(_ key: String) -> MACAddress? {
        guard let text = string(key, "a MAC address") else { return nil }
        if let address = MACAddress(text) { return address }
        report.issue(.invalid, path.key(key), "got \(quoted(text)), expected a MAC address like 2e:89:a8:e4:92:95")
        return nil
    }
}
