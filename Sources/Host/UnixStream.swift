import CLinux

/// One end of a connected Unix stream socket, on which descriptors travel beside the bytes (SCM_RIGHTS, unix(7)).
package struct UnixStream: ~Copyable, Sendable {
    private let file: FileDescriptor

    /// Takes over a connected socket.
    package init(owning file: consuming FileDescriptor) { self.file = file }

    /// Connects to a listening socket; the stream blocks.
    package static func connect(path: String) throws(HostError) -> UnixStream {
        let file = FileDescriptor(owning: try checked(cl_unix_socket(), "create a socket"))
        // SAFETY: the path's bytes live through the call.
        _ = try checked(unsafe cl_unix_connect(file.raw, path), "connect to the socket", path)
        return UnixStream(owning: file)
    }

    /// Two ends that are connected with each other, given to the body; they block.
    package static func withPair<Result, Failure: Error>(
        _ body: (consuming UnixStream, consuming UnixStream) throws(Failure) -> Result
    ) throws -> Result {
        var ends = (Int32(-1), Int32(-1))
        // SAFETY: the tuple is two integers in a row, which the call fills.
        let result = unsafe withUnsafeMutableBytes(of: &ends) { space in
            unsafe cl_unix_pair(space.baseAddress?.assumingMemoryBound(to: Int32.self))
        }
        _ = try checked(result, "create a pair of sockets")
        return try body(
            UnixStream(owning: FileDescriptor(owning: ends.0)), UnixStream(owning: FileDescriptor(owning: ends.1)))
    }

    /// The socket as a plain descriptor.
    package consuming func take() -> FileDescriptor { file }

    /// The descriptor's number, for epoll and poll; valid as long as this value lives.
    package var raw: Int32 { file.raw }

    /// Who is at the other end.
    package var peer: PeerCredentials? { PeerCredentials(ofSocket: file.raw) }

    /// Sets or clears `O_NONBLOCK`.
    package borrowing func setNonBlocking(_ on: Bool) throws(HostError) { try file.setNonBlocking(on) }

    /// What one call received.
    package struct Received: Sendable {
        /// How many bytes; 0 at the end of the stream.
        package let count: Int
        /// The descriptors that came with the last of them; nil when none did.
        package let descriptors: ReceivedDescriptors?
        /// Whether descriptors came that this process could not take, because it may not open that many files.
        package let descriptorsLost: Bool
    }

    /// Receives at most the span's length, and the descriptors that come with the bytes, close-on-exec.
    ///
    /// The kernel ends a call's bytes with those that descriptors were sent with, so those belong to the last byte.
    /// - Throws: the errno, `EAGAIN` included; an interrupted call is repeated.
    package borrowing func receive(into span: inout MutableSpan<UInt8>) throws(Errno) -> Received {
        var descriptors = InlineArray<253, Int32>(repeating: -1)
        var (number, lost): (Int, Int32) = (0, 0)
        // SAFETY: the span names initialised memory that is exclusively ours during the call, and the array has the
        // room for CL_DESCRIPTORS_AT_ONCE numbers that the call may fill.
        let result = unsafe span.withUnsafeMutableBufferPointer { bytes in
            unsafe withUnsafeMutableBytes(of: &descriptors) { space in
                unsafe cl_receive(
                    file.raw, bytes.baseAddress, bytes.count, space.baseAddress?.assumingMemoryBound(to: Int32.self),
                    &number, &lost)
            }
        }
        guard result >= 0 else { throw Errno(Int32(truncatingIfNeeded: -result)) }
        var received: ReceivedDescriptors?
        if number > 0 { received = ReceivedDescriptors(owning: (0..<number).map { descriptors[$0] }) }
        return Received(count: result, descriptors: received, descriptorsLost: lost != 0)
    }

    /// Sends what the kernel takes of the span and says how much it was.
    ///
    /// - Parameter descriptors: copies of these travel with the first byte; at most 253, and not without a byte.
    /// - Throws: the errno, `EAGAIN` included, `EPIPE` when nobody reads any more (without a signal).
    package borrowing func send(_ span: Span<UInt8>, descriptors: [Int32] = []) throws(Errno) -> Int {
        // SAFETY: the span and the array name memory that lives through the call.
        let result = unsafe span.withUnsafeBufferPointer { bytes in
            unsafe descriptors.withUnsafeBufferPointer { list in
                unsafe cl_send(file.raw, bytes.baseAddress, bytes.count, list.baseAddress, list.count)
            }
        }
        guard result >= 0 else { throw Errno(Int32(truncatingIfNeeded: -result)) }
        return result
    }

    /// Sends all the bytes, waiting as long as it takes on a blocking stream.
    package borrowing func sendAll(_ bytes: [UInt8], descriptors: [Int32] = []) throws(Errno) {
        var done = 0
        while done < bytes.count {
            let rest = bytes.span.extracting(done..<bytes.count)
            done += try send(rest, descriptors: done == 0 ? descriptors : [])
        }
    }

    /// Ends this side's half: the other side reads the end of the stream after what was sent.
    package borrowing func finishSending() { _ = shutdown(file.raw, Int32(SHUT_WR)) }
}
