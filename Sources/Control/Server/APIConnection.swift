import Host
import NIOEmbedded

/// What all connections of a server share. Confined to its thread.
final class ConnectionContext {
    let shared: ServerShared
    let loop = EmbeddedEventLoop()
    let budget: BodyBudget
    /// What was just received; used anew by each connection.
    private(set) var buffer = [UInt8](repeating: 0, count: 32 << 10)

    init(_ shared: ServerShared) {
        self.shared = shared
        budget = BodyBudget(limit: shared.limits.bodiesTogether)
    }

    /// Receives what fits into the buffer.
    func receive(_ stream: borrowing UnixStream) throws(Errno) -> UnixStream.Received {
        var own: [UInt8] = []
        swap(&own, &buffer)
        defer { swap(&own, &buffer) }
        var span = own.mutableSpan
        return try stream.receive(into: &span)
    }
}

/// One client: reads its requests, has them answered one after the other, and writes the replies.
///
/// Confined to the server's thread; replies and streams reach it as messages there.
final class APIConnection {
    enum Phase {
        /// Requests come and are answered.
        case open
        /// A reply without end is being sent.
        case streaming(StreamSink, chunked: Bool)
        /// The bytes are another protocol's.
        case upgraded(StreamSink, any ByteReceiver)
        /// All is said; the client is given time to read it and close.
        case lingering
        /// Over.
        case closed
    }

    /// A request that has been handed to the handler and not been answered.
    struct Exchange {
        let number: UInt64
        let start: UInt64
        let wire: WireRequest
    }

    let id: UInt64
    let context: ConnectionContext
    let peer: PeerCredentials?
    var phase = Phase.open
    var exchange: Exchange?
    var codec: RequestCodec?
    /// What the client sent after an upgrade and nobody has taken.
    var input: [UInt8] = []
    var closesAfterOutput = false
    let stream: UnixStream
    private var output: [UInt8] = []
    private var outputStart = 0
    private var outputIsBroken = false
    /// The client sends nothing more; it has closed altogether, so that epoll would report it again and again.
    var inputEnded = false, hasHungUp = false
    private var requestCount: UInt64 = 0
    var isRegistered = false
    var registered: Epoll.Interest = []
    /// Times (monotonic, ns) of the last byte in, the last byte out, and the first byte of what is being received.
    private(set) var lastInput: UInt64
    /// When a receiver was last asked for room that it did not have.
    var roomAsked: UInt64?
    var lastOutput: UInt64 = 0, requestStart: UInt64 = 0, lingerStart: UInt64 = 0

    init(id: UInt64, _ stream: consuming UnixStream, _ context: ConnectionContext) {
        self.id = id
        self.context = context
        peer = stream.peer
        self.stream = stream
        lastInput = HostClock.monotonic
    }

    var limits: APILimits { context.shared.limits }
    var metrics: APIServerMetrics { context.shared.metrics }
    var isClosed: Bool { if case .closed = phase { true } else { false } }
    /// Since when (monotonic, ns) the server has waited for this client: for a request, for the rest of one from its
    /// first byte on, or for the end. nil while the client itself waits for something, or listens to a stream.
    var awaitedSince: UInt64? {
        switch phase {
        case .lingering: return lingerStart
        case .open:
            guard exchange == nil, !hasOutput, !(codec?.hasItems ?? false) else { return nil }
            // A reply that came late does not make its client an idle one at once.
            return codec?.isMidRequest == true ? requestStart : max(lastInput, lastOutput)
        case .streaming, .upgraded, .closed: return nil
        }
    }
    var hasOutput: Bool { outputStart < output.count }

    // MARK: Events

    /// Reads, writes and goes on as far as it can.
    func handle(_ ready: Epoll.Interest) {
        if ready.contains(.hangUp) || ready.contains(.error) { hasHungUp = true }
        if ready.contains(.readable) { receive() }
        advance()
    }

    /// Goes on as far as it can without waiting.
    func advance() {
        while step() {}
    }

    /// Goes on by one thing; false when there is nothing to do but wait.
    private func step() -> Bool {
        flush()
        switch phase {
        case .closed: return false
        case .lingering:
            if hasHungUp || inputEnded || outputIsBroken { close() }
            return false
        case .open: return stepOpen()
        case .streaming(let sink, let chunked):
            if hasHungUp || outputIsBroken {
                close()
                return false
            }
            return !hasOutput && pull(sink, chunked: chunked)
        case .upgraded(let sink, let receiver):
            // What the client sent before it went is still the guest's.
            if outputIsBroken || hasHungUp, inputEnded, input.isEmpty {
                close()
                return false
            }
            let pulled = !hasOutput && pull(sink, chunked: false)
            return deliver(to: receiver) || pulled
        }
    }

    private func stepOpen() -> Bool {
        if exchange != nil || hasOutput { return false }
        if closesAfterOutput {
            linger()
            return true
        }
        if let item = codec?.next() {
            take(item)
            return true
        }
        if codec?.awaitsProceed == true {
            codec?.proceed()
            write(ReplyHead.proceed)
            return true
        }
        if inputEnded {
            guard let codec, codec.isMidRequest else {
                close()
                return false
            }
            codec.end()
            return true
        }
        // Nothing more comes than what is there, and epoll is not asked any more.
        if hasHungUp {
            receive()
            return true
        }
        return false
    }

