import Host
import Synchronization

/// A frame as it came.
package struct Frame: Sendable {
    package let kind: FrameKind
    /// The payload; of pages and of a disk only the head, whose bytes are in the channel's memory until the next frame.
    package let payload: [UInt8]
    /// Bytes of pages, or of a disk, behind the head.
    package let pageBytes: Int
    /// Bytes that went over for that: fewer of pages that came compressed.
    package var length: Int

    package init(kind: FrameKind, payload: [UInt8], pageBytes: Int) {
        (self.kind, self.payload, self.pageBytes) = (kind, payload, pageBytes)
        length = FrameHeader.size + payload.count + pageBytes
    }
}

/// One stream of a migration: frames both ways, each with its number and its checksums.
///
/// One thread sends and one receives at a time.
package final class FrameChannel: Sendable {
    package let connection: any ByteStream
    /// Frames so far; relaxed, since one thread at a time counts each.
    private let sent = Atomic<UInt64>(0)
    private let received = Atomic<UInt64>(0)
    /// Room for a frame of pages that goes out, with its header, and for the pages of one that comes in.
    private let outgoing: ScratchMemory
    private let incoming: ScratchMemory
    /// What compresses pages that go out, and what those are got back with that come; nil where none are compressed.
    private let packer = Mutex<PagePacker?>(nil), unpacker = Mutex<PageUnpacker?>(nil)

    package init(_ connection: any ByteStream) throws(MigrationError) {
        self.connection = connection
        do throws(HostError) {
            outgoing = try ScratchMemory(count: PagesHead.dataStart + PagesHead.chunkSize)
            incoming = try ScratchMemory(count: PagesHead.chunkSize)
        } catch {
            throw MigrationError(.machine, "\(error)")
        }
    }

    // MARK: Sending

    /// Sends a frame.
    ///
    /// - Parameters:
    ///   - milliseconds: how long that may take.
    ///   - stop: ends the waiting while its counter is above zero.
    package func send(
        _ kind: FrameKind, _ payload: [UInt8] = [], descriptors: [Int32] = [], within milliseconds: Int,
        heeding stop: EventFD? = nil
    ) throws(MigrationError) {
        guard payload.count <= kind.limit else {
            throw MigrationError(
                .invalid, "the machine's \(kind) has \(payload.count) bytes, and a migration takes \(kind.limit)")
        }
        let header = FrameHeader(
            kind, sequence: nextNumber(), length: payload.count, checksum: Checksum.crc32c(payload))
        do throws(StreamFault) {
            try connection.send(
                header.bytes + payload, descriptors: descriptors, within: milliseconds, heeding: stop)
        } catch {
            throw MigrationError(fault: error, "sending \(kind)")
        }
    }

    /// Compresses the pages of the frames that go out from now on, where that makes them fewer bytes.
    func packPages() throws(MigrationError) {
        let new = try PagePacker()
        packer.withLock { $0 = new }
    }

    /// A frame of pages in the channel's memory, until the next one.
    struct ReadyPages {
        fileprivate let kind: FrameKind
        fileprivate let room: ScratchMemory
        /// How many bytes it has.
        let count: Int
    }

    /// Puts a frame of pages together: copies them first, since the guest may write them meanwhile.
    ///
    /// - Parameter chunk: the chunk's bytes.
    func ready(_ head: PagesHead, of chunk: HostRange) -> ReadyPages {
        var end = PagesHead.dataStart
        for run in head.present.runs {
            let pages = chunk.pages(run)
            outgoing.range.part(end..<end + pages.count).copy(from: pages)
            end += pages.count
        }
        let pages = outgoing.range.part(PagesHead.dataStart..<end)
        var ready = ReadyPages(kind: .pages, room: outgoing, count: end)
        if pages.count > 0, let packer = packer.withLock({ $0 }), let packed = packer.pack(pages) {
            ready = ReadyPages(kind: .packedPages, room: packer.room, count: PagesHead.dataStart + packed)
        }
        ready.room.fill(head.bytes, at: FrameHeader.size)
        return ready
    }

    /// Sends the pages that were put together last.
    func send(_ pages: ReadyPages, within milliseconds: Int, heeding stop: EventFD?) throws(MigrationError) {
        let payload = pages.room.range.part(FrameHeader.size..<pages.count)
        let header = FrameHeader(
            pages.kind, sequence: nextNumber(), length: payload.count, checksum: Checksum.crc32c(payload))
        pages.room.fill(header.bytes)
        do throws(StreamFault) {
            try connection.send(pages.room.range.part(0..<pages.count), within: milliseconds, heeding: stop)
        } catch {
            throw MigrationError(fault: error, "sending pages")
        }
    }

    /// The number of the next frame that goes out.
    func nextNumber() -> UInt64 { sent.wrappingAdd(1, ordering: .relaxed).oldValue }

    // MARK: Receiving

    /// Whether something has come that was not received yet, the stream's end included.
    package var hasInput: Bool { connection.hasInput }

    /// Receives the next frame, and checks it.
    ///
    /// - Parameter memory: where pages are put at once; what came is all in vain where they turn out to be damaged. Without
    ///   it they stay in the channel's memory.
    package func receive(
        within milliseconds: Int?, heeding stop: EventFD? = nil, into memory: ArrivingMemory? = nil
    ) throws(MigrationError) -> Frame {
        let header = try header(within: milliseconds, heeding: stop)
        // Whoever begins a frame finishes it, however long the next one may take.
        let rest = milliseconds ?? 30_000
        if header.kind == .pages { return try pages(header, into: memory, within: rest, heeding: stop) }
        if header.kind == .packedPages { return try packedPages(header, into: memory, within: rest, heeding: stop) }
        if header.kind == .diskData { return try diskData(header, within: rest, heeding: stop) }
        let payload = try bytes(header.length, within: rest, heeding: stop, "a frame (\(header.kind))")
        guard Checksum.crc32c(payload) == header.checksum else {
            throw .violation("a frame (\(header.kind)) was damaged on the way")
        }
        return Frame(kind: header.kind, payload: payload, pageBytes: 0)
    }

    /// The pages, or a disk's bytes, of the frame that was received last, packed: its first `pageBytes` bytes.
    package var pages: HostRange { incoming.range }

    private func header(within milliseconds: Int?, heeding stop: EventFD?) throws(MigrationError) -> FrameHeader {
        let bytes = try bytes(FrameHeader.size, within: milliseconds, heeding: stop, "a frame")
        let number = received.wrappingAdd(1, ordering: .relaxed).oldValue
        return try FrameHeader(bytes, sequence: number)
    }

    private func pages(
        _ header: FrameHeader, into memory: ArrivingMemory?, within milliseconds: Int, heeding stop: EventFD?
    ) throws(MigrationError) -> Frame {
        let count = header.length - PagesHead.size
        guard count >= 0, count % HostRange.pageSize == 0 else {
            throw .violation("a frame of pages has \(header.length) bytes, which are no whole pages")
        }
        let bytes = try bytes(PagesHead.size, within: milliseconds, heeding: stop, "pages")
        let head = PagesHead(bytes)
        let chunk = try memory?.place(head, dataBytes: count)
        let runs = head.present.runs
        // A call each costs less than a copy while they are few.
        let isDirect = runs.count <= 4
        var parts = [incoming.range.part(0..<count)]
        if let chunk, isDirect { parts = runs.map(chunk.pages) }
        try receive(parts, behind: bytes, header, within: milliseconds, heeding: stop, "pages")
        if let chunk {
            if !isDirect { chunk.put(incoming.range, at: head.present) }
            for run in head.zero.runs { chunk.pages(run).clear() }
        }
        return Frame(kind: .pages, payload: bytes, pageBytes: count)
    }

    /// Takes pages that come compressed, from now on.
    func unpackPages() throws(MigrationError) {
        let new = try PageUnpacker()
        unpacker.withLock { $0 = new }
    }

    /// Receives compressed pages, which are pages like others from here on. How many bytes they become is known from the
    /// pages that the head names; what the compressed bytes say of themselves is believed only where it is the same.
    private func packedPages(
        _ header: FrameHeader, into memory: ArrivingMemory?, within milliseconds: Int, heeding stop: EventFD?
    ) throws(MigrationError) -> Frame {
        guard let unpacker = unpacker.withLock({ $0 }) else {
            throw .violation("compressed pages came, and none were to come")
        }
        let count = header.length - PagesHead.size
        guard count > 0 else { throw .violation("a frame of compressed pages has \(header.length) bytes") }
        let bytes = try bytes(PagesHead.size, within: milliseconds, heeding: stop, "pages")
        let head = PagesHead(bytes)
        let size = head.present.pageCount * HostRange.pageSize
        guard count < size else { throw .violation("\(count) bytes came for \(size) bytes of pages, compressed") }
        let chunk = try memory?.place(head, dataBytes: size)
        let packed = unpacker.room.range.part(0..<count)
        try receive([packed], behind: bytes, header, within: milliseconds, heeding: stop, "pages")
        let runs = head.present.runs
        var target = incoming.range.part(0..<size)
        if let chunk, runs.count == 1 { target = chunk.pages(runs[0]) }
        guard unpacker.unpack(packed, into: target) else {
            throw .violation("the compressed pages of 0x\(String(head.address, radix: 16)) cannot be read")
        }
        if let chunk {
            if runs.count > 1 { chunk.put(incoming.range, at: head.present) }
            for run in head.zero.runs { chunk.pages(run).clear() }
        }
        var frame = Frame(kind: .pages, payload: bytes, pageBytes: size)
        frame.length = FrameHeader.size + header.length
        return frame
    }

    /// Receives a frame's data, which comes behind its head, and checks both.
    func receive(
        _ parts: [HostRange], behind head: [UInt8], _ header: FrameHeader, within milliseconds: Int,
        heeding stop: EventFD?, _ what: String
    ) throws(MigrationError) {
        var sum = Checksum.crc32c(head)
        for part in parts {
            do throws(StreamFault) {
                try connection.receive(into: part, within: milliseconds, heeding: stop)
            } catch {
                throw MigrationError(fault: error, "waiting for \(what)")
            }
            sum = Checksum.crc32c(part, after: sum)
        }
        guard sum == header.checksum else { throw .violation("the bytes of \(what) were damaged on the way") }
    }

    /// Receives bytes, with memory for them as they come: a length alone allocates nothing.
    func bytes(
        _ count: Int, within milliseconds: Int?, heeding stop: EventFD?, _ what: String
    ) throws(MigrationError) -> [UInt8] {
        var bytes: [UInt8] = []
        while bytes.count < count {
            let part = min(count - bytes.count, PagesHead.chunkSize)
            do throws(StreamFault) {
                try connection.receive(into: incoming.range.part(0..<part), within: milliseconds, heeding: stop)
            } catch {
                throw MigrationError(fault: error, "waiting for \(what)")
            }
            bytes += incoming.bytes(0..<part)
        }
        return bytes
    }
}
