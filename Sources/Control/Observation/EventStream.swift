import Host
import Machine
import Spec
import Synchronization

/// `vm.events`: the events as server-sent events (WHATWG HTML, section 9.2).
///
/// Each has its number as `id`, its source and name as `event` (`vm.booted`), and as `data` the object that the event
/// monitor writes, in one line. A new stream begins with the last events, at most `EventMonitor.replay`, so that a
/// client that comes back misses nothing it can tell by the numbers; a comment comes after 15 s of silence. A client
/// that reads too slowly is cut off after what it was sent, and may come back.
final class EventStream: EventSubscriber {
    private let sink: any ByteSink
    private let isClosed = Atomic<Bool>(false)

    /// The reply to a request for the events.
    static func reply(_ monitor: EventMonitor) -> APIReply {
        .stream(contentType: "text/event-stream") { sink in
            let stream = EventStream(sink)
            do throws(HostError) { try monitor.subscribe(stream) } catch { sink.finish() }
        }
    }

    init(_ sink: any ByteSink) {
        self.sink = sink
        // Only noted: the monitor's thread lets go of the stream with the next event or heartbeat. Weakly, since the
        // sink lives as long as the stream.
        sink.onClose { [weak self] in self?.isClosed.store(true, ordering: .relaxed) }
    }

    func take(_ event: EventRecord) -> Bool { send(Self.text(event)) }
    func nothingHappened() -> Bool { send(":\n\n") }

    private func send(_ text: String) -> Bool {
        // Ordering: the flag guards nothing but itself.
        guard !isClosed.load(ordering: .relaxed) else { return false }
        if sink.send(Array(text.utf8)) { return true }
        sink.finish()
        return false
    }

    /// An event as it goes over the wire. JSON escapes line ends, so that the data is one line.
    static func text(_ event: EventRecord) -> String {
        "id: \(event.number)\nevent: \(event.source).\(event.event)\ndata: \(event.json.text())\n\n"
    }
}
