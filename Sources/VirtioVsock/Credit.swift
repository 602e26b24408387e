/// The flow control of one connection, both ways (virtio 1.2 section 5.10.6.3).
///
/// All counters run modulo 2^32 and the guest may claim anything, so the arithmetic wraps; a lie costs the guest's own
/// connection its progress and nothing else.
struct Credit: Equatable, Sendable {
    /// How many bytes the guest may have under way to us.
    let window: UInt32
    /// Bytes that came from the guest, and those of them that have left for the host's socket.
    private(set) var received: UInt32 = 0, forwarded: UInt32 = 0
    /// `forwarded` as the guest knows it.
    private var told: UInt32 = 0

    /// The guest's buffer, what it took out of it, and what was sent to it.
    private var peerWindow: UInt32 = 0, peerForwarded: UInt32 = 0
    private(set) var sent: UInt32 = 0

    init(window: UInt32) { self.window = window }

    // MARK: From the guest

    /// Bytes that are here and have not left yet.
    var held: UInt32 { received &- forwarded }

    /// Counts bytes that came; false when they are more than the guest was allowed.
    ///
    /// What the guest was allowed is what it was told of; bytes that left since then are not its to use yet.
    mutating func receive(_ count: UInt32) -> Bool {
        guard count <= window &- (received &- told) else { return false }
        received &+= count
        return true
    }

    /// Counts bytes that left for the host.
    mutating func forward(_ count: UInt32) { forwarded &+= count }

    /// Whether so much was forwarded since the guest last heard of it that it should be told.
    ///
    /// Half of the window: what the guest does not know of leaves it the other half, so it never stands still for want
    /// of an update.
    var owesUpdate: Bool { forwarded &- told >= window / 2 }

    // MARK: To the guest

    /// Learns from a packet of the guest.
    mutating func learn(_ header: VsockHeader) { (peerWindow, peerForwarded) = (header.bufferSize, header.forwarded) }

    /// How many bytes the guest has room for.
    var room: UInt32 {
        let underWay = sent &- peerForwarded
        return underWay < peerWindow ? peerWindow - underWay : 0
    }

    /// Counts bytes sent to the guest.
    mutating func send(_ count: UInt32) { sent &+= count }

    /// Fills in what every packet to the guest says.
    mutating func tell(_ header: inout VsockHeader) {
        told = forwarded
        (header.bufferSize, header.forwarded) = (window, forwarded)
    }
}

/// How large a window each new connection gets, so that all buffers together stay bounded.
///
/// The first connections get a full window each. When half of the budget is promised, a new one gets a share of what
/// is left, and at least the least; so the sum is at most the budget and the least for each connection.
struct WindowBudget: Equatable, Sendable {
    static let full: UInt32 = 256 << 10, least: UInt32 = 4 << 10, budget: UInt32 = 64 << 20
    private var promised: UInt32 = 0

    mutating func take() -> UInt32 {
        let left = promised < Self.budget ? Self.budget - promised : 0
        let window = min(Self.full, max(Self.least, left / 128 & ~4095))
        promised &+= window
        return window
    }

    mutating func giveBack(_ window: UInt32) { promised &-= window }
}