    private func take(_ item: WireItem) {
        switch item {
        case .request(let request):
            requestCount += 1
            exchange = Exchange(number: requestCount, start: HostClock.monotonic, wire: request)
            ask(request)
        case .failure(let status, let message):
            metrics.add(metrics.malformed)
            refuse(status, message)
        }
    }

    // MARK: Bytes in

    private func receive() {
        switch phase {
        case .open: guard exchange == nil, !hasOutput, !inputEnded else { return }
        case .upgraded(_, let receiver): guard input.isEmpty, !inputEnded, receiver.room > 0 else { return }
        case .lingering: break
        case .streaming, .closed: return
        }
        let received: UnixStream.Received
        do { received = try context.receive(stream) } catch {
            if error != .wouldBlock || hasHungUp { inputEnded = true }
            return
        }
        guard received.count > 0 else {
            inputEnded = true
            return
        }
        lastInput = HostClock.monotonic
        metrics.add(metrics.bytesReceived, received.count)
        metrics.add(metrics.descriptors, received.descriptors?.count ?? 0)
        switch phase {
        case .open: feed(context.buffer[..<received.count], received)
        case .upgraded: input = Array(context.buffer[..<received.count])
        case .streaming, .lingering, .closed: break
        }
    }

    private func feed(_ bytes: ArraySlice<UInt8>, _ received: UnixStream.Received? = nil) {
        let codec = self.codec ?? RequestCodec(limits, context.budget, loop: context.loop)
        self.codec = codec
        if !codec.isMidRequest { requestStart = lastInput }
        codec.feed(bytes, received?.descriptors, descriptorsLost: received?.descriptorsLost ?? false)
    }

    /// Parses on behind a request that asked for an upgrade and did not get it.
    func restartParser() {
        let rest = codec?.takeLeftOver() ?? []
        codec = nil
        if !rest.isEmpty { feed(rest[...]) }
    }

    /// Hands the other protocol's bytes over, as far as there is room.
    private func deliver(to receiver: any ByteReceiver) -> Bool {
        if input.isEmpty {
            // Nothing more comes than what is there, and epoll is not asked any more.
            guard hasHungUp, !inputEnded, receiver.room > 0 else { return false }
            receive()
            return true
        }
        let count = min(max(0, receiver.room), input.count)
        guard count > 0 else { return false }
        let taken = Array(input.prefix(count))
        input.removeFirst(count)
        receiver.receive(taken)
        return true
    }

    // MARK: Bytes out

    /// Queues bytes for the client.
    func write(_ bytes: [UInt8]) {
        guard !outputIsBroken else { return }
        if !hasOutput { lastOutput = HostClock.monotonic }
        output += bytes
    }

    private func flush() {
        while hasOutput {
            do {
                let count = try stream.send(output.span.extracting(outputStart..<output.count))
                outputStart += count
                lastOutput = HostClock.monotonic
                metrics.add(metrics.bytesSent, count)
            } catch {
                if error == .wouldBlock { return }
                // What the client sent before it went is still carried out, unheard.
                outputIsBroken = true
                outputStart = output.count
            }
        }
        if outputStart > 0 {
            output.removeAll(keepingCapacity: output.count <= 16 << 10)
            outputStart = 0
        }
    }

    /// Moves a stream's bytes to the output; false when it has none.
    private func pull(_ sink: StreamSink, chunked: Bool) -> Bool {
        let (bytes, isLast) = sink.take()
        if !bytes.isEmpty {
            write(chunked ? Array("\(String(bytes.count, radix: 16))\r\n".utf8) + bytes + [0x0D, 0x0A] : bytes)
        }
        guard isLast else { return !bytes.isEmpty }
        if chunked { write(Array("0\r\n\r\n".utf8)) } else { closesAfterOutput = true }
        sink.close()
        exchange = nil
        phase = .open
        return true
    }

    // MARK: The end

    private func linger() {
        if context.shared.isStopping || inputEnded || hasHungUp || outputIsBroken { return close() }
        // The client reads the end behind the reply, and is not cut off while it still sends.
        stream.finishSending()
        phase = .lingering
        lingerStart = HostClock.monotonic
        codec?.close()
        codec = nil
    }

    /// Ends the connection after what is being answered, or at once when nothing is.
    func stop() {
        closesAfterOutput = true
        switch phase {
        case .streaming(let sink, _), .upgraded(let sink, _): sink.finish()
        case .lingering: close()
        case .open, .closed: break
        }
        advance()
    }

    /// Ends the connection to make room; the client hears why, if half a request of it is there.
    func giveWay() {
        if case .open = phase, codec?.isMidRequest == true {
            codec?.timeOut()
            advance()
        }
        close()
    }

    /// Ends the connection now. The descriptor is closed when the server lets go of this object.
    func close() {
        switch phase {
        case .closed: return
        case .streaming(let sink, _), .upgraded(let sink, _): sink.close()
        case .open, .lingering: break
        }
        phase = .closed
        exchange = nil
        codec?.close()
        codec = nil
    }
}
