/// Takes server-sent events apart (the HTML standard, section "Server-sent events"): the data of each.
package struct EventParser {
    /// The longest line and the longest event, in bytes.
    package static let limit = 1 << 20

    private var line: [UInt8] = []
    private var data: [UInt8] = []
    private var hasData = false
    private var endsWithReturn = false

    /// A parser at the start of a stream.
    package init() {}

    /// Takes the next bytes and answers the data of the events that they complete; nil when one is longer than the limit.
    package mutating func feed(_ bytes: [UInt8]) -> [[UInt8]]? {
        var events: [[UInt8]] = []
        for byte in bytes {
            let afterReturn = endsWithReturn
            endsWithReturn = byte == 0x0d
            switch byte {
            case 0x0a where afterReturn: continue
            case 0x0a, 0x0d:
                if let event = endLine() { events.append(event) }
            default: line.append(byte)
            }
            if line.count > Self.limit || data.count > Self.limit { return nil }
        }
        return events
    }

    private mutating func endLine() -> [UInt8]? {
        defer { line.removeAll(keepingCapacity: true) }
        if line.isEmpty {
            defer { (data, hasData) = ([], false) }
            return hasData ? data : nil
        }
        // `data:` and one blank after it; other fields and comments say nothing that is needed here.
        let name = Array("data".utf8)
        guard line.starts(with: name), line.count == name.count || line[name.count] == UInt8(ascii: ":") else {
            return nil
        }
        var value = line.dropFirst(name.count + 1)
        if value.first == 0x20 { value = value.dropFirst() }
        if hasData { data.append(0x0a) }
        data += value
        hasData = true
        return nil
    }
}
