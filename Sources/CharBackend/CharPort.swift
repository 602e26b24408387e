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
/// The last output stays here for clients who attach to the line beside its backend.
package final class CharPort: Sendable {
    /// Bytes of output that wait at most, and that a client who attaches is told of.
    package static let capacity = OutputRing.capacity

    private struct Output {
        var ring = OutputRing()
        var wasFull = false
        /// Whether the last output came as a single byte.
        var isByteWise = false
        var dropped: UInt64 = 0
        /// Whether clients want to hear of output, and whether the I/O thread knows already that there is some.
        var isWatched = false, isAnnounced = false

        /// Whether the I/O thread has to be told of the output that came just now.
        mutating func mustWake(first: Bool) -> Bool {
            guard isWatched, !isAnnounced else { return first }
            isAnnounced = true
            return true
        }
    }

    private let output = Mutex(Output())
    private let receiver = Mutex<(any CharReceiver)?>(nil)
    private let received = Atomic<UInt64>(0)
    private let wake: EventFD
    /// Without a backend to write to, output is only kept for clients.
    private let discards: Bool
    /// Who is attached.
    let clients: CharClients

    /// - Parameter start: starts the I/O thread, unless it runs.
    init(wake: EventFD, discards: Bool, start: @escaping @Sendable () throws(HostError) -> Void = {}) {
        self.wake = wake
        self.discards = discards
        clients = CharClients(wake: wake, start: start)
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
            || output.withLock { output in
                if output.ring.pending < Self.capacity { return true }
                output.wasFull = true
                return false
            }
    }

    /// Queues a byte; false when there is no room, and then it is lost unless the caller keeps it.
    @discardableResult
    package func write(_ byte: UInt8) -> Bool {
        let (written, mustWake) = output.withLock { output -> (Bool, Bool) in
            if discards {
                output.ring.keep(byte)
                return (true, output.mustWake(first: false))
            }
            output.isByteWise = true
            guard output.ring.append(byte) else {
                output.wasFull = true
                output.dropped += 1
                return (false, false)
            }
            return (true, output.mustWake(first: output.ring.pending == 1))
        }
        if mustWake { wake.signal() }
        return written
    }

    /// Queues as many of the bytes as find room.
    ///
    /// - Returns: how many.
    package func write(_ bytes: Span<UInt8>) -> Int {
        let (taken, mustWake) = output.withLock { output -> (Int, Bool) in
            if discards {
                output.ring.keep(bytes)
                return (bytes.count, !bytes.isEmpty && output.mustWake(first: false))
            }
            output.isByteWise = false
            let wasEmpty = output.ring.pending == 0
            let taken = output.ring.append(bytes)
            if taken < bytes.count { output.wasFull = true }
            return (taken, taken > 0 && output.mustWake(first: wasEmpty))
        }
        if mustWake { wake.signal() }
        return taken
    }

    /// Bytes that were lost because the other side did not take them in time.
    package var dropped: UInt64 { output.withLock { $0.dropped } }
    /// Bytes that the guest wrote, those that were lost left out.
    package var written: UInt64 { output.withLock { $0.ring.end } }
    /// Bytes that went to the guest.
    package var delivered: UInt64 { received.load(ordering: .relaxed) }

    // MARK: The I/O thread's side

    package var pendingCount: Int { output.withLock { $0.ring.pending } }

    /// Whether it pays to wait a little for more output. The driver of a UART writes its text byte by byte, and the first
    /// one wakes the I/O thread: those that come within the time that a UART takes for a byte, 87 µs at 115,200 Bd, cost
    /// neither the guest nor anybody else a further switch.
    var mayGather: Bool { output.withLock { $0.isByteWise && 1..<Self.fewBytes ~= $0.ring.pending } }

    /// So much output does not wait for more.
    private static let fewBytes = 1024

    /// A copy of the oldest pending bytes.
    func pending(limit: Int) -> [UInt8] { output.withLock { $0.ring.oldestPending(limit: limit) } }

    /// The oldest bytes were written or thrown away.
    func consume(_ count: Int) {
        let drained = output.withLock { output -> Bool in
            output.ring.consume(count)
            // Half empty before the guest is told, so that it is not told for every byte.
            guard output.wasFull, output.ring.pending <= Self.capacity / 2 else { return false }
            output.wasFull = false
            return true
        }
        if drained { receiver.withLock { $0 }?.outputDrained() }
    }

    /// Whether clients are to hear of output that comes after this call.
    func watch(_ on: Bool) { output.withLock { ($0.isWatched, $0.isAnnounced) = (on, false) } }

    /// The output after a position: how much of it is gone already, and the bytes.
    func read(from position: UInt64, limit: Int) -> (skipped: UInt64, bytes: [UInt8]) {
        output.withLock { $0.ring.read(from: position, limit: limit) }
    }

    var inputRoom: Int { receiver.withLock { $0 }?.inputRoom ?? 0 }

    func deliver(_ bytes: [UInt8]) {
        guard let device = receiver.withLock({ $0 }) else { return }
        device.receive(bytes)
        received.wrappingAdd(UInt64(bytes.count), ordering: .relaxed)
    }
}
