import Snapshot
import Synchronization

/// What a snapshot keeps of the root bus; each function has its own state.
package struct PCIRootState: SavedState {
    package static let kind = "pci-root"
    package static let version = 1

    /// The address register of the port mechanism.
    package var portAddress: UInt32
    /// The slots of the functions whose ranges are decoded.
    package var decoding: [Int]

    package init(portAddress: UInt32, decoding: [Int]) { (self.portAddress, self.decoding) = (portAddress, decoding) }
}

/// The root complex: bus 0 with its functions, the two ways to configuration space, and the decoding of their ranges.
package final class PCIRoot: Sendable {
    /// Guest-physical ranges that functions may decode.
    package struct Windows: Equatable, Sendable {
        /// Below 4 GiB and above RAM.
        package let memory32: Range<UInt64>, memory64: Range<UInt64>

        package init(memory32: Range<UInt64>, memory64: Range<UInt64>) {
            (self.memory32, self.memory64) = (memory32, memory64)
        }
    }

    private struct Placement {
        let range: Range<UInt64>
        let bar: Int
        let slot: Int
        let function: any PCIFunction
    }

    private struct State {
        var functions = [(any PCIFunction)?](repeating: nil, count: 32)
        /// Functions that the guest let go of, by slot, until they are removed.
        var leaving: [Int: any PCIFunction] = [:]
        /// Ascending and disjoint.
        var placements: [Placement] = []
        /// The address register of the port mechanism.
        var portAddress: UInt32 = 0
    }

    private let windows: Windows
    private let state = Mutex(State())

    /// Makes a bus with a host bridge at 00:00.0.
    package init(windows: Windows) {
        self.windows = windows
        state.withLock { $0.functions[0] = HostBridge() }
    }

    /// Puts a function into a free slot (1 to 31); false when it is taken.
    package func insert(_ function: any PCIFunction, device: Int) -> Bool {
        state.withLock { state in
            guard (1..<32).contains(device), state.functions[device] == nil, state.leaving[device] == nil else {
                return false
            }
            state.functions[device] = function
            return true
        }
    }

    /// Shows a slot as empty from here on, while its function waits to be removed: the guest let go of it, and must not
    /// find it again when it looks over its bus for another reason.
    package func vacate(device: Int) {
        state.withLock { state in
            guard (1..<32).contains(device), let function = state.functions[device] else { return }
            state.functions[device] = nil
            state.leaving[device] = function
        }
    }

    /// Takes the function of a slot away and ends its decoding.
    package func remove(device: Int) -> (any PCIFunction)? {
        state.withLock { state in
            guard (1..<32).contains(device), let function = state.functions[device] ?? state.leaving[device] else {
                return nil
            }
            state.functions[device] = nil
            state.leaving[device] = nil
            for placement in state.placements where placement.slot == device {
                function.placed(bar: placement.bar, at: nil)
            }
            state.placements.removeAll { $0.slot == device }
            return function
        }
    }

    /// The functions and their slots.
    package var functions: [(address: PCIAddress, function: any PCIFunction)] {
        state.withLock { state in
            state.functions.enumerated().compactMap { slot, function in
                function.map { (PCIAddress(device: UInt8(slot)), $0) }
            }
        }
    }

    // MARK: Configuration space

    /// Reads through the memory-mapped mechanism (PCI Express 7.2.2): `offset` from the window's start.
    package func readECAM(_ offset: UInt64, size: Int) -> UInt64 {
        guard size <= 4 else {
            return readECAM(offset, size: 4) | readECAM(offset &+ 4, size: 4) << 32
        }
        return UInt64(readConfiguration(Int(truncatingIfNeeded: offset), size: size))
    }

    /// Writes through the memory-mapped mechanism.
    package func writeECAM(_ offset: UInt64, size: Int, value: UInt64) {
        guard size <= 4 else {
            writeECAM(offset, size: 4, value: value & 0xFFFF_FFFF)
            return writeECAM(offset &+ 4, size: 4, value: value >> 32)
        }
        writeConfiguration(Int(truncatingIfNeeded: offset), size: size, value: UInt32(truncatingIfNeeded: value))
    }

    /// Reads one of the ports 0xCF8 to 0xCFF (PCI 3.0 section 3.2.2.3.2), `offset` from 0xCF8.
    package func readPort(_ offset: Int, size: Int) -> UInt32 {
        let address = state.withLock { $0.portAddress }
        if offset < 4 {
            return offset == 0 && size == 4 ? address : 0xFFFF_FFFF
        }
        guard let place = Self.place(address, offset) else { return 0xFFFF_FFFF }
        return readConfiguration(place, size: size)
    }

    /// Writes one of the ports 0xCF8 to 0xCFF.
    package func writePort(_ offset: Int, size: Int, value: UInt32) {
        if offset < 4 {
            // Only a whole write sets the address; others are for chips that share the port.
            if offset == 0, size == 4 { state.withLock { $0.portAddress = value } }
            return
        }
        let address = state.withLock { $0.portAddress }
        guard let place = Self.place(address, offset) else { return }
        writeConfiguration(place, size: size, value: value)
    }

    private static func place(_ address: UInt32, _ offset: Int) -> Int? {
        guard address & 0x8000_0000 != 0 else { return nil }
        let function = Int(address >> 8) & 0xFFFF
        return function << 12 | Int(address & 0xFC) | (offset & 3)
    }

    private func function(at place: Int) -> (slot: Int, function: any PCIFunction)? {
        guard place >= 0, place >> 20 == 0, (place >> 12) & 7 == 0 else { return nil }
        let slot = (place >> 15) & 31
        return state.withLock { $0.functions[slot] }.map { (slot, $0) }
    }

    private func readConfiguration(_ place: Int, size: Int) -> UInt32 {
        guard let (_, function) = function(at: place) else { return 0xFFFF_FFFF }
        return function.readConfiguration(place & 0xFFF, size: size)
    }

    private func writeConfiguration(_ place: Int, size: Int, value: UInt32) {
        guard let (slot, function) = function(at: place) else { return }
        function.writeConfiguration(place & 0xFFF, size: size, value: value)
        if place & 0xFFF < 0x28 { decode(slot, function) }
    }

    // MARK: Decoding

    /// Brings the placements of a function up to its registers. A range that leaves the windows or meets another
    /// function's is not decoded, as on a bus where nothing is routed there.
    private func decode(_ slot: Int, _ function: any PCIFunction) {
        state.withLock { state in
            guard state.functions[slot] === function else { return }
            let wanted = function.decoded.compactMap { range -> Placement? in
                let (end, overflow) = range.address.addingReportingOverflow(range.size)
                let inside =
                    !overflow
                    && [windows.memory32, windows.memory64].contains {
                        $0.lowerBound <= range.address && end <= $0.upperBound
                    }
                guard inside else { return nil }
                return Placement(range: range.address..<end, bar: range.bar, slot: slot, function: function)
            }
            let before = state.placements.filter { $0.slot == slot }
            for old in before where !wanted.contains(where: { $0.bar == old.bar && $0.range == old.range }) {
                state.placements.removeAll { $0.slot == slot && $0.bar == old.bar }
                function.placed(bar: old.bar, at: nil)
            }
            for new in wanted where !before.contains(where: { $0.bar == new.bar && $0.range == new.range }) {
                guard !state.placements.contains(where: { $0.range.overlaps(new.range) }) else { continue }
                let index = state.placements.firstIndex { $0.range.lowerBound > new.range.lowerBound }
                state.placements.insert(new, at: index ?? state.placements.endIndex)
                function.placed(bar: new.bar, at: new.range.lowerBound)
            }
        }
    }

    /// The bus now.
    package var saved: PCIRootState {
        state.withLock { state in
            PCIRootState(portAddress: state.portAddress, decoding: Set(state.placements.map(\.slot)).sorted())
        }
    }

    /// Gives the bus its state, when its functions have theirs: their ranges are decoded from here on.
    ///
    /// - Throws: `SnapshotError` where a function that was decoded is not.
    package func restore(_ saved: PCIRootState, _ name: String) throws(SnapshotError) {
        let fields = StateFields(name)
        let found = state.withLock { state in
            state.portAddress = saved.portAddress
            return state.functions
        }
        // First those that were decoded: what overlaps with them was not.
        for slot in saved.decoding {
            guard found.indices.contains(slot), let function = found[slot] else {
                throw fields.refusal("decoding", "the slot \(slot) is empty")
            }
            decode(slot, function)
            let isPlaced = state.withLock { state in state.placements.contains { $0.slot == slot } }
            try fields.check("decoding", isPlaced, "the ranges of the slot \(slot) have no place on the bus")
        }
        for (slot, function) in found.enumerated() { if let function { decode(slot, function) } }
    }

    private func find(_ address: UInt64) -> Placement? {
        state.withLock { state in
            var low = 0
            var high = state.placements.count
            while low < high {
                let middle = (low + high) / 2
                if state.placements[middle].range.upperBound <= address { low = middle + 1 } else { high = middle }
            }
            guard low < state.placements.count, state.placements[low].range.contains(address) else { return nil }
            return state.placements[low]
        }
    }

    /// Reads memory-mapped I/O; nil where no function decodes.
    package func readMemory(_ address: UInt64, size: Int) -> UInt64? {
        guard let place = find(address) else { return nil }
        return place.function.read(bar: place.bar, offset: address - place.range.lowerBound, size: size)
    }

    /// Writes memory-mapped I/O; false where no function decodes.
    package func writeMemory(_ address: UInt64, size: Int, value: UInt64) -> Bool {
        guard let place = find(address) else { return false }
        place.function.write(bar: place.bar, offset: address - place.range.lowerBound, size: size, value: value)
        return true
    }
}
