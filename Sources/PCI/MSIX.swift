import Host
import KVM
import Snapshot

/// One vector's line in the MSI-X table (PCI 3.0 section 6.8.2).
package struct MSIXEntry: Equatable, Sendable {
    /// Where the message goes.
    package var message = MSIMessage(addressLow: 0, addressHigh: 0, data: 0)
    /// Whether the vector is held back; so it starts.
    package var masked = true

    package init() {}
}

/// The registers of an MSI-X capability: with the pending bits, all that a snapshot needs.
package struct MSIXState: Equatable, Sendable {
    /// The table.
    package var entries: [MSIXEntry]
    /// The message control word's enable and function mask bits.
    package var enabled = false, functionMasked = false

    package init(vectors: Int) { entries = Array(repeating: MSIXEntry(), count: vectors) }
}

/// What a snapshot keeps of a function's vectors.
package struct SavedMSIX: Codable, Equatable, Sendable {
    /// A line of the table, and whether its interrupt waits behind a mask.
    package struct Vector: Codable, Equatable, Sendable {
        package var addressLow: UInt32, addressHigh: UInt32, data: UInt32
        package var masked: Bool, pending: Bool
    }

    /// The table.
    package var vectors: [Vector]
    /// The message control word's bits.
    package var enabled: Bool, functionMasked: Bool
}

/// The vectors of a function: its table, and an eventfd for each that KVM listens on while the vector is unmasked.
///
/// A masked vector's eventfd is disconnected, so the eventfd's own count is its pending bit, and connecting it again
/// delivers what is pending. The function that owns this serialises the calls; the events may be signalled any time.
package struct MSIX: Sendable {
    /// The registers.
    package private(set) var state: MSIXState
    /// Signalled by workers to raise the vector of that number.
    package let events: [EventFD]
    private var routes: [UInt32?]
    private var connected: [Bool]
    private let connector: any InterruptConnector

    /// Makes vectors that are all masked.
    package init(vectors: Int, connector: any InterruptConnector) throws(HostError) {
        state = MSIXState(vectors: vectors)
        var events: [EventFD] = []
        for _ in 0..<vectors { events.append(try EventFD()) }
        self.events = events
        routes = Array(repeating: nil, count: vectors)
        connected = Array(repeating: false, count: vectors)
        self.connector = connector
    }

    /// The table's length in bytes, 16 a vector.
    package var tableSize: Int { 16 * events.count }
    /// The pending bits' length in bytes, in whole 64-bit words.
    package var pendingSize: Int { (events.count + 63) / 64 * 8 }

    /// Takes a new message control word over.
    package mutating func setControl(enabled: Bool, functionMasked: Bool) throws(KVMError) {
        guard (enabled, functionMasked) != (state.enabled, state.functionMasked) else { return }
        (state.enabled, state.functionMasked) = (enabled, functionMasked)
        for vector in events.indices { try update(vector, messageChanged: false) }
    }

    /// Reads the table.
    package func readTable(_ offset: Int, size: Int) -> UInt64 {
        guard size == 4 || size == 8, offset % size == 0, offset >= 0, offset / 16 < state.entries.count else {
            return 0
        }
        if size == 8 { return readTable(offset, size: 4) | readTable(offset + 4, size: 4) << 32 }
        let entry = state.entries[offset / 16]
        return switch offset % 16 {
        case 0: UInt64(entry.message.addressLow)
        case 4: UInt64(entry.message.addressHigh)
        case 8: UInt64(entry.message.data)
        default: entry.masked ? 1 : 0
        }
    }

    /// Writes the table; KVM's routes follow.
    package mutating func writeTable(_ offset: Int, size: Int, value: UInt64) throws(KVMError) {
        guard size == 4 || size == 8, offset % size == 0, offset >= 0, offset / 16 < state.entries.count else {
            return
        }
        if size == 8 {
            try writeTable(offset, size: 4, value: value & 0xFFFF_FFFF)
            return try writeTable(offset + 4, size: 4, value: value >> 32)
        }
        let vector = offset / 16
        let before = state.entries[vector]
        let word = UInt32(truncatingIfNeeded: value)
        switch offset % 16 {
        case 0: state.entries[vector].message.addressLow = word & ~3
        case 4: state.entries[vector].message.addressHigh = word
        case 8: state.entries[vector].message.data = word
        default: state.entries[vector].masked = word & 1 != 0
        }
        try update(vector, messageChanged: before.message != state.entries[vector].message)
    }

    /// Reads the pending bits.
    package func readPending(_ offset: Int, size: Int) -> UInt64 {
        guard offset >= 0, size > 0, size <= 8 else { return 0 }
        var value: UInt64 = 0
        for bit in 0..<(8 * size) {
            let vector = 8 * offset + bit
            if vector < events.count, !connected[vector], events[vector].isPending { value |= 1 << UInt64(bit) }
        }
        return value
    }

    // MARK: Snapshots

    /// The vectors now.
    package var saved: SavedMSIX {
        SavedMSIX(
            vectors: state.entries.enumerated().map { index, entry in
                SavedMSIX.Vector(
                    addressLow: entry.message.addressLow, addressHigh: entry.message.addressHigh,
                    data: entry.message.data, masked: entry.masked,
                    pending: !connected[index] && events[index].isPending)
            }, enabled: state.enabled, functionMasked: state.functionMasked)
    }

    /// Gives the vectors of a new function a state, and KVM its routes.
    ///
    /// - Throws: `SnapshotError` where there are not as many vectors, or KVM refuses a message.
    package mutating func restore(_ saved: SavedMSIX, _ fields: StateFields) throws(SnapshotError) {
        try fields.check(
            "msix.vectors", saved.vectors.count == events.count,
            "\(saved.vectors.count) vectors, where the device has \(events.count)")
        (state.enabled, state.functionMasked) = (saved.enabled, saved.functionMasked)
        for (index, vector) in saved.vectors.enumerated() {
            state.entries[index].message = MSIMessage(
                addressLow: vector.addressLow & ~3, addressHigh: vector.addressHigh, data: vector.data)
            state.entries[index].masked = vector.masked
            // Counted before it is connected, so that it waits as it did, or is delivered where nothing holds it back.
            if vector.pending { events[index].signal() }
            do throws(KVMError) { try update(index, messageChanged: false) } catch {
                throw fields.refusal("msix.vectors[\(index)]", "\(error)")
            }
        }
    }

    private mutating func update(_ vector: Int, messageChanged: Bool) throws(KVMError) {
        let wanted = state.enabled && !state.functionMasked && !state.entries[vector].masked
        if connected[vector], !wanted || messageChanged, let gsi = routes[vector] {
            try connector.disconnect(events[vector], gsi: gsi)
            connected[vector] = false
        }
        if wanted, !connected[vector] {
            routes[vector] = try connector.connect(
                events[vector], state.entries[vector].message, gsi: routes[vector])
            connected[vector] = true
        }
    }

    /// Forgets all messages and what is pending, as a reset does; routes are given back.
    package mutating func reset() throws(KVMError) {
        try setControl(enabled: false, functionMasked: false)
        state = MSIXState(vectors: events.count)
        for (vector, event) in events.enumerated() {
            event.drain()
            if let gsi = routes[vector] { connector.release(gsi: gsi) }
            routes[vector] = nil
        }
    }
}
