import Host

/// The host's end of a connection; closed with the last reference.
final class VsockSocket: Sendable {
    let file: FileDescriptor
    init(_ file: consuming FileDescriptor) { self.file = file }
}

/// One connection, or what may become one. A value: all that it holds of the host is its socket.
struct VsockStream: Sendable {
    enum Phase: Sendable {
        /// The place is not in use.
        case free
        /// A client of the listening socket has yet to say which port it wants.
        case handshake
        /// The guest was asked, or is about to be, and has not answered.
        case requested
        /// The guest asked, and the host's listener has no room in its backlog yet.
        case connecting
        case open
        /// Only the reset to the guest is left to be sent.
        case closing
        /// The guest has forgotten it; what it sent last is still on its way to the host.
        case lingering
    }

    /// Packets that wait for a buffer of the guest.
    struct Pending: OptionSet, Sendable {
        let rawValue: UInt8
        static let request = Pending(rawValue: 1), response = Pending(rawValue: 2), reset = Pending(rawValue: 4)
        static let shutdown = Pending(rawValue: 8), creditUpdate = Pending(rawValue: 16)
        static let creditRequest = Pending(rawValue: 32)
    }

    var phase = Phase.free
    var ports = VsockPorts(host: 0, guest: 0)
    var socket: VsockSocket?
    var credit = Credit(window: 0)
    var buffer = ByteRing(capacity: 0)
    var pending: Pending = []
    /// What of the handshake came so far.
    var greeting: [UInt8] = []
    /// Whether the host's socket may have bytes, or room; until a call says that it would block.
    var isReadable = false, isWritable = true
    /// Whether both directions of the host's socket are closed; what came before may still be read.
    var hungUp = false
    /// What each side said that it will no longer do: SHUTDOWN's flags.
    var guestStopped: UInt32 = 0, hostStopped: UInt32 = 0
    /// Whether the guest's end of writing was passed on to the host's socket.
    var writingShut = false
    /// Whether the guest was asked for credit since it last gave some.
    var askedForCredit = false
    /// Whether the REQUEST is with the guest.
    var requestSent = false

    static let bothStopped = VsockHeader.receivesNoMore | VsockHeader.sendsNoMore

    /// Whether there is something to be sent to the guest, as far as is known.
    var hasWork: Bool {
        if !pending.isEmpty { return true }
        return phase == .open && isReadable && hostStopped & VsockHeader.sendsNoMore == 0
            && (credit.room > 0 || !askedForCredit)
    }
}
