import Host
import Virtio

/// Packets to the guest.
extension VsockCore {
    /// The most bytes of one connection before the next one's turn.
    private static let share = 64 << 10

    /// Fills a chain with the next packet: the bytes written; nil when there is none.
    mutating func fill(_ chain: borrowing DescriptorChain) -> Int? {
        guard chain.writableBytes >= VsockHeader.size else {
            metrics.malformed.count()
            return 0
        }
        if let reply = replies.popFirst() {
            chain.write(reply, at: 0)
            metrics.packetsToGuest.count()
            return VsockHeader.size
        }
        while let slot = table.nextReady() {
            guard let written = fill(chain, slot) else { continue }
            metrics.packetsToGuest.count()
            return written
        }
        return nil
    }

    /// Fills a chain with a connection's next packet and puts the connection behind the others if it has more.
    private mutating func fill(_ chain: borrowing DescriptorChain, _ slot: Int) -> Int? {
        let pending = table.streams[slot].pending
        if pending.contains(.reset) {
            send(.reset, chain, slot)
            remove(slot)
            return VsockHeader.size
        }
        defer { table.enqueue(slot) }
        if pending.contains(.request) {
            table.streams[slot].pending.remove(.request)
            table.streams[slot].requestSent = true
            return send(.request, chain, slot)
        }
        if pending.contains(.response) {
            table.streams[slot].pending.remove(.response)
            return send(.response, chain, slot)
        }
        if pending.contains(.shutdown) {
            table.streams[slot].pending.remove(.shutdown)
            return send(.shutdown, chain, slot, flags: table.streams[slot].hostStopped)
        }
        if let written = fillBytes(chain, slot) { return written }
        // Bytes carry the credit along; without any it goes by itself.
        if table.streams[slot].pending.contains(.creditUpdate) { return send(.creditUpdate, chain, slot) }
        if table.streams[slot].pending.contains(.creditRequest) {
            table.streams[slot].pending.remove(.creditRequest)
            return send(.creditRequest, chain, slot)
        }
        return nil
    }

    /// Reads from the host's socket into guest memory: the bytes of the packet; nil when none came.
    private mutating func fillBytes(_ chain: borrowing DescriptorChain, _ slot: Int) -> Int? {
        guard table.streams[slot].phase == .open, table.streams[slot].isReadable,
            let socket = table.streams[slot].socket
        else { return nil }
        let credit = Int(table.streams[slot].credit.room)
        guard credit > 0 else { return withoutCredit(chain, slot) }
        let room = min(credit, chain.writableBytes - VsockHeader.size, Self.share)
        guard room > 0 else {
            // A buffer for a header alone holds no bytes of a stream: it is used up with nothing in it.
            metrics.malformed.count()
            return 0
        }
        do throws(Errno) {
            let count = try socket.file.read(into: chain.writable(from: VsockHeader.size, count: room))
            guard count > 0 else { return inputEnded(chain, slot) }
            // A short read does not mean that the socket is empty: it also ends where descriptors were sent along.
            table.streams[slot].credit.send(UInt32(clamping: count))
            metrics.bytesToGuest.count(UInt64(count))
            return send(.readWrite, chain, slot, length: UInt32(clamping: count))
        } catch {
            table.streams[slot].isReadable = false
            guard error != .wouldBlock else { return nil }
            // The client closed with bytes of ours unread.
            hostStopped(slot, VsockStream.bothStopped)
            table.streams[slot].pending.remove(.shutdown)
            return send(.shutdown, chain, slot, flags: VsockStream.bothStopped)
        }
    }

    /// There may be bytes, but the guest has no room: it is asked for some, once. Without a byte the socket's end needs
    /// no room.
    private mutating func withoutCredit(_ chain: borrowing DescriptorChain, _ slot: Int) -> Int? {
        guard let socket = table.streams[slot].socket else { return nil }
        var byte: [UInt8] = [0]
        var span = byte.mutableSpan
        do throws(Errno) {
            guard try socket.file.peek(into: &span) > 0 else { return inputEnded(chain, slot) }
        } catch {
            table.streams[slot].isReadable = false
            if error != .wouldBlock { hostStopped(slot, VsockStream.bothStopped) }
            return nil
        }
        if !table.streams[slot].askedForCredit {
            table.streams[slot].askedForCredit = true
            table.streams[slot].pending.insert(.creditRequest)
        }
        return nil
    }

    private mutating func inputEnded(_ chain: borrowing DescriptorChain, _ slot: Int) -> Int {
        table.streams[slot].isReadable = false
        hostStopped(slot, table.streams[slot].hungUp ? VsockStream.bothStopped : VsockHeader.sendsNoMore)
        table.streams[slot].pending.remove(.shutdown)
        return send(.shutdown, chain, slot, flags: table.streams[slot].hostStopped)
    }

    /// Writes a header; every one carries the connection's credit.
    @discardableResult
    private mutating func send(
        _ operation: VsockOperation, _ chain: borrowing DescriptorChain, _ slot: Int, length: UInt32 = 0,
        flags: UInt32 = 0
    ) -> Int {
        var header = VsockHeader()
        (header.sourceCID, header.targetCID) = (VsockHeader.host, cid)
        let ports = table.streams[slot].ports
        (header.sourcePort, header.targetPort) = (ports.host, ports.guest)
        (header.length, header.type, header.operation) = (length, VsockHeader.stream, operation.rawValue)
        header.flags = flags
        table.streams[slot].credit.tell(&header)
        table.streams[slot].pending.remove(.creditUpdate)
        chain.write(header, at: 0)
        return VsockHeader.size + Int(length)
    }
}
