import Boot
import KVM
import Logging
import Memory
import Virtio

/// What a machine is made of, for the log's levels debug and trace. Nothing is looked up when nobody listens.
struct BootDetails: Sendable {
    let logger: Logger

    private func say(_ message: String, _ fields: [(String, String)]) {
        logger.debug(
            "\(message)", metadata: Logger.Metadata(uniqueKeysWithValues: fields.map { ($0, .string($1)) }))
    }

    private var isHeard: Bool { logger.logLevel <= .debug }

    /// Each capability of KVM that matters, and its value.
    func capabilities(_ system: borrowing KVMSystem) {
        guard isHeard else { return }
        let numbers: [KVMCapability] = [.maximumVCPUs, .maximumVCPUID, .memorySlots]
        for capability in KVMCapability.required + KVMCapability.optional + numbers {
            say("KVM capability", [("name", capability.name), ("value", "\(system.value(of: capability))")])
        }
    }

    /// The slots of guest memory.
    func memory(_ memory: GuestMemory) {
        guard isHeard else { return }
        for (slot, range) in memory.ranges.enumerated() {
            say(
                "memory slot",
                [
                    ("slot", "\(slot)"), ("address", Self.hex(range.address)), ("size", "\(range.size)"),
                    ("host", Self.hex(UInt64(memory.hostAddress(ofRegion: slot)))),
                ])
        }
    }

    /// A device on the PCI bus.
    func device(_ planned: PlannedDevice, _ device: any VirtioDevice) {
        guard isHeard else { return }
        say(
            "device",
            [
                ("id", planned.id), ("bdf", "\(planned.address)"), ("registers", Self.hex(planned.registers)),
                ("queues", device.queueSizes.map(String.init).joined(separator: ",")),
                ("features", Self.hex(device.features)),
            ])
    }

    /// The ACPI tables, by their signatures.
    func tables(_ image: ACPIImage) {
        guard isHeard else { return }
        for block in image.blocks {
            let name = block.bytes.starts(with: Array("RSD PTR ".utf8)) ? "RSDP" : Self.text(block.bytes.prefix(4))
            say(
                "ACPI table",
                [("name", name), ("address", Self.hex(block.address)), ("size", "\(block.bytes.count)")])
        }
    }

    /// Where the payload's parts lie and where it starts.
    func payload(_ payload: LoadedPayload) {
        guard isHeard else { return }
        for range in payload.ranges {
            say(
                "payload part",
                [("name", range.name), ("address", Self.hex(range.address)), ("size", "\(range.size)")])
        }
        logger.trace("entry state", metadata: ["state": "\(payload.entry)"])
    }

    /// A vCPU's CPUID: who made the processor, what it is called, its highest leaves and its features; at trace, all.
    func processor(_ index: Int, apicID: UInt32, _ leaves: [CPUIDEntry]) {
        guard isHeard else { return }
        func leaf(_ function: UInt32) -> CPUIDEntry { leaves.first { $0.function == function } ?? CPUIDEntry(function) }
        func bytes(_ words: [UInt32]) -> [UInt8] {
            words.flatMap { word in (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }
        }
        let (first, features, extended) = (leaf(0), leaf(1), leaf(0x8000_0000))
        let brand = (0x8000_0002...0x8000_0004).map { leaf(UInt32($0)) }.flatMap { [$0.eax, $0.ebx, $0.ecx, $0.edx] }
        say(
            "vCPU",
            [
                ("index", "\(index)"), ("apic_id", "\(apicID)"),
                ("vendor", Self.text(bytes([first.ebx, first.edx, first.ecx])[...])),
                ("model", Self.text(bytes(brand)[...])), ("leaves", "\(leaves.count)"),
                ("highest", "\(Self.hex(UInt64(first.eax))),\(Self.hex(UInt64(extended.eax)))"),
                ("features", "\(Self.hex(UInt64(features.ecx))),\(Self.hex(UInt64(features.edx)))"),
            ])
        guard logger.logLevel <= .trace, index == 0 else { return }
        for leaf in leaves {
            let values = [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx].map { Self.hex(UInt64($0)) }.joined(separator: " ")
            logger.trace(
                "CPUID leaf",
                metadata: [
                    "function": "\(Self.hex(UInt64(leaf.function)))", "index": "\(leaf.index)", "values": "\(values)",
                ])
        }
    }

    /// What the devices tell of their lives; nil where nobody listens.
    var deviceNotes: (@Sendable (String, String) -> Void)? {
        guard isHeard else { return nil }
        let logger = logger
        return { id, text in logger.debug("\(text)", metadata: ["device": "\(id)"]) }
    }

    /// What the devices' registers take; nil where nobody listens.
    var deviceTraces: (@Sendable (String, String) -> Void)? {
        guard logger.logLevel <= .trace else { return nil }
        let logger = logger
        return { id, text in logger.trace("\(text)", metadata: ["device": "\(id)"]) }
    }

    private static func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }

    private static func text(_ bytes: ArraySlice<UInt8>) -> String {
        let printable = bytes.prefix { $0 != 0 }.map { (0x20..<0x7F).contains($0) ? $0 : 0x3F }
        let text = String(decoding: printable, as: UTF8.self)
        return String(text.drop { $0 == " " })
    }
}
