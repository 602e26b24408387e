/// The slots of the PCI root bus in AML: hot-plug as ACPI has it (ACPI 6.5, 5.6.6, 6.1.1, 6.1.11 and 6.3.3).
///
/// Each slot is a device that can be ejected, which makes it one that Linux's acpiphp looks after. The up to 31 devices and
/// their notifications differ in a few bytes only, so each is encoded once and copied, which keeps the VMM's start short.
enum DSDTSlots {
    /// The method of `PCI0` that hands on what happened since it last ran.
    static let scanMethod = "HPSC"
    private static let notifyMethod = "HPNT"

    /// The terms inside `PCI0`: the hot-plug registers at I/O ports, the slots from 1 to the last one, and the methods that
    /// notify them. Nothing without slots.
    static func terms(registers: UInt16, last: UInt8) throws(ACPIError) -> [AMLTerm] {
        guard last > 0 else { return [] }
        return [
            .operationRegion(
                "HPRG", .systemIO, offset: .integer(UInt64(registers)),
                length: .integer(UInt64(MachineLayout.pciHotPlugSize))),
            .field(
                region: "HPRG", .doubleWord,
                [.named("HPIN", bits: 32), .named("HPOU", bits: 32), .named("HPEJ", bits: 32)]),
            .encoded(try copies(of: device, last: last)), try notify(last: last), scan,
        ]
    }

    private static func name(_ slot: UInt8) -> String {
        (slot < 16 ? "S0" : "S") + String(slot, radix: 16, uppercase: true)
    }

    /// A slot: its place, and what the guest calls when it has let go of the device. It has no number for the user
    /// (_SUN): Linux would look for it twice and show it in a file, and numbers slots without it from 1 on as they come,
    /// which is the same.
    private static func device(_ slot: UInt8) -> AMLTerm {
        .device(
            name(slot),
            [
                .name("_ADR", .integer(UInt64(slot) << 16)),
                .method("_EJ0", arguments: 1, [.store(.integer(UInt64(slot)), in: .path("HPEJ"))]),
            ])
    }

    /// Notifies the slots of a bit mask (argument 0), bit n for slot n, of an event (argument 1).
    private static func notify(last: UInt8) throws(ACPIError) -> AMLTerm {
        let slots = AMLTerm.local(0)
        let next = try copies(
            of: { .if(.and(slots, .one), then: [.notify(name($0), .argument(1))]) }, last: last,
            behind: .arithmetic(.shiftRight, slots, .one, in: slots))
        return .method(
            notifyMethod, arguments: 2, serialized: true, [.store(.argument(0), in: slots), .encoded(next)])
    }

    /// Reads each register once, for that clears it: device check (1) for what came, eject request (3) for what is to go.
    private static var scan: AMLTerm {
        let slots = AMLTerm.local(0)
        return .method(
            scanMethod, serialized: true,
            [
                .store(.path("HPIN"), in: slots), .if(slots, then: [.call(notifyMethod, [slots, .one])]),
                .store(.path("HPOU"), in: slots), .if(slots, then: [.call(notifyMethod, [slots, .integer(3)])]),
            ])
    }

    /// The bytes of a term for every slot up to a last one, each behind those of another term.
    ///
    /// The encodings for slots 2 and 31 show where the slot's number and its name's two digits stand. Slot 1 may have a
    /// shorter one, so it is made on its own.
    private static func copies(
        of term: (UInt8) -> AMLTerm, last lastSlot: UInt8, behind separator: AMLTerm = .encoded([])
    ) throws(ACPIError) -> [UInt8] {
        let first = try term(1).encoded()
        var copy = try term(2).encoded()
        let last = try term(31).encoded()
        let front = try separator.encoded()
        let places = copy.indices.filter { copy[$0] != last[$0] }
        var bytes = front + first
        bytes.reserveCapacity((front.count + copy.count) * Int(lastSlot))
        guard lastSlot >= 2 else { return bytes }
        for slot in 2...lastSlot {
            let (high, low) = (digit(slot >> 4), digit(slot & 15))
            for place in places {
                copy[place] = last[place] == 31 ? slot : last[place] == digit(1) ? high : low
            }
            bytes += front
            bytes += copy
        }
        return bytes
    }

    private static func digit(_ value: UInt8) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "A") + value - 10
    }
}
