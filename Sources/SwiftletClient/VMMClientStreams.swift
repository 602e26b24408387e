// What goes on for as long as somebody listens: extensions of Swiftlet.

extension VMMClient {
    /// What happens in the VMM: first, again, the last 64 events at most, then each as it comes.
    ///
    /// A client that comes back misses nothing so, and tells what it has seen by the events' ``VMEvent/id``; one that
    /// looks for what its own request causes asks for the events before it sends that, and passes over the past.
    ///
    /// ```swift
    /// for try await event in try await client.events() where event.id ?? 0 > lastSeen {
    ///     lastSeen = event.id ?? lastSeen
    ///     if event.event == "device-removed" { … }
    /// }
    /// ```
    public func events() async throws(VMMClientError) -> VMEvents {
        let request = WireRequest("GET", "vm.events")
        let stream = try await OpenStream.open(request, expecting: 200, at: socketPath, timeout: timeout)
        return VMEvents(stream: stream, operation: request.operation, socketPath: socketPath)
    }

    /// Attaches to the guest's virtio console. What it wrote last comes first; any number of clients may be attached.
    public func console() async throws(VMMClientError) -> GuestTerminal { try await attach("vm.console") }

    /// Attaches to the guest's serial port. What it wrote last comes first; any number of clients may be attached.
    public func serial() async throws(VMMClientError) -> GuestTerminal { try await attach("vm.serial") }

    private func attach(_ route: String) async throws(VMMClientError) -> GuestTerminal {
        let request = WireRequest("GET", route, upgrade: WireRequest.terminalProtocol)
        let stream = try await OpenStream.open(request, expecting: 101, at: socketPath, timeout: timeout)
        return GuestTerminal(stream: stream)
    }
}

/// The events of a VMM. Each event goes to one reader; the connection ends when the last reference to it goes.
public struct VMEvents: AsyncSequence, Sendable {
    let stream: OpenStream
    let operation: String
    let socketPath: String

    /// Starts to read.
    public func makeAsyncIterator() -> Iterator { Iterator(events: self) }

    /// Reads the events.
    public struct Iterator: AsyncIteratorProtocol {
        let events: VMEvents
        private var parser = EventParser()
        private var waiting: ArraySlice<VMEvent> = []

        init(events: VMEvents) { self.events = events }

        /// The next event; nil when the VMM has ended.
        public mutating func next() async throws(VMMClientError) -> VMEvent? {
            while waiting.isEmpty {
                guard let bytes = try await events.stream.connection.next() else { return nil }
                waiting = try events.decode(parser.feed(bytes))[...]
            }
            return waiting.removeFirst()
        }
    }

    private func decode(_ parts: [EventParser.Event]?) throws(VMMClientError) -> [VMEvent] {
        guard let parts else {
            let cause = "an event has more than \(EventParser.limit) bytes"
            throw VMMClientError(.protocolError, operation: operation, socketPath: socketPath, causes: [cause])
        }
        var found: [VMEvent] = []
        for part in parts {
            var event = try BlockingCall.decode(VMEvent.self, part.data, operation: operation, socketPath: socketPath)
            event.id = part.id.flatMap { UInt64($0) }
            event.raw = part.data
            found.append(event)
        }
        return found
    }
}

/// A guest's console or serial port: a stream of bytes each way. It ends when the last reference to it goes.
public struct GuestTerminal: AsyncSequence, Sendable {
    let stream: OpenStream

    /// Starts to read what the guest writes. Each piece goes to one reader.
    public func makeAsyncIterator() -> Iterator { Iterator(stream: stream) }

    /// Types bytes into the guest; returns when they are on their way.
    public func write(_ bytes: [UInt8]) async throws(VMMClientError) { try await stream.connection.send(bytes) }

    /// Types a text into the guest; returns when it is on its way.
    public func write(_ text: String) async throws(VMMClientError) { try await write(Array(text.utf8)) }

    /// Detaches; readers come to their end.
    public func close() { stream.connection.close() }

    /// Reads what the guest writes.
    public struct Iterator: AsyncIteratorProtocol {
        let stream: OpenStream

        /// The next bytes; nil when the terminal is closed.
        public mutating func next() async throws(VMMClientError) -> [UInt8]? { try await stream.connection.next() }
    }
}
