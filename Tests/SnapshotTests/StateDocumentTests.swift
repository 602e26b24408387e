import Testing

@testable import Snapshot

/// A made-up device's state.
private struct Timer: SavedState {
    static let kind = "timer"
    static let version = 2
    static let readableVersions = [1, 2]

    struct Channel: Codable, Equatable, Sendable {
        var count: UInt16
        var armed: Bool
    }

    var channels: [Channel]
    var divisor: UInt32
    var raw: RawBytes

    /// Version 1 had one channel, outside of a list.
    private struct One: Decodable {
        var channel: Channel
        var divisor: UInt32
        var raw: RawBytes
    }

    static func decodeState(version: Int, from decoder: any Decoder) throws -> Timer {
        guard version == 1 else { return try Timer(from: decoder) }
        let one = try One(from: decoder)
        return Timer(channels: [one.channel], divisor: one.divisor, raw: one.raw)
    }
}

private struct PlainLamp: SavedState {
    static let kind = "lamp"
    static let version = 1
    var lit: Bool
}

private struct Registers: BitwiseCopyable, Equatable {
    var a: UInt64 = 1, b: UInt32 = 2, c: UInt32 = 3
}

@Suite struct StateDocumentTests {
    private let timer = Timer(
        channels: [.init(count: 7, armed: true), .init(count: 65535, armed: false)], divisor: 9,
        raw: RawBytes([0, 1, 254, 255]))

    private func text(_ document: StateDocument) throws -> String {
        String(decoding: try document.encoded(), as: UTF8.self)
    }

    private func reading(_ text: String) throws -> StateDocument {
        try StateDocument(Array(text.utf8), file: "/s/state.json")
    }

