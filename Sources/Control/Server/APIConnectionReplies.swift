import Host
import Logging

/// How a connection's requests are asked and answered.
extension APIConnection {
    /// Hands a request to the handler.
    func ask(_ wire: WireRequest) {
        guard let method = APIRequest.Method(rawValue: wire.method) else {
            metrics.add(metrics.malformed)
            return answer(.failure(400, [RequestAssembler.unknownMethod(wire.method)]))
        }
        metrics.add(metrics.requests)
        let request = APIRequest(
            method: method, target: wire.target, body: wire.body, descriptors: wire.descriptors, peer: peer)
        // The handler alone holds the body and the descriptors from here on.
        exchange = exchange.map { Exchange(number: $0.number, start: $0.start, wire: wire.withoutContent) }
        let pending = PendingReply(connection: id, request: exchange?.number ?? 0, context.shared.mailbox)
        context.shared.handler.handle(request) { pending.settle($0) }
        if let reply = pending.endHandling() { answer(reply) }
    }

    /// A reply that came as a message.
    func answer(_ reply: APIReply, to number: UInt64) {
        guard exchange?.number == number else { return }
        answer(reply)
        advance()
    }

    private func answer(_ reply: APIReply) {
        guard let exchange else { return }
        switch reply {
        case .response(let status, let type, let body):
            respond(status, type, body ?? [], to: exchange)
        case .stream(let type, let attach):
            let chunked = !exchange.wire.isHTTP10
            write(ReplyHead.stream(type: type, chunked: chunked))
            finished(exchange, 200)
            let sink = makeSink()
            phase = .streaming(sink, chunked: chunked)
            if !exchange.wire.keepsAlive { closesAfterOutput = true }
            if exchange.wire.asksForUpgrade { restartParser() }
            attach(sink)
        case .upgrade(let name, let attach):
            guard exchange.wire.upgrades.contains(name.lowercased()), !exchange.wire.isHTTP10 else {
                return requireUpgrade(name, exchange)
            }
            write(ReplyHead.upgrade(to: name))
            finished(exchange, 101)
            input = codec?.takeLeftOver() ?? []
            codec = nil
            let sink = makeSink()
            phase = .upgraded(sink, attach(sink))
        }
    }

    private func respond(_ status: Int, _ type: String, _ body: [UInt8], to exchange: Exchange) {
        let body = status == 204 ? [] : body
        // A client that says it will close finds the reply as every other; one of HTTP/1.0 waits for the end.
        let closes = exchange.wire.isHTTP10 && !exchange.wire.keepsAlive
        write(ReplyHead.response(status, type: type, length: body.count, closes ? .close : .keepAlive) + body)
        finished(exchange, status, body)
        if !exchange.wire.keepsAlive { closesAfterOutput = true }
        if exchange.wire.asksForUpgrade { restartParser() }
        self.exchange = nil
    }

    private func requireUpgrade(_ name: String, _ exchange: Exchange) {
        let reason = "\(exchange.wire.target) is a stream of bytes: send Connection: Upgrade and Upgrade: \(name)"
        let body = APIReply.failure(426, [reason]).body
        write(ReplyHead.upgradeRequired(to: name, length: body.count) + body)
        finished(exchange, 426, body)
        if !exchange.wire.keepsAlive { closesAfterOutput = true }
        if exchange.wire.asksForUpgrade { restartParser() }
        self.exchange = nil
    }

    private func makeSink() -> StreamSink {
        let (id, mailbox) = (id, context.shared.mailbox)
        return StreamSink(limit: limits.streamQueue) { mailbox.send(.wake(connection: id)) }
    }

    /// Answers what could not be read as a request; the connection ends behind it.
    func refuse(_ status: Int, _ message: String) {
        let body = APIReply.failure(status, [message]).body
        write(ReplyHead.response(status, type: "application/json", length: body.count, .close) + body)
        metrics.replied(status)
        closesAfterOutput = true
        context.shared.logger.debug(
            "API request refused", metadata: ["status": "\(status)", "reason": "\(message)", "peer": peerText])
    }

    private var peerText: Logger.MetadataValue { "\(peer.map(\.description) ?? "unknown")" }

    /// - Parameter body: of a reply that is no stream: what went wrong, if something did.
    private func finished(_ exchange: Exchange, _ status: Int, _ body: [UInt8] = []) {
        metrics.replied(status)
        let level: Logger.Level = exchange.wire.method == "GET" ? .debug : .info
        let logger = context.shared.logger
        guard logger.logLevel <= level else { return }
        let micros = (HostClock.monotonic - exchange.start) / 1000
        var metadata: Logger.Metadata = ["status": "\(status)", "duration": "\(micros) us", "peer": peerText]
        if status >= 400 { metadata["error"] = "\(String(decoding: body.prefix(4096), as: UTF8.self))" }
        logger.log(
            level: level, "API \(exchange.wire.method) \(APIService.printable(exchange.wire.target))",
            metadata: metadata)
    }
}

extension WireRequest {
    /// The request without its body and descriptors.
    var withoutContent: WireRequest {
        var copy = self
        (copy.body, copy.descriptors) = ([], ReceivedDescriptors())
        return copy
    }
}

extension APIReply {
    /// A response's body.
    var body: [UInt8] { if case .response(_, _, let body?) = self { body } else { [] } }
}
