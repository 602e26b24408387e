import CLinux

/// Why bytes do not go over a stream.
package enum StreamFault: Error, Equatable, Sendable, CustomStringConvertible {
    /// The peer did not take or send them in time.
    case timeUp
    /// The peer has closed the stream.
    case closed
    /// Whoever waits for it gave up.
    case cancelled
    /// The kernel refused.
    case host(Errno)
    /// The peer could not show who it is, did not take what was shown to it, or what came was changed on the way.
    case untrusted(String)
    /// The peer does not encrypt.
    case unencrypted

    package var description: String {
        switch self {
        case .timeUp: "the peer did not answer in time"
        case .closed: "the peer closed the connection"
        case .cancelled: "it was cancelled"
        case .host(let errno): "the connection broke: \(errno)"
        case .untrusted(let words): "TLS: \(words)"
        case .unencrypted: "the peer speaks no TLS; give both ends a tls_dir, or neither"
        }
    }
}

/// How long a call may wait, and what ends the waiting before.
struct StreamWait {
    private let time: TimeLeft
    private let stop: EventFD?

    init(_ milliseconds: Int?, _ stop: EventFD?) { (time, self.stop) = (TimeLeft(milliseconds), stop) }

    /// Sleeps for a few ms where no descriptor tells when to go on.
    func rest() throws(StreamFault) {
        if let stop, stop.isPending { throw .cancelled }
        if time.milliseconds == 0 { throw .timeUp }
        HostClock.sleep(milliseconds: 5)
    }

    /// Waits until the descriptor can be read or written.
    func wait(_ descriptor: Int32, forReading: Bool) throws(StreamFault) {
        while true {
            let left = time.milliseconds
            if left == 0 { throw .timeUp }
            var entries = [PollEntry(descriptor, forReading: forReading, forWriting: !forReading)]
            if let stop { entries.append(PollEntry(stop.raw, forReading: true)) }
            PollEntry.wait(&entries, timeout: left.map { Int32(clamping: $0) } ?? -1)
            if entries.count > 1, entries[1].isReadable { throw .cancelled }
            // Nothing is when the time is up, and a socket that still connects has no error to tell either.
            if entries[0].isReadable || entries[0].isWritable || entries[0].isHungUp { return }
        }
    }
}

