import Host
import Virtio

/// Packets of the guest (virtio 1.2 section 5.10.6).
extension VsockCore {
    /// Does what a packet asks for. Whatever it holds, the chain is done with afterwards.
    mutating func receive(_ chain: borrowing DescriptorChain, _ epoll: borrowing Epoll) {
        metrics.packetsFromGuest.count()
        guard let header = chain.read(VsockHeader.self, at: 0), header.sourceCID == cid else {
            // Too short for an answer, or somebody else's name: nobody could be answered.
            metrics.malformed.count()
            return
        }
        let isOurs = header.targetCID == VsockHeader.host && header.type == VsockHeader.stream
        let slot = isOurs ? table[VsockPorts(host: header.targetPort, guest: header.sourcePort)] : nil
        guard isOurs, let operation = VsockOperation(rawValue: header.operation),
            header.length <= chain.readableBytes - VsockHeader.size
        else {
            metrics.malformed.count()
            refuse(header, slot)
            return
        }
        guard let slot else {
            switch operation {
            case .request: open(header, epoll)
            // An answer to an answer would never end.
            case .reset: break
            default: refuse(header, nil)
            }
            return
        }
        // Once it is closing, the reset that waits answers everything.
        if operation == .reset { return forget(slot) }
        if table.streams[slot].phase == .closing { return }
        table.streams[slot].credit.learn(header)
        // A guest that answers with nothing is not asked again: it tells by itself when it has room.
        if table.streams[slot].credit.room > 0 { table.streams[slot].askedForCredit = false }
        take(operation, header, chain, slot)
        table.enqueue(slot)
    }

    private mutating func take(
        _ operation: VsockOperation, _ header: VsockHeader, _ chain: borrowing DescriptorChain, _ slot: Int
    ) {
        switch (operation, table.streams[slot].phase) {
        case (.response, .requested) where table.streams[slot].requestSent: accepted(slot)
        case (.readWrite, .open): receiveBytes(Int(header.length), chain, slot)
        case (.creditUpdate, .open): break
        case (.creditRequest, .open): table.streams[slot].pending.insert(.creditUpdate)
        case (.shutdown, .open):
            table.streams[slot].guestStopped |= header.flags & VsockStream.bothStopped
            guestStopped(slot)
        default:
            // A second REQUEST, an answer that was not asked for, bytes before there is a connection.
            metrics.malformed.count()
            reset(slot)
        }
    }

    /// Answers a packet that cannot be with a reset, and ends the connection that it came on.
    private mutating func refuse(_ header: VsockHeader, _ slot: Int?) {
        if let slot { return reset(slot) }
        guard header.operation != VsockOperation.reset.rawValue else { return }
        var reply = VsockHeader()
        (reply.sourceCID, reply.targetCID) = (header.targetCID, header.sourceCID)
        (reply.sourcePort, reply.targetPort) = (header.targetPort, header.sourcePort)
        reply.type = header.type
        reply.operation = VsockOperation.reset.rawValue
        replies.append(reply)
    }

    // MARK: Opening

    /// The guest asks for a connection.
    private mutating func open(_ header: VsockHeader, _ epoll: borrowing Epoll) {
        var stream = VsockStream()
        stream.phase = .connecting
        guard let slot = insert(stream) else {
            metrics.refused.count()
            return refuse(header, nil)
        }
        connecting += 1
        table.bind(slot, VsockPorts(host: header.targetPort, guest: header.sourcePort))
        table.streams[slot].credit.learn(header)
        table.setDeadline(slot, HostClock.monotonic &+ Self.connectingPatience)
        connect(slot, epoll)
    }

    /// Connects to the host's listener; while its backlog is full, the connection waits for another attempt.
    mutating func connect(_ slot: Int, _ epoll: borrowing Epoll) {
        do throws(Errno) {
            let socket = VsockSocket(try backend.connect(port: table.streams[slot].ports.host))
            connecting -= 1
            table.streams[slot].phase = .open
            table.setDeadline(slot, 0)
            guard watch(socket, slot, epoll) else { return reset(slot) }
            metrics.openedByGuest.count()
            table.streams[slot].isReadable = true
            table.streams[slot].pending.insert(.response)
            table.enqueue(slot)
        } catch {
            if error == .wouldBlock { return }
            metrics.refused.count()
            reset(slot)
        }
    }

