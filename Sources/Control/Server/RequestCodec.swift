import Host
import NIOCore
import NIOEmbedded
import NIOHTTP1

/// One connection's HTTP parser: NIOHTTP1's, fed with the bytes of our own socket.
///
/// Confined to the server's thread.
final class RequestCodec {
    private let channel: EmbeddedChannel
    private let decoder: ByteToMessageHandler<HTTPRequestDecoder>
    let assembler: RequestAssembler
    private let limits: APILimits
    /// Bytes since the last part of a request: of a head that is not complete, of chunks' lengths, of trailers. The parser
    /// keeps some of them without counting, white space above all.
    private var quietCount = 0

    init(_ limits: APILimits, _ budget: BodyBudget, loop: EmbeddedEventLoop) {
        var configuration = NIOHTTPDecoderLimitConfiguration()
        configuration.maxHeaderFieldSize = limits.head
        configuration.maxHeaderListSize = limits.head
        self.limits = limits
        decoder = ByteToMessageHandler(
            HTTPRequestDecoder(leftOverBytesStrategy: .forwardBytes, limitConfiguration: configuration))
        assembler = RequestAssembler(limits, budget)
        channel = EmbeddedChannel(handlers: [decoder, assembler], loop: loop)
    }

    /// Ends the parser, which holds on to itself until then.
    func close() { _ = try? channel.finish(acceptAlreadyClosed: true) }

    /// The next complete request or the failure after the last one.
    func next() -> WireItem? { assembler.takeItem() }

    /// Whether the next `next` has something.
    var hasItems: Bool { !assembler.items.isEmpty }

    /// Whether a request has begun and not ended.
    var isMidRequest: Bool { !assembler.hasFailed && (assembler.isWithinBody || quietCount > 0) }

    /// Whether the client of the unfinished request waits for `100 Continue`.
    var awaitsProceed: Bool { assembler.awaitsProceed }

    /// `100 Continue` is on its way.
    func proceed() { assembler.proceed() }

    /// Takes bytes of the client, the last of which the descriptors came with.
    func feed(_ bytes: ArraySlice<UInt8>, _ descriptors: ReceivedDescriptors?, descriptorsLost: Bool = false) {
        if descriptors == nil, !descriptorsLost { return push(bytes) }
        // The bytes before may end a request that the descriptors have nothing to do with.
        push(bytes.dropLast())
        if let descriptors { assembler.attach(descriptors) }
        if descriptorsLost {
            assembler.fail(400, "Descriptors were lost: this process may not open as many files (see ulimit -n)")
        }
        push(bytes.suffix(1))
    }

    private func push(_ bytes: ArraySlice<UInt8>) {
        guard !bytes.isEmpty, !assembler.hasFailed else { return }
        assembler.sawPart = false
        // An error has reached the assembler on its way here.
        _ = try? channel.writeInbound(ByteBuffer(bytes: bytes))
        quietCount = assembler.sawPart ? 0 : quietCount + bytes.count
        if quietCount > limits.head {
            assembler.fail(431, "The request's headers are too long; at most \(limits.head) bytes are accepted")
        }
    }

    /// The client sends nothing more.
    func end() { assembler.end(isMidRequest: quietCount > 0) }

    /// Takes what was received behind a request that asked for an upgrade, where the parser has stopped, and ends it.
    func takeLeftOver() -> [UInt8] {
        let pipeline = channel.pipeline.syncOperations
        pipeline.removeHandler(assembler, promise: nil)
        pipeline.removeHandler(decoder, promise: nil)
        channel.embeddedEventLoop.run()
        let rest = try? channel.readInbound(as: ByteBuffer.self)
        close()
        return rest.map { Array($0.readableBytesView) } ?? []
    }

    /// The failure of a request that took too long.
    func timeOut() { assembler.fail(408, "The request did not come to its end in time") }
}
