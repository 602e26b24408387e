import Host
import Synchronization

/// A stream that nobody between its two ends can read or change: TLS over a socket.
///
/// Its end is not announced: whoever uses it says what is to come and when all of it has, so that a stream that ends early
/// is noticed.
package final class SecureConnection: ByteStream {
    /// The most bytes that are encrypted, or looked at, in one go.
    static let chunk = 256 << 10

    private struct State {
        let engine: TLSEngine
        /// Whether a thread takes bytes from the socket.
        var isReceiving = false
        /// What kept a part of a record from going out: nothing may follow it.
        var broken: StreamFault?
    }

    private let line: StreamConnection
    private let names: PeerNames
    /// Held while bytes are encrypted and decrypted, not while they are on their way.
    private let state: Mutex<State>

    init(_ line: StreamConnection, _ engine: sending TLSEngine, _ names: PeerNames) {
        (self.line, self.names) = (line, names)
        state = Mutex(State(engine: engine))
    }

    package var raw: Int32 { line.raw }
    /// None comes beside bytes that are encrypted.
    package let descriptors = ReceivedDescriptors()

    /// What became of the stream; nil while it is sound. All that was decrypted before comes first.
    private func fault(_ state: borrowing State) -> StreamFault? {
        if let failure = state.engine.failure { return names.explain(failure, state.engine) }
        return state.engine.isClosed ? .closed : nil
    }

    // MARK: Handshake

    /// Agrees with the peer, each having shown its certificate.
    func shakeHands(within milliseconds: Int, heeding stop: EventFD?) throws(StreamFault) {
        let time = TimeLeft(milliseconds)
        do throws(StreamFault) {
            state.withLock { $0.engine.start() }
            var isFirst = true
            while true {
                let (output, isDone, fault) = state.withLock { state in
                    (state.engine.takeOutput(), state.engine.isEstablished, self.fault(state))
                }
                // What is wrong goes to the peer before it is told here.
                if !output.isEmpty { try line.send(output, within: time.milliseconds, heeding: stop) }
                if let fault { throw fault }
                if isDone { return }
                let bytes = try pull(within: time.milliseconds, heeding: stop) { bytes throws(StreamFault) in
                    // A record of a handshake, or an alert. (RFC 8446, 5.1)
                    guard !isFirst || bytes.first == 0x16 || bytes.first == 0x15 else { throw .unencrypted }
                }
                if bytes > 0 { isFirst = false }
            }
        } catch {
            if case .untrusted = error { line.drain(milliseconds: 100) }
            throw error == .timeUp ? .untrusted("the peer did not finish the handshake in time") : error
        }
    }

    /// Takes bytes from the socket and decrypts them; of a stream that has ended, notes that.
    ///
    /// - Returns: how many came.
    private func pull(
        within milliseconds: Int?, heeding stop: EventFD?, _ look: ([UInt8]) throws(StreamFault) -> Void = { _ in }
    ) throws(StreamFault) -> Int {
        let bytes: [UInt8]
        do throws(StreamFault) {
            bytes = try line.receiveSome(upTo: Self.chunk, within: milliseconds, heeding: stop)
        } catch {
            guard error == .closed else { throw error }
            state.withLock { $0.engine.peerClosed() }
            return 0
        }
        try look(bytes)
        state.withLock { $0.engine.feed(bytes) }
        return bytes.count
    }

    // MARK: Sending

    package func send(
        _ range: HostRange, within milliseconds: Int?, heeding stop: EventFD?
    ) throws(StreamFault) {
        let time = TimeLeft(milliseconds)
        var done = 0
        while done < range.count {
            let end = min(done + Self.chunk, range.count)
            try sendSealed(range.part(done..<end).bytes, time, stop)
            done = end
        }
    }

    package func send(
        _ bytes: [UInt8], descriptors: [Int32], within milliseconds: Int?, heeding stop: EventFD?
    ) throws(StreamFault) {
        guard descriptors.isEmpty else { throw .host(.notSupported) }
        let time = TimeLeft(milliseconds)
        var rest = bytes[...]
        while !rest.isEmpty {
            try sendSealed(Array(rest.prefix(Self.chunk)), time, stop)
            rest = rest.dropFirst(Self.chunk)
        }
    }

    private func sendSealed(_ bytes: [UInt8], _ time: TimeLeft, _ stop: EventFD?) throws(StreamFault) {
        let (output, fault) = state.withLock { state -> ([UInt8], StreamFault?) in
            if let broken = state.broken { return ([], broken) }
            let before = self.fault(state)
            if before == nil { state.engine.seal(bytes) }
            // Also of a stream that has failed: the alert that says why.
            return (state.engine.takeOutput(), before ?? self.fault(state))
        }
        do throws(StreamFault) {
            if !output.isEmpty { try line.send(output, within: time.milliseconds, heeding: stop) }
        } catch {
            state.withLock { $0.broken = error }
            // The peer may have said why it closes the stream.
            if error == .closed, isOver(), let reason = state.withLock({ self.fault($0) }) { throw reason }
            throw error
        }
        if let fault { throw fault }
    }

    // MARK: Receiving

    package func receive(
        into range: HostRange, within milliseconds: Int?, heeding stop: EventFD?
    ) throws(StreamFault) {
        let time = TimeLeft(milliseconds)
        while !beginReceiving() {
            // Another thread looks whether something is there, which does not take long.
            HostClock.sleep(microseconds: 50)
        }
        defer { endReceiving() }
        var done = 0
        while done < range.count {
            let (bytes, fault) = state.withLock { state -> ([UInt8], StreamFault?) in
                let bytes = state.engine.takeInput(upTo: range.count - done)
                return (bytes, bytes.isEmpty ? self.fault(state) : nil)
            }
            if let fault { throw fault }
            if bytes.isEmpty {
                _ = try pull(within: time.milliseconds, heeding: stop)
            } else {
                range.fill(bytes, at: done)
                done += bytes.count
            }
        }
    }

    private func beginReceiving() -> Bool {
        state.withLock { state in
            defer { state.isReceiving = true }
            return !state.isReceiving
        }
    }

    private func endReceiving() { state.withLock { $0.isReceiving = false } }

    /// Whether bytes of the peer's wait, or its end. That a record came does not tell: TLS sends some of its own.
    package var hasInput: Bool {
        if state.withLock({ $0.engine.hasInput || self.fault($0) != nil }) { return true }
        return isOver() || state.withLock { $0.engine.hasInput }
    }

    /// Looks at what is there without waiting.
    ///
    /// - Returns: whether the stream has ended or failed.
    private func isOver() -> Bool {
        // A thread that waits for bytes sees them first.
        guard beginReceiving() else { return false }
        defer { endReceiving() }
        do throws(StreamFault) {
            _ = try pull(within: 0, heeding: nil)
        } catch {
            return error != .timeUp
        }
        return state.withLock { self.fault($0) != nil }
    }

    // MARK: Ending

    package func shutDown() { line.shutDown() }
    package func drain(milliseconds: Int) { line.drain(milliseconds: milliseconds) }
}