    /// The guest took a connection that a client of the host asked for.
    private mutating func accepted(_ slot: Int) {
        table.streams[slot].phase = .open
        table.setDeadline(slot, 0)
        metrics.openedByHost.count()
        let answer = Array("OK \(table.streams[slot].ports.host)\n".utf8)
        guard let socket = table.streams[slot].socket, (try? socket.file.write(answer.span)) == answer.count else {
            return reset(slot)
        }
        table.streams[slot].isReadable = true
    }

    // MARK: Bytes

    private mutating func receiveBytes(_ count: Int, _ chain: borrowing DescriptorChain, _ slot: Int) {
        guard table.streams[slot].credit.receive(UInt32(clamping: count)),
            table.streams[slot].guestStopped & VsockHeader.sendsNoMore == 0
        else {
            metrics.malformed.count()
            return reset(slot)
        }
        metrics.bytesFromGuest.count(UInt64(count))
        var done = 0
        // Nothing overtakes what waits already.
        let isStopped = table.streams[slot].hostStopped & VsockHeader.receivesNoMore != 0
        if table.streams[slot].buffer.isEmpty, table.streams[slot].isWritable, !isStopped {
            done = writeDirectly(count, chain, slot)
        }
        guard table.streams[slot].phase == .open else { return }
        if table.streams[slot].hostStopped & VsockHeader.receivesNoMore != 0 {
            // The guest has not heard of it yet.
            table.streams[slot].credit.forward(UInt32(clamping: count - done))
        } else if done < count {
            table.streams[slot].buffer.append(chain, at: VsockHeader.size + done, count: count - done)
        }
        offerCredit(slot)
    }

    /// Writes from guest memory into the host's socket: how many bytes it took.
    private mutating func writeDirectly(_ count: Int, _ chain: borrowing DescriptorChain, _ slot: Int) -> Int {
        guard let socket = table.streams[slot].socket else { return 0 }
        var done = 0
        do throws(Errno) {
            while done < count {
                let written = try socket.file.write(chain.readable(from: VsockHeader.size + done, count: count - done))
                done += written
                table.streams[slot].credit.forward(UInt32(clamping: written))
            }
        } catch {
            writingFailed(slot, error)
        }
        return done
    }

    /// Tells the guest of the room that there is again, once that is worth a packet.
    mutating func offerCredit(_ slot: Int) {
        guard table.streams[slot].guestStopped & VsockHeader.sendsNoMore == 0 else { return }
        if table.streams[slot].credit.owesUpdate { table.streams[slot].pending.insert(.creditUpdate) }
    }

    // MARK: Ending

    /// The guest will not send, or not receive, any more.
    mutating func guestStopped(_ slot: Int) {
        let stopped = table.streams[slot].guestStopped
        if stopped & VsockHeader.receivesNoMore != 0 {
            table.streams[slot].socket?.file.shutDown(.reading)
            table.streams[slot].isReadable = false
        }
        guard table.streams[slot].buffer.isEmpty else { return }
        if stopped & VsockHeader.sendsNoMore != 0, !table.streams[slot].writingShut {
            table.streams[slot].writingShut = true
            table.streams[slot].socket?.file.shutDown(.writing)
        }
        // The reset is what ends a clean disconnect (5.10.6.6).
        if stopped == VsockStream.bothStopped { reset(slot) }
    }

    /// The guest forgets a connection at once.
    private mutating func forget(_ slot: Int) {
        switch table.streams[slot].phase {
        case .requested: metrics.refused.count()
        case .open
        where table.streams[slot].guestStopped & VsockHeader.sendsNoMore != 0
            && !table.streams[slot].buffer.isEmpty:
            // It closed in good order and only lost patience with a slow reader: the bytes are the reader's still.
            table.unbind(slot)
            table.streams[slot].phase = .lingering
            table.streams[slot].pending = []
            table.streams[slot].isReadable = false
            return
        default: break
        }
        remove(slot)
    }
}
