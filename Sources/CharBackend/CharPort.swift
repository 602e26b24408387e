import Host
import Synchronization

/// A character device of the guest, seen from its backend.
package protocol CharReceiver: AnyObject, Sendable {
    /// How many bytes it takes now. Called on the I/O thread.
    var inputRoom: Int { get }
    /// Bytes from outside, at most `inputRoom`. Called on the I/O thread.
    func receive(_ bytes: [UInt8])
    /// There is room for output again after there was none. Called on the I/O thread.
    func outputDrained()
}

/// The line between a guest's character device and the host: what the guest writes waits here for the I/O thread.
///
/// Writing never blocks and makes no system call but the wake-up of an idle I/O thread, so that vCPU threads may do it.
package final class CharPort: Sendable {
    /// Bytes of output that wait at most.
    package static let capacity = 64 << 10

    private struct Ring {
        var bytes: [UInt8] = []
        var start = 0
        var count = 0
        var wasFull = false
        var dropped: UInt64 = 0
    }

    private let ring = Mutex(Ring())
    private let receiver = Mutex<(any CharReceiver)?>(nil)
    private let wake: EventFD
    /// Without anybody to write to, output goes nowhere at once.
    private let discards: Bool

    init(wake: EventFD, discards: Bool) {
        self.wake = wake
        self.discards = discards
    }

    /// Names the device that gets the input; nil when it goes away.
    package func connect(_ device: (any CharReceiver)?) {
        receiver.withLock { $0 = device }
        wake.signal()
    }

    /// The device has room for input again.
    package func inputRoomAvailable() { wake.signal() }

    /// Whether a byte finds room.
    package var hasRoom: Bool {
        discards
            || ring.withLock { ring in
                if ring.count < Self.capacity { return true }
                ring.wasFull = true
                return false
            }
    }

    /// Queues a byte; false when there is no room, and then it is lost unless the caller keeps it.
    @discardableResult
    package func write(_ byte: UInt8) -> Bool {
        if discards { return true }
        let (written, first) = ring.withLock { ring -> (Bool, Bool) in
            guard ring.count < Self.capacity else {
                ring.wasFull = true
                ring.dropped += 1
                return (false, false)
            }
            if ring.bytes.isEmpty { ring.bytes = [UInt8](repeating: 0, count: Self.capacity) }
            ring.bytes[(ring.start + ring.count) % Self.capacity] = byte
            ring.count += 1
            return (true, ring.count == 1)
        }
        if first { wake.signal() }
        return written
    }

    /// Queues as many of the bytes as find room.
    ///
    /// - Returns: how many.
    package func write(_ bytes: Span<UInt8>) -> Int {
        if discards { return bytes.count }
        let (taken, first) = ring.withLock { ring -> (Int, Bool) in
            let taken = min(bytes.count, Self.capacity - ring.count)
            if taken < bytes.count { ring.wasFull = true }
            guard taken > 0 else { return (0, false) }
            if ring.bytes.isEmpty { ring.bytes = [UInt8](repeating: 0, count: Self.capacity) }
            for index in 0..<taken { ring.bytes[(ring.start + ring.count + index) % Self.capacity] = bytes[index] }
            let first = ring.count == 0
            ring.count += taken
            return (taken, first)
        }
        if first { wake.signal() }
        return taken
    }

    /// Bytes that were lost because the other side did not take them in time.
    package var dropped: UInt64 { ring.withLock { $0.dropped } }

    // MARK: The I/O thread's side

    var pendingCount: Int { ring.withLock { $0.count } }

    /// A copy of the oldest pending bytes.
    func pending(limit: Int) -> [UInt8] {
        ring.withLock { ring in
            let count = min(ring.count, limit)
            return (0..<count).map { ring.bytes[(ring.start + $0) % Self.capacity] }
        }
    }

    /// The oldest bytes were written or thrown away.
    func consume(_ count: Int) {
        let drained = ring.withLock { ring -> Bool in
            let taken = min(count, ring.count)
            ring.start = (ring.start + taken) % Self.capacity
            ring.count -= taken
            // Half empty before the guest is told, so that it is not told for every byte.
            guard ring.wasFull, ring.count <= Self.capacity / 2 else { return false }
            ring.wasFull = false
            return true
        }
        if drained { receiver.withLock { $0 }?.outputDrained() }
    }

    var inputRoom: Int { receiver.withLock { $0 }?.inputRoom ?? 0 }

    func deliver(_ bytes: [UInt8]) { receiver.withLock { $0 }?.receive(bytes) }
}