    /// The error that a section's text makes when it is read as a timer.
    private func refusal(version: Int = 2, kind: String = "timer", _ state: String) throws -> SnapshotError {
        let document = try reading(
            #"{"format":1,"devices":{"t0":{"kind":"\#(kind)","version":\#(version),"state":\#(state)}}}"#)
        return try #require(throws: SnapshotError.self) { try document.read(Timer.self, of: "t0") }
    }

    @Test func whatIsWrittenIsReadAgain() throws {
        var document = StateDocument()
        try document.add(timer, as: "timer0")
        try document.add(PlainLamp(lit: true), as: "lamp")
        let expected =
            #"{"devices":{"lamp":{"kind":"lamp","state":{"lit":true},"version":1},"timer0":{"kind":"timer","state":"#
            + #"{"channels":[{"armed":true,"count":7},{"armed":false,"count":65535}],"divisor":9,"raw":"AAH+/w=="},"#
            + #""version":2}},"format":1}"#
        #expect(try text(document) == expected)
        let back = try reading(expected)
        #expect(back.devices == ["lamp", "timer0"])
        #expect(try back.kind(of: "timer0") == (kind: "timer", version: 2))
        #expect(try back.read(Timer.self, of: "timer0") == timer)
        #expect(back.unread == ["lamp"])
        #expect(try back.read(of: "lamp") == PlainLamp(lit: true))
        try back.checkAllRead()
    }

    /// The packed form is the same document, with the bytes beside it.
    @Test func whatIsPackedIsReadAgain() throws {
        var document = StateDocument()
        try document.add(timer, as: "timer0")
        try document.add(PlainLamp(lit: true), as: "lamp")
        let bytes = try document.packed()
        #expect(Array(bytes.suffix(4)) == [0, 1, 254, 255] && !String(decoding: bytes, as: UTF8.self).contains("AAH"))
        let back = try StateDocument(moved: bytes, "it")
        #expect(try back.read(Timer.self, of: "timer0") == timer)
        #expect(try back.read(of: "lamp") == PlainLamp(lit: true))
        try back.checkAllRead()
        // One that came as JSON is read as well; a file is JSON.
        #expect(try StateDocument(moved: document.encoded(), "it").read(of: "timer0") == timer)
        #expect(throws: SnapshotError.self) { try StateDocument(bytes, file: "state.json") }
    }

    /// A part that is named again and again is not handed out for ever: a few bytes would make many.
    @Test func aPartIsReadAFewTimes() throws {
        var document = StateDocument()
        for index in 0..<20 { try document.add(timer, as: "timer\(index)") }
        var text = String(decoding: try document.packed(), as: UTF8.self)
        // All name the first one, and the others are not there: the head is 20 lengths long, here of one part.
        let json = text[try #require(text.firstIndex(of: "{"))...].prefix { $0 != "\0" }
        text = String(json.replacing(/"raw":\d+/, with: "\"raw\":0"))
        func number(_ value: Int) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
        let bytes =
            Array("SWST".utf8) + number(text.utf8.count) + number(1) + number(4) + Array(text.utf8) + [0, 1, 254, 255]
        let back = try StateDocument(moved: bytes, "it")
        let read = (0..<20).count { (try? back.read(Timer.self, of: "timer\($0)")) == timer }
        #expect(read == 8)
    }

    /// Whatever is cut off, added or changed: an error with words, or another document, and no trap.
    @Test func damagedPackedStatesAreRefused() throws {
        var document = StateDocument()
        try document.add(timer, as: "timer0")
        let bytes = try document.packed()
        func read(_ bytes: [UInt8]) throws -> Timer { try StateDocument(moved: bytes, "it").read(of: "timer0") }
        for count in 0..<bytes.count {
            let error = #expect(throws: SnapshotError.self) { try read(Array(bytes.prefix(count))) }
            #expect(error?.file == "it" && error?.words.isEmpty == false)
        }
        #expect(throws: SnapshotError.self) { try read(bytes + [0]) }
        for index in bytes.indices {
            for value in [0, 1, 0x7F, 0x80, 0xFF] as [UInt8] where bytes[index] != value {
                var other = bytes
                other[index] = value
                do { _ = try read(other) } catch { #expect(error is SnapshotError, "\(error)") }
            }
        }
        // A part that is not there.
        let state = #"{"channels":[],"divisor":1,"raw":9}"#
        let text = #"{"format":1,"devices":{"timer0":{"kind":"timer","version":2,"state":\#(state)}}}"#
        let forged = Array("SWST".utf8) + [UInt8(text.utf8.count), 0, 0, 0, 0, 0, 0, 0] + Array(text.utf8)
        let error = #expect(throws: SnapshotError.self) { try read(forged) }
        #expect(error?.description.contains("there is no part 9") == true, "\(error.debugDescription)")
    }

    @Test func aBuiltDocumentIsReadWithoutJSON() throws {
        var document = StateDocument()
        try document.add(timer, as: "timer0")
        #expect(try document.read(Timer.self, of: "timer0") == timer)
        try document.checkAllRead()
        let error = #expect(throws: SnapshotError.self) { try document.read(PlainLamp.self, of: "timer0") }
        #expect(error?.kind == .kindOfDevice(device: "timer0", found: "timer", wanted: "lamp"))
    }

    @Test func anOlderVersionIsRead() throws {
        let document = try reading(
            #"{"format":1,"devices":{"t":{"kind":"timer","version":1,"state":"#
                + #"{"channel":{"count":3,"armed":true},"divisor":4,"raw":""}}}}"#)
        let expected = Timer(channels: [.init(count: 3, armed: true)], divisor: 4, raw: RawBytes([]))
        #expect(try document.read(Timer.self, of: "t") == expected)
    }

    @Test func devicesThatNobodyReadAreNamed() throws {
        let document = try reading(
            #"{"format":1,"devices":{"b":{"kind":"x","version":1,"state":{}},"a":{"kind":"y","version":1,"state":{}}}}"#
        )
        let error = #expect(throws: SnapshotError.self) { try document.checkAllRead() }
        #expect(error?.kind == .unknownDevices(["a", "b"]))
        #expect("\(error as Any)".contains("a, b"))
    }

    @Test func twoStatesForOneDeviceAreRefused() throws {
        var document = StateDocument()
        try document.add(PlainLamp(lit: true), as: "x")
        let error = #expect(throws: SnapshotError.self) { try document.add(PlainLamp(lit: false), as: "x") }
        #expect(error?.kind == .duplicateDevice("x"))
    }

    @Test func aVersionFromTheFutureIsNamed() throws {
        let error = try refusal(version: 3, "{}")
        #expect(error.kind == .version(device: "t0", kind: "timer", found: 3, known: [1, 2]))
        #expect(error.file == "/s/state.json")
        #expect(error.field == "devices.t0.version")
    }

    @Test func aDeviceOfAnotherKindIsNamed() throws {
        let error = try refusal(kind: "lamp", "{}")
        #expect(error.kind == .kindOfDevice(device: "t0", found: "lamp", wanted: "timer"))
    }

    @Test(arguments: [
        (#"{"channels":[],"divisor":4294967296,"raw":""}"#, "devices.t0.state.divisor", "4294967296"),
        (#"{"channels":[],"divisor":-1,"raw":""}"#, "devices.t0.state.divisor", "-1"),
        (#"{"channels":[],"divisor":1.5,"raw":""}"#, "devices.t0.state.divisor", "1.5"),
        (#"{"channels":[],"divisor":1e300,"raw":""}"#, "devices.t0.state.divisor", "1e300"),
        (#"{"channels":[],"divisor":"x","raw":""}"#, "devices.t0.state.divisor", "string"),
        (#"{"channels":[],"divisor":1,"raw":"?"}"#, "devices.t0.state.raw", "?"),
        (#"{"channels":[],"divisor":1}"#, "devices.t0.state.raw", "missing"),
        (
            #"{"channels":[{"count":1,"armed":true},{"count":65536,"armed":true}],"divisor":1,"raw":""}"#,
            "devices.t0.state.channels[1].count", "65536"
        ),
        (#"{"channels":[{"count":1}],"divisor":1,"raw":""}"#, "devices.t0.state.channels[0].armed", "missing"),
        (#"{"channels":null,"divisor":1,"raw":""}"#, "devices.t0.state.channels", "null"),
        ("[]", "devices.t0.state", "array"),
    ])
    func aBadFieldIsNamed(_ state: String, _ field: String, _ words: String) throws {
        let error = try refusal(state)
        #expect(error.kind == .malformed)
        #expect(error.file == "/s/state.json")
        #expect(error.field == field, "\(error)")
        #expect(error.words.contains(words), "\(error)")
    }

    @Test func whatIsNoDocumentIsRefused() throws {
        let texts = [
            "", "{", "[]", "null", "{}", #"{"format":1}"#, #"{"format":1,"devices":[]}"#,
            #"{"format":1,"devices":{"a":1}}"#, #"{"format":"1","devices":{}}"#, #"{"format":1e400,"devices":{}}"#,
            "\u{FEFF}{}", String(repeating: "[", count: 100_000),
        ]
        for text in texts {
            let error = try #require(throws: SnapshotError.self) { try reading(text) }
            #expect(error.kind == .malformed, "\(text.prefix(40))")
            #expect(error.file == "/s/state.json", "\(text.prefix(40))")
        }
    }

    @Test func aFormatFromTheFutureIsRefusedByNumber() throws {
        let error = try #require(throws: SnapshotError.self) { try reading(#"{"format":2,"devices":{}}"#) }
        #expect(error.kind == .format(found: 2, newest: 1))
        #expect(error.field == "format")
    }

    @Test func aStructureIsItsBytesExactly() throws {
        let registers = Registers()
        let raw = RawBytes(of: registers)
        #expect(raw.bytes.count == 16)
        #expect(try raw.value(as: Registers.self, "regs") == registers)
        let error = #expect(throws: SnapshotError.self) {
            try RawBytes(raw.bytes + [0]).value(as: Registers.self, "regs")
        }
        #expect(error?.kind == .malformed)
        #expect(error?.field == "regs")
        #expect(throws: SnapshotError.self) { try raw.exactly(15, "regs") }
    }
}
