import Host
import Virtio

/// What the sockets of the host do.
extension VsockCore {
    /// A handshake's longest form is `CONNECT 4294967295` and a line's end.
    private static let greetingLimit = 32

    /// Has the worker told of a socket's changes; false when that is not possible.
    mutating func watch(_ socket: VsockSocket, _ slot: Int, _ epoll: borrowing Epoll) -> Bool {
        do throws(HostError) {
            try epoll.add(
                socket.file.raw, [.readable, .writable, .readHangUp, .edgeTriggered], token: table.token(slot))
        } catch {
            return false
        }
        table.streams[slot].socket = socket
        return true
    }

    /// Has a new worker told of the changes of the sockets that there are already.
    func watchAll(_ epoll: borrowing Epoll) throws(HostError) {
        for (slot, stream) in table.streams.enumerated() {
            guard let socket = stream.socket else { continue }
            try epoll.add(
                socket.file.raw, [.readable, .writable, .readHangUp, .edgeTriggered], token: table.token(slot))
        }
    }

    // MARK: Clients of the listening socket

    /// Takes waiting clients, some at a time.
    mutating func acceptClients(_ epoll: borrowing Epoll) {
        for _ in 0..<64 {
            switch backend.accept() {
            case .nobody: return
            case .exhausted:
                isExhausted = true
                return
            case .client(let client): welcome(VsockSocket(client), epoll)
            }
        }
    }

    private mutating func welcome(_ socket: VsockSocket, _ epoll: borrowing Epoll) {
        // One that says nothing gives way to the next.
        if newcomers.count >= backend.settings.handshakeLimit, let oldest = newcomers.first,
            let slot = table.slot(oldest)
        {
            metrics.malformed.count()
            remove(slot)
        }
        var stream = VsockStream()
        stream.phase = .handshake
        guard let slot = insert(stream) else {
            metrics.refused.count()
            return
        }
        newcomers.append(table.token(slot))
        table.setDeadline(slot, handshakeDeadline)
        guard watch(socket, slot, epoll) else { return remove(slot) }
        readGreeting(slot)
    }

    /// Reads as far as the handshake's line goes and not beyond: what follows it is the guest's.
    private mutating func readGreeting(_ slot: Int) {
        guard let socket = table.streams[slot].socket else { return }
        while true {
            let room = Self.greetingLimit - table.streams[slot].greeting.count
            var bytes = [UInt8](repeating: 0, count: max(room, 1))
            do throws(Errno) {
                var span = bytes.mutableSpan
                let seen = try socket.file.peek(into: &span)
                let line = bytes[..<seen].firstIndex(of: UInt8(ascii: "\n")).map { $0 + 1 }
                guard seen > 0, line != nil || seen < room else { return refuseGreeting(slot) }
                var taken = [UInt8](repeating: 0, count: line ?? seen)
                var target = taken.mutableSpan
                let count = try socket.file.read(into: &target)
                table.streams[slot].greeting += taken[..<count]
                guard line != nil else { continue }
                return greeted(slot)
            } catch {
                if error != .wouldBlock { refuseGreeting(slot) }
                return
            }
        }
    }

    private mutating func refuseGreeting(_ slot: Int) {
        metrics.malformed.count()
        remove(slot)
    }

    private mutating func greeted(_ slot: Int) {
        guard let port = Self.port(in: table.streams[slot].greeting) else { return refuseGreeting(slot) }
        forgetNewcomer(table.token(slot))
        table.streams[slot].greeting = []
        table.streams[slot].phase = .requested
        table.bind(slot, VsockPorts(host: table.freePort(towards: port), guest: port))
        table.setDeadline(slot, handshakeDeadline)
        table.streams[slot].pending = .request
        table.enqueue(slot)
    }

    /// The port in `CONNECT <port>\n`; nil for anything else. The word's letters may be small.
    static func port(in line: [UInt8]) -> UInt32? {
        let words = line.dropLast().split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\r") }
        guard words.count == 2, words[0].map({ $0 & ~0x20 }) == Array("CONNECT".utf8) else { return nil }
        guard words[1].allSatisfy({ UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }) else { return nil }
        return UInt32(String(decoding: words[1], as: UTF8.self))
    }

    // MARK: Connections

    /// A socket's state changed.
    mutating func socketChanged(_ slot: Int, _ interest: Epoll.Interest) {
        let failed = interest.contains(.error)
        if failed || interest.contains(.hangUp) { table.streams[slot].hungUp = true }
        if interest.contains(.writable) || failed { table.streams[slot].isWritable = true }
        switch table.streams[slot].phase {
        case .handshake: readGreeting(slot)
        case .requested:
            if table.streams[slot].hungUp {
                metrics.refused.count()
                cancelRequest(slot)
            }
        case .open:
            if interest != .writable { noticeInput(slot) }
            if table.streams[slot].isWritable { drain(slot) }
            table.enqueue(slot)
        case .lingering: drain(slot)
        case .free, .connecting, .closing: break
        }
    }

    private mutating func noticeInput(_ slot: Int) {
        let stream = table.streams[slot]
        if stream.guestStopped & VsockHeader.receivesNoMore == 0,
            stream.hostStopped & VsockHeader.sendsNoMore == 0
        {
            // The end of the input is told when all before it was read.
            table.streams[slot].isReadable = true
        } else if stream.hungUp {
            hostStopped(slot, VsockStream.bothStopped)
        }
    }

    /// Writes what waits for the host's socket.
    mutating func drain(_ slot: Int) {
        guard let socket = table.streams[slot].socket else { return }
        do throws(Errno) {
            while !table.streams[slot].buffer.isEmpty {
                let written = try table.streams[slot].buffer.drain(to: socket.file)
                table.streams[slot].credit.forward(UInt32(clamping: written))
            }
        } catch {
            writingFailed(slot, error)
        }
        guard table.streams[slot].phase != .lingering else {
            if table.streams[slot].buffer.isEmpty { remove(slot) }
            return
        }
        offerCredit(slot)
        if table.streams[slot].phase == .open, table.streams[slot].guestStopped != 0 { guestStopped(slot) }
    }

    /// A write did not go: for now, or for ever.
    mutating func writingFailed(_ slot: Int, _ error: Errno) {
        if error == .wouldBlock {
            table.streams[slot].isWritable = false
            return
        }
        let lost = table.streams[slot].buffer.discard()
        table.streams[slot].credit.forward(UInt32(clamping: lost))
        if table.streams[slot].phase == .open { hostStopped(slot, VsockHeader.receivesNoMore) }
    }

    /// The host will not send, or not receive, any more; the guest is told.
    mutating func hostStopped(_ slot: Int, _ flags: UInt32) {
        let before = table.streams[slot].hostStopped
        guard before | flags != before else { return }
        table.streams[slot].hostStopped = before | flags
        table.streams[slot].pending.insert(.shutdown)
        if before | flags == VsockStream.bothStopped {
            // Nothing can be said on the socket any more; the guest's answer is a reset.
            let lost = table.streams[slot].buffer.discard()
            table.streams[slot].credit.forward(UInt32(clamping: lost))
            table.streams[slot].socket = nil
            table.streams[slot].isReadable = false
            table.setDeadline(slot, HostClock.monotonic &+ Self.closingPatience)
        }
        table.enqueue(slot)
    }
}
