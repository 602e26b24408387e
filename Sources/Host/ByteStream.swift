/// Bytes both ways between two peers that do not trust each other: whatever is sent or received has its time.
///
/// One thread sends and one receives at a time; any thread shuts it down.
package protocol ByteStream: AnyObject, Sendable {
    /// The descriptors that came with the bytes, in their order; none where the stream carries none.
    var descriptors: ReceivedDescriptors { get }
    /// The socket, to wait for its end.
    var raw: Int32 { get }
    /// Whether something waits to be received, the stream's end included.
    var hasInput: Bool { get }

    /// Sends a whole range.
    ///
    /// - Parameters:
    ///   - milliseconds: how long that may take; nil for ever.
    ///   - stop: ends the waiting while its counter is above zero.
    func send(_ range: HostRange, within milliseconds: Int?, heeding stop: EventFD?) throws(StreamFault)
    /// Sends bytes, copies of the descriptors beside the first of them.
    func send(
        _ bytes: [UInt8], descriptors: [Int32], within milliseconds: Int?, heeding stop: EventFD?
    ) throws(StreamFault)
    /// Fills a whole range.
    func receive(into range: HostRange, within milliseconds: Int?, heeding stop: EventFD?) throws(StreamFault)
    /// Ends the stream both ways, whoever waits on it.
    func shutDown()
    /// Ends this side's half and reads what the peer still sends, for a while: closing a socket that has unread bytes may
    /// take from the peer what was said last.
    func drain(milliseconds: Int)
}

/// What makes a connection one that nobody between the peers can read or change.
package protocol StreamSecurity: Sendable {
    /// Agrees with the peer on it, each having shown the other who it is.
    ///
    /// - Parameters:
    ///   - connection: just connected or accepted; nothing has gone over it.
    ///   - milliseconds: how long that may take.
    ///   - stop: ends the waiting while its counter is above zero.
    /// - Throws: `StreamFault`: `untrusted` and `unencrypted` where the peer is not who it should be.
    func secure(
        _ connection: StreamConnection, within milliseconds: Int, heeding stop: EventFD?
    ) throws(StreamFault) -> any ByteStream
}
