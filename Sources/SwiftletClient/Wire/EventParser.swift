/// Takes server-sent events apart (the HTML standard, section "Server-sent events").
package struct EventParser {
    /// An event that has data.
    package struct Event: Equatable {
        /// Its own `id`; nil without one.
        package var id: String?
        /// Its data.
        package var data: [UInt8]

        package init(id: String? = nil, data: [UInt8] = []) { (self.id, self.data) = (id, data) }
    }

    /// The longest line and the longest event, in bytes.
    package static let limit = 1 << 20

    private var line: [UInt8] = []
    private var event = Event()
    private var hasData = false
    private var endsWithReturn = false

    /// A parser at the start of a stream.
    package init() {}

    /// Takes the next bytes and answers the events that they complete; nil when one is longer than the limit.
    package mutating func feed(_ bytes: [UInt8]) -> [Event]? {
        var events: [Event] = []
        for byte in bytes {
            let afterReturn = endsWithReturn
            endsWithReturn = byte == 0x0d
            switch byte {
            case 0x0a where afterReturn: continue
            case 0x0a, 0x0d:
                if let event = endLine() { events.append(event) }
            default: line.append(byte)
            }
            if line.count > Self.limit || event.data.count > Self.limit { return nil }
        }
        return events
    }

    private mutating func endLine() -> Event? {
        defer { line.removeAll(keepingCapacity: true) }
        if line.isEmpty {
            defer { (event, hasData) = (Event(), false) }
            return hasData ? event : nil
        }
        if let data = value("data") {
            if hasData { event.data.append(0x0a) }
            event.data += data
            hasData = true
        } else if let id = value("id"), !id.contains(0) {
            event.id = String(decoding: id, as: UTF8.self)
        }
        return nil
    }

    /// The line's value where it is the field of that name: what is behind the colon and one blank. Other fields and
    /// comments say nothing that is needed here.
    private func value(_ name: String) -> ArraySlice<UInt8>? {
        let name = Array(name.utf8)
        guard line.starts(with: name), line.count == name.count || line[name.count] == UInt8(ascii: ":") else {
            return nil
        }
        let value = line.dropFirst(name.count + 1)
        return value.first == 0x20 ? value.dropFirst() : value
    }
}
