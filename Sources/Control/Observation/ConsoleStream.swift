import CharBackend
import Host
import Synchronization

/// `vm.console` and `vm.serial`: a client's connection as a client of the guest's character device.
///
/// The last output comes first, up to 64 KiB, then all that follows, until the VM is deleted or the client leaves.
final class ConsoleStream: CharClient, ByteReceiver {
    private let sink: any ByteSink
    /// Set right after the attachment, before any input comes.
    private let attachment = Mutex<CharAttachment?>(nil)
    private let isClosed = Atomic<Bool>(false)

    /// The reply to a request that asks for the upgrade.
    static func reply(_ port: CharPort) -> APIReply {
        .upgrade(protocol: "swiftlet-console") { sink in
            let stream = ConsoleStream(sink)
            stream.attach(port)
            return stream
        }
    }

    private init(_ sink: any ByteSink) { self.sink = sink }

    private func attach(_ port: CharPort) {
        do throws(HostError) {
            let stay = try port.attach(self)
            attachment.withLock { $0 = stay }
            // The sink outlives the stream's stay, not the other way round.
            sink.onClose { [weak self] in self?.leave() }
        } catch {
            sink.finish()
        }
    }

    private func leave() {
        isClosed.store(true, ordering: .relaxed)
        let stay = attachment.withLock { stay in
            defer { stay = nil }
            return stay
        }
        stay?.detach()
    }

    // MARK: From the guest

    func take(_ bytes: [UInt8]) -> Bool {
        // Of a connection that is gone its close tells; until it does, and with a full queue, the device tries again.
        // Ordering: the flag guards nothing but itself.
        isClosed.load(ordering: .relaxed) || sink.send(bytes)
    }

    func end() { sink.finish() }

    // MARK: To the guest

    var room: Int { attachment.withLock { $0 }?.room ?? 0 }
    func receive(_ bytes: [UInt8]) { attachment.withLock { $0 }?.write(bytes) }
}
