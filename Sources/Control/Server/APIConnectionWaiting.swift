import Host

/// What a connection waits for, and for how long.
extension APIConnection {
    private var interest: Epoll.Interest {
        var interest: Epoll.Interest = hasOutput ? .writable : []
        switch phase {
        case .open: if exchange == nil, !hasOutput, !inputEnded { interest.insert(.readable) }
        case .upgraded(_, let receiver):
            if input.isEmpty, !inputEnded, receiver.room > 0 { interest.insert(.readable) }
        case .lingering: interest.insert(.readable)
        case .streaming, .closed: break
        }
        return interest
    }

    /// Has epoll report what this connection waits for, and nothing once the client has closed: that would be reported
    /// without end.
    func updateInterest(_ epoll: borrowing Epoll) {
        roomAsked = waitsForRoom ? roomAsked ?? HostClock.monotonic : nil
        if isClosed || hasHungUp {
            if isRegistered { epoll.remove(stream.raw) }
            isRegistered = false
            return
        }
        let wanted = interest
        if isRegistered, wanted == registered { return }
        do {
            if isRegistered {
                try epoll.modify(stream.raw, wanted, token: id)
            } else {
                try epoll.add(stream.raw, wanted, token: id)
            }
            (isRegistered, registered) = (true, wanted)
        } catch {
            context.shared.logger.warning("API connection \(id): \(error)")
            close()
        }
    }

    /// When `expire` is due (monotonic, ns); nil while this connection may wait for ever.
    var deadline: UInt64? {
        switch phase {
        case .closed: return nil
        case .lingering: return lingerStart + limits.linger
        case .upgraded:
            let look = roomAsked.map { $0 + 100_000_000 }
            return [look, patienceEnd].compactMap(\.self).min()
        case _ where hasOutput: return patienceEnd
        case .open:
            guard exchange == nil, codec?.isMidRequest == true else { return nil }
            return min(lastInput + limits.requestIdle, requestStart + limits.requestTotal)
        case .streaming: return nil
        }
    }

    /// When the server waits no longer for a client that does not read, or that is gone while its bytes wait for room.
    private var patienceEnd: UInt64? {
        hasOutput || hasHungUp ? (hasOutput ? lastOutput : lastInput) + limits.replyIdle : nil
    }

    /// Whether the client has bytes for a receiver that takes none.
    private var waitsForRoom: Bool {
        guard case .upgraded(_, let receiver) = phase else { return false }
        return !input.isEmpty || !inputEnded && receiver.room <= 0
    }

    /// The deadline has passed.
    func expire() {
        switch phase {
        case .upgraded where HostClock.monotonic < patienceEnd ?? .max: roomAsked = nil
        case .open where !hasOutput:
            metrics.add(metrics.timedOut)
            codec?.timeOut()
        case .lingering: close()
        default:
            metrics.add(metrics.timedOut)
            close()
        }
        advance()
    }
}