/// A connected stream socket.
package final class StreamConnection: ByteStream {
    private let file: FileDescriptor
    package let descriptors = ReceivedDescriptors()

    /// The descriptor's number; valid as long as this object lives.
    package var raw: Int32 { file.raw }

    /// Takes over a connected socket, which must not block.
    package init(owning file: consuming FileDescriptor) { self.file = file }

    /// Two ends that are connected with each other.
    package static func pair() throws -> (StreamConnection, StreamConnection) {
        try UnixStream.withPair { left, right in
            try left.setNonBlocking(true)
            try right.setNonBlocking(true)
            return (StreamConnection(owning: left.take()), StreamConnection(owning: right.take()))
        }
    }

    /// Connects to a listener.
    ///
    /// - Throws: `StreamFault`: `host` with `ECONNREFUSED` or `ENOENT` where nobody listens.
    package static func connect(
        _ address: StreamAddress, within milliseconds: Int, heeding stop: EventFD?
    ) throws(StreamFault) -> StreamConnection {
        let wait = StreamWait(milliseconds, stop)
        switch address {
        case .unix(let path):
            while true {
                do throws(Errno) {
                    let file = try UnixConnection.connect(path)
                    cl_stream_prepare(file.raw)
                    return StreamConnection(owning: file)
                } catch {
                    guard error == .wouldBlock else { throw .host(error) }
                }
                // The listener's backlog is full, which poll(2) does not tell of.
                try wait.rest()
            }
        case .tcp(let host, let port):
            // SAFETY: the string's bytes live through the call.
            let raw = unsafe cl_tcp_connect(host, port)
            guard raw >= 0 else { throw .host(Errno(-raw)) }
            let connection = StreamConnection(owning: FileDescriptor(owning: raw))
            try wait.wait(raw, forReading: false)
            let error = cl_socket_error(raw)
            guard error == 0 else { throw .host(Errno(-error)) }
            return connection
        }
    }

    package func send(
        _ range: HostRange, within milliseconds: Int?, heeding stop: EventFD? = nil
    ) throws(StreamFault) {
        let wait = StreamWait(milliseconds, stop)
        var done = 0
        while done < range.count {
            // SAFETY: `done` is below the range's length, and its owner keeps it mapped.
            let sent = unsafe cl_send(file.raw, range.base + done, range.count - done, nil, 0)
            if sent >= 0 {
                done += sent
                continue
            }
            try waitAfter(Int32(truncatingIfNeeded: -sent), wait, forReading: false)
        }
    }

    package func send(
        _ bytes: [UInt8], descriptors: [Int32] = [], within milliseconds: Int?, heeding stop: EventFD? = nil
    ) throws(StreamFault) {
        let wait = StreamWait(milliseconds, stop)
        var done = 0
        while done < bytes.count {
            let beside = done == 0 ? descriptors : []
            // SAFETY: the arrays' elements live through the call.
            let sent = unsafe bytes.withUnsafeBytes { space in
                unsafe beside.withUnsafeBufferPointer { list in
                    unsafe cl_send(
                        file.raw, space.baseAddress.map { unsafe $0 + done }, space.count - done, list.baseAddress,
                        list.count)
                }
            }
            if sent >= 0 {
                done += sent
                continue
            }
            try waitAfter(Int32(truncatingIfNeeded: -sent), wait, forReading: false)
        }
    }

    package func receive(
        into range: HostRange, within milliseconds: Int?, heeding stop: EventFD? = nil
    ) throws(StreamFault) {
        let wait = StreamWait(milliseconds, stop)
        var done = 0
        while done < range.count {
            var numbers = InlineArray<253, Int32>(repeating: -1)
            var (count, lost): (Int, Int32) = (0, 0)
            // SAFETY: `done` is below the range's length, and its owner keeps it mapped; the array has the room for
            // CL_DESCRIPTORS_AT_ONCE numbers that the call may fill.
            let got = unsafe withUnsafeMutableBytes(of: &numbers) { space in
                unsafe cl_receive(
                    file.raw, range.base + done, range.count - done,
                    space.baseAddress?.assumingMemoryBound(to: Int32.self), &count, &lost)
            }
            if count > 0 { descriptors.append(owning: (0..<count).map { numbers[$0] }) }
            if got == 0 { throw .closed }
            if got > 0 {
                done += got
                continue
            }
            try waitAfter(Int32(truncatingIfNeeded: -got), wait, forReading: true)
        }
    }

    private func waitAfter(_ error: Int32, _ wait: StreamWait, forReading: Bool) throws(StreamFault) {
        switch error {
        case EAGAIN: try wait.wait(file.raw, forReading: forReading)
        case EPIPE, ECONNRESET: throw .closed
        default: throw .host(Errno(error))
        }
    }

    package func shutDown() { file.shutDown(.both) }
}

extension StreamConnection {
    package var hasInput: Bool {
        var entries = [PollEntry(raw, forReading: true)]
        PollEntry.wait(&entries, timeout: 0)
        return entries[0].isReadable || entries[0].isHungUp
    }
}

extension StreamConnection {
    package func drain(milliseconds: Int) {
        file.shutDown(.writing)
        let wait = StreamWait(milliseconds, nil)
        var bytes = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            // SAFETY: the array has the room that the call is told of.
            let got = unsafe bytes.withUnsafeMutableBytes { space in unsafe recv(raw, space.baseAddress, space.count, 0)
            }
            if got == 0 { return }
            if got > 0 { continue }
            let errno = Errno.current
            guard errno == .wouldBlock || errno == .interrupted else { return }
            do throws(StreamFault) { try wait.wait(raw, forReading: true) } catch { return }
        }
    }
}

extension StreamConnection {
    /// Receives what is there, at least a byte, without the descriptors beside it.
    ///
    /// - Parameters:
    ///   - limit: the most bytes, above zero.
    ///   - milliseconds: how long to wait for the first; 0 does not wait, nil waits for ever.
    package func receiveSome(
        upTo limit: Int, within milliseconds: Int?, heeding stop: EventFD? = nil
    ) throws(StreamFault) -> [UInt8] {
        let wait = StreamWait(milliseconds, stop)
        while true {
            var got = 0
            // SAFETY: the array has the room that the call is told of, and is said to hold what the call filled.
            let bytes = unsafe [UInt8](unsafeUninitializedCapacity: limit) { space, count in
                got = unsafe recv(raw, space.baseAddress, limit, 0)
                count = max(0, got)
            }
            if got > 0 { return bytes }
            if got == 0 { throw .closed }
            try waitAfter(Errno.current.number, wait, forReading: true)
        }
    }
}
