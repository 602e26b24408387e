import NIOCore
import NIOSSL
import NIOTLS

/// TLS without a socket: bytes in, bytes out, one thread at a time.
final class TLSEngine {
    /// Notes when both sides have shown who they are.
    private final class HandshakeWatch: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        var isDone = false

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            if let event = event as? TLSUserEvent, case .handshakeCompleted = event { isDone = true }
            context.fireUserInboundEventTriggered(event)
        }
    }

    private let channel: EngineChannel
    let handler: NIOSSLHandler
    private let watch = HandshakeWatch()

    /// - Parameter address: the peer's.
    /// - Throws: where the handlers cannot be put together.
    init(_ handler: NIOSSLHandler, address: SocketAddress?) throws {
        channel = EngineChannel(address)
        self.handler = handler
        try channel.pipeline.syncOperations.addHandlers([handler, watch])
    }

    deinit { channel.end() }

    /// Whether both sides have shown who they are.
    var isEstablished: Bool { watch.isDone && channel.failure == nil }
    /// What went wrong; nil while nothing did.
    var failure: (any Error)? { channel.failure }
    /// Whether no more will be decrypted.
    var isClosed: Bool { channel.isClosed }
    /// Whether something was decrypted that nobody took.
    var hasInput: Bool { !channel.input.isEmpty }
    /// The certificate that the peer showed, DER, also where it is not to be trusted.
    var peerCertificate: [UInt8]? { try? handler.peerCertificate?.toDERBytes() }

    /// Begins: a client has something to say then.
    func start() { channel.activate() }

    /// Takes what came from the peer.
    func feed(_ bytes: [UInt8]) { if !bytes.isEmpty, !channel.isClosed { channel.receive(ByteBuffer(bytes: bytes)) } }

    /// The peer has ended the connection.
    func peerClosed() { channel.deactivate() }

    /// Encrypts.
    func seal(_ bytes: [UInt8]) { channel.send(ByteBuffer(bytes: bytes)) }

    /// Takes what is to go to the peer.
    func takeOutput() -> [UInt8] {
        var parts = channel.takeOutput()
        if parts.count == 1, let bytes = parts[0].readBytes(length: parts[0].readableBytes) { return bytes }
        return parts.flatMap { Array($0.readableBytesView) }
    }

    /// Takes up to so many bytes of what was decrypted.
    func takeInput(upTo limit: Int) -> [UInt8] { channel.takeInput(upTo: limit) }
}
