import Host
import Synchronization

/// Somebody who reads a character device's output beside its backend. Called on the I/O thread; must not block.
package protocol CharClient: AnyObject, Sendable {
    /// Output of the guest; false when it does not take it now, and then none of it.
    func take(_ bytes: [UInt8]) -> Bool
    /// The device is gone; nothing more will come.
    func end()
}

extension CharPort {
    /// Attaches a client: it gets the last output, up to `capacity` bytes, and from then on all that comes.
    ///
    /// The guest never waits for a client. One that is so slow that output is gone before it takes it gets a line that
    /// says how much it missed.
    ///
    /// - Returns: the client's way to the guest.
    /// - Throws: when the I/O thread cannot be started.
    package func attach(_ client: any CharClient) throws(HostError) -> CharAttachment { try clients.add(client) }
}

/// A client's stay at a line.
package final class CharAttachment: Sendable {
    /// Bytes of input that wait for the guest at most.
    package static let capacity = 4096

    private struct State {
        /// The position of the output that is to go next; nil before the first look.
        var position: UInt64?
        /// How much was gone when it should have gone, untold yet.
        var missed: UInt64 = 0
        /// ms until the client is asked again after it took nothing.
        var pause: Int32 = 0
        /// When it may be asked again, in ns of the monotonic clock.
        var notBefore: UInt64 = 0
        var input: [UInt8] = []
        var isGone = false
    }

    private let client: any CharClient
    private let wake: EventFD
    private let state = Mutex(State())
    private static let chunk = 16 << 10
    private static let longestPause: Int32 = 320

    init(_ client: any CharClient, wake: EventFD) { (self.client, self.wake) = (client, wake) }

    /// How many bytes of input find room now.
    package var room: Int { state.withLock { $0.isGone ? 0 : Self.capacity - $0.input.count } }

    /// Queues input for the guest, which gets it when it has room, mixed with what others write; what is more than
    /// `room` is lost.
    package func write(_ bytes: [UInt8]) {
        state.withLock { state in
            guard !state.isGone else { return }
            state.input += bytes.prefix(Self.capacity - state.input.count)
        }
        wake.signal()
    }

    /// Ends the stay; from any thread. What the client wrote before it still reaches the guest.
    package func detach() {
        state.withLock { $0.isGone = true }
        wake.signal()
    }

    // MARK: The I/O thread's side

    var isGone: Bool { state.withLock { $0.isGone } }
    var hasInput: Bool { state.withLock { !$0.input.isEmpty } }

    /// Takes at most `limit` bytes of the input.
    func input(limit: Int) -> [UInt8] {
        state.withLock { state in
            let taken = Array(state.input.prefix(limit))
            state.input.removeFirst(taken.count)
            return taken
        }
    }

    /// Hands the client the output that it has not seen.
    ///
    /// - Returns: ms after which to try again because it takes no more now; nil when it has all.
    func pump(_ port: CharPort) -> Int32? {
        // The state is copied: the client is called without the lock, and this thread alone changes these fields.
        var (position, missed, pause, notBefore) = state.withLock {
            ($0.position, $0.missed, $0.pause, $0.notBefore)
        }
        defer {
            state.withLock {
                ($0.position, $0.missed, $0.pause, $0.notBefore) = (position, missed, pause, notBefore)
            }
        }
        let now = HostClock.monotonic
        if notBefore > now { return Int32(clamping: (notBefore - now) / 1_000_000 + 1) }
        while true {
            let (skipped, bytes) = port.read(from: position ?? 0, limit: Self.chunk)
            // A newcomer begins with the oldest output there is: it missed nothing.
            if position != nil { missed += skipped }
            let start = (position ?? 0) + skipped
            position = start
            guard !bytes.isEmpty else {
                pause = 0
                return nil
            }
            guard client.take(missed > 0 ? Self.notice(missed) + bytes : bytes) else {
                pause = min(max(pause * 2, 10), Self.longestPause)
                notBefore = now + UInt64(pause) * 1_000_000
                return pause
            }
            (missed, pause) = (0, 0)
            position = start + UInt64(bytes.count)
        }
    }

    private static func notice(_ count: UInt64) -> [UInt8] {
        Array("\r\n[swiftlet: \(count) bytes of output were skipped: they came faster than they were read]\r\n".utf8)
    }

    func end() {
        state.withLock { $0.isGone = true }
        client.end()
    }
}

/// The clients of a line.
final class CharClients: Sendable {
    private struct State {
        var attached: [CharAttachment] = []
        var isOver = false
    }

    private let state = Mutex(State())
    /// How many clients that left may have input for the guest; of more, the oldest lose theirs.
    private static let mostLeavers = 16
    private let wake: EventFD
    private let start: @Sendable () throws(HostError) -> Void

    init(wake: EventFD, start: @escaping @Sendable () throws(HostError) -> Void) {
        (self.wake, self.start) = (wake, start)
    }

    func add(_ client: any CharClient) throws(HostError) -> CharAttachment {
        let attachment = CharAttachment(client, wake: wake)
        let isOver = state.withLock { state in
            if !state.isOver { state.attached.append(attachment) }
            return state.isOver
        }
        if isOver {
            attachment.end()
        } else {
            try start()
            wake.signal()
        }
        return attachment
    }

    /// Carries the clients' input to the device and the device's output to the clients; on the I/O thread.
    ///
    /// - Returns: ms after which to try again though nothing happened; nil for never.
    func serve(_ port: CharPort) -> Int32? {
        let attached = state.withLock { state in
            if state.attached.contains(where: \.isGone) { Self.dropLeavers(&state.attached) }
            // Whose turn was first is last the next time.
            if state.attached.count > 1 { state.attached.append(state.attached.removeFirst()) }
            return state.attached
        }
        // Before the output is looked at: what comes after it is announced again.
        port.watch(!attached.isEmpty)
        var again: Int32?
        for client in attached {
            // Until there is no room at a look: the guest tells of what it makes room for from then on, and not of what it
            // has taken meanwhile.
            while client.hasInput {
                let room = port.inputRoom
                guard room > 0 else { break }
                port.deliver(client.input(limit: room))
            }
            if !client.isGone, let pause = client.pump(port) { again = min(again ?? pause, pause) }
        }
        return again
    }

    /// Drops those who are gone, but keeps the last of them as long as they have input for the guest.
    private static func dropLeavers(_ attached: inout [CharAttachment]) {
        attached.removeAll { $0.isGone && !$0.hasInput }
        var excess = attached.count(where: \.isGone) - mostLeavers
        guard excess > 0 else { return }
        attached.removeAll {
            guard excess > 0, $0.isGone else { return false }
            excess -= 1
            return true
        }
    }

    /// Tells the clients that the line is gone.
    func end() {
        let attached = state.withLock { state in
            state.isOver = true
            defer { state.attached = [] }
            return state.attached
        }
        for client in attached where !client.isGone { client.end() }
    }
}
