/// What every packet begins with (virtio 1.2 section 5.10.6): 44 bytes, little-endian.
package struct VsockHeader: BitwiseCopyable, Equatable, Sendable {
    /// Context ids: the guest's, or 2 for the host.
    package var sourceCID: UInt64 = 0, targetCID: UInt64 = 0
    package var sourcePort: UInt32 = 0, targetPort: UInt32 = 0
    /// Bytes of payload behind the header.
    package var length: UInt32 = 0
    /// The kind of socket: 1 is a stream.
    package var type: UInt16 = 0
    /// One of ``VsockOperation``'s numbers.
    package var operation: UInt16 = 0
    package var flags: UInt32 = 0
    /// The sender's receive buffer in bytes, and how many bytes it has ever taken out of it, modulo 2^32 (5.10.6.3).
    package var bufferSize: UInt32 = 0, forwarded: UInt32 = 0

    package init() {}

    /// Its size in guest memory, in bytes.
    package static let size = 44
    /// The type of stream sockets.
    package static let stream: UInt16 = 1
    /// The host's context id.
    package static let host: UInt64 = 2
    /// SHUTDOWN's flags: the sender will receive, or send, no more (5.10.6.6).
    package static let receivesNoMore: UInt32 = 1, sendsNoMore: UInt32 = 2
}

/// What a packet is for.
package enum VsockOperation: UInt16, Sendable {
    case request = 1
    case response = 2
    case reset = 3
    case shutdown = 4
    case readWrite = 5
    case creditUpdate = 6
    case creditRequest = 7
}

/// The two ports that name a connection between this host and its guest.
struct VsockPorts: Hashable, Sendable {
    let host: UInt32, guest: UInt32
}
