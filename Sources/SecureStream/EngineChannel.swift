import NIOCore

/// The channel around a TLS handler: what the handler writes and decrypts is kept until it is taken. It has no socket.
///
/// `Channel` asks for `Sendable`, which this is not by itself: whoever owns the engine that it is part of uses it from one
/// thread at a time.
final class EngineChannel: Channel, ChannelCore, @unchecked Sendable {
    private let loop = LockedEventLoop()
    private var line: ChannelPipeline?
    private let closing: EventLoopPromise<Void>
    private let address: SocketAddress?

    /// What is to go to the peer, in order.
    private(set) var output: [ByteBuffer] = []
    /// What came from it, decrypted.
    private(set) var input: CircularBuffer<ByteBuffer> = []
    /// What went wrong first.
    private(set) var failure: (any Error)?
    private(set) var isActive = false
    private(set) var isClosed = false

    /// - Parameter address: the peer's, for its certificate to be compared with.
    init(_ address: SocketAddress?) {
        self.address = address
        closing = loop.makePromise(of: Void.self)
        line = ChannelPipeline(channel: self)
    }

    // MARK: For the engine

    /// Begins: the handler may send from here on.
    func activate() {
        isActive = true
        pipeline.fireChannelActive()
        loop.run()
    }

    /// Hands over what came from the peer.
    func receive(_ bytes: ByteBuffer) {
        pipeline.fireChannelRead(bytes)
        pipeline.fireChannelReadComplete()
        loop.run()
    }

    /// Has the handler encrypt.
    func send(_ bytes: ByteBuffer) {
        pipeline.writeAndFlush(bytes, promise: nil)
        loop.run()
    }

    func takeOutput() -> [ByteBuffer] {
        defer { output = [] }
        return output
    }

    /// Takes up to so many of the bytes that were decrypted first.
    func takeInput(upTo limit: Int) -> [UInt8] {
        guard let first = input.first else { return [] }
        var buffer = first
        let bytes = buffer.readBytes(length: min(limit, buffer.readableBytes)) ?? []
        if buffer.readableBytes == 0 { input.removeFirst() } else { input[input.startIndex] = buffer }
        return bytes
    }

    /// The peer has ended the connection.
    func deactivate() {
        guard isActive else { return }
        isActive = false
        isClosed = true
        pipeline.fireChannelInactive()
        loop.run()
    }

    /// Ends it: handlers, channel and loop know each other, and let go now.
    func end() {
        deactivate()
        pipeline.fireChannelUnregistered()
        removeHandlers(pipeline: pipeline)
        loop.run()
        closing.succeed(())
        line = nil
        loop.end()
    }

    // MARK: Channel

    let allocator = ByteBufferAllocator()
    let parent: (any Channel)? = nil
    let localAddress: SocketAddress? = nil
    let isWritable = true
    var eventLoop: any EventLoop { loop }
    var closeFuture: EventLoopFuture<Void> { closing.futureResult }
    var remoteAddress: SocketAddress? { address }
    var _channelCore: any ChannelCore { self }
    /// A pipeline of nothing once it has ended.
    var pipeline: ChannelPipeline { line ?? ChannelPipeline(channel: self) }

    func setOption<Option: ChannelOption>(_ option: Option, value: Option.Value) -> EventLoopFuture<Void> {
        loop.makeFailedFuture(ChannelError.operationUnsupported)
    }

    func getOption<Option: ChannelOption>(_ option: Option) -> EventLoopFuture<Option.Value> {
        loop.makeFailedFuture(ChannelError.operationUnsupported)
    }

    // MARK: Below the handler

    func localAddress0() throws -> SocketAddress { throw ChannelError.operationUnsupported }
    func remoteAddress0() throws -> SocketAddress {
        guard let address else { throw ChannelError.operationUnsupported }
        return address
    }
    func register0(promise: EventLoopPromise<Void>?) { promise?.succeed(()) }
    func bind0(to: SocketAddress, promise: EventLoopPromise<Void>?) { promise?.fail(ChannelError.operationUnsupported) }
    func connect0(to: SocketAddress, promise: EventLoopPromise<Void>?) {
        promise?.fail(ChannelError.operationUnsupported)
    }
    func write0(_ data: NIOAny, promise: EventLoopPromise<Void>?) {
        output.append(unwrapData(data, as: ByteBuffer.self))
        promise?.succeed(())
    }
    func flush0() {}
    func read0() {}
    func triggerUserOutboundEvent0(_ event: Any, promise: EventLoopPromise<Void>?) { promise?.succeed(()) }

    /// The handler gives up, or has said goodbye.
    func close0(error: any Error, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        isClosed = true
        promise?.succeed(())
    }

    // MARK: Behind the handler

    func channelRead0(_ data: NIOAny) {
        let bytes = unwrapData(data, as: ByteBuffer.self)
        if bytes.readableBytes > 0 { input.append(bytes) }
    }

    func errorCaught0(error: any Error) { if failure == nil { failure = error } }
}
