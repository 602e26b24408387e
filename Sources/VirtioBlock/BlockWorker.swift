import Host
import Memory
import Virtio

/// A queue's thread: one request at a time, from header to status.
struct BlockWorker: WorkerBody, ~Copyable {
    var queue: ServedQueue
    let image: DiskImage
    let metrics: BlockQueueMetrics
    private let serial: [UInt8]
    /// Whether each write has to be stable when it is answered, because the driver does not flush.
    private let writeThrough: Bool
    private let buffer: AlignedBuffer?

    init(
        queue: consuming ServedQueue, image: DiskImage, serial: String, metrics: BlockQueueMetrics, writeThrough: Bool
    ) {
        self.queue = queue
        self.image = image
        self.metrics = metrics
        self.writeThrough = writeThrough
        let name = Array(serial.utf8.prefix(20))
        self.serial = name + [UInt8](repeating: 0, count: 20 - name.count)
        buffer = image.options.direct ? try? AlignedBuffer() : nil
    }

    borrowing func register(with epoll: borrowing Epoll) throws(HostError) {
        try epoll.add(queue.resources.kick.raw, [.readable, .edgeTriggered], token: 1)
    }

    mutating func begin(_ epoll: borrowing Epoll) { serve() }
    mutating func ready(_ token: UInt64, _ interest: Epoll.Interest, _ epoll: borrowing Epoll) { serve() }

    private mutating func serve() {
        let disk = BlockExecutor(
            image: image, serial: serial, metrics: metrics, writeThrough: writeThrough,
            buffer: buffer)
        // The requests follow each other without a pause: one reading of the clock ends one and begins the next.
        var time = HostClock.monotonic
        queue.serve(depth: metrics.depth) { chain in disk.execute(chain, since: &time) }
    }
}

/// Carries one request out.
struct BlockExecutor {
    let image: DiskImage
    let serial: [UInt8]
    let metrics: BlockQueueMetrics
    let writeThrough: Bool
    /// For direct I/O with a guest's unaligned memory.
    let buffer: AlignedBuffer?

    /// Does the chain's request and answers the bytes written into the chain, the status byte included.
    ///
    /// - Parameter time: when it was taken, in ns of the monotonic clock; becomes the time when it was done.
    func execute(_ chain: borrowing DescriptorChain, since time: inout UInt64) -> Int {
        // Without room for a status there is no way to answer; the chain is given back empty.
        guard chain.writableBytes > 0 else { return 0 }
        let statusAt = chain.writableBytes - 1
        var written = 0
        let status: BlockStatus
        if let header = chain.read(BlockRequest.Header.self, at: 0) {
            let request = BlockRequest(header)
            status = perform(request, chain, room: statusAt, &written)
            let now = HostClock.monotonic
            if status == .ok {
                metrics.recorder(request)?.record(
                    bytes: Self.transferred(request, chain, written), nanoseconds: now &- time)
            }
            time = now
        } else {
            status = .failed
        }
        if status != .ok { metrics.errors.add() }
        chain.write(status.rawValue, at: statusAt)
        // The used length counts from the first writable byte, so the status is in it only with all before it.
        return status == .ok && written == statusAt ? chain.writableBytes : (written == 0 ? 1 : written)
    }

    /// The bytes that a request that succeeded moved to or from the disk.
    @inline(__always)
    private static func transferred(_ request: BlockRequest, _ chain: borrowing DescriptorChain, _ written: Int) -> Int
    {
        switch request {
        case .read: written
        case .write: chain.readableBytes - BlockRequest.Header.size
        default: 0
        }
    }

    private func perform(
        _ request: BlockRequest, _ chain: borrowing DescriptorChain, room: Int, _ written: inout Int
    ) -> BlockStatus {
        let payload = chain.readableBytes - BlockRequest.Header.size
        do throws(Errno) {
            switch request {
            case .read(let sector):
                guard let offset = offset(sector, bytes: room) else { return .failed }
                try move(chain, isWrite: false, count: room, at: offset)
                written = room
            case .write(let sector):
                guard !image.options.readOnly, let offset = offset(sector, bytes: payload),
                    mayWrite(offset, payload)
                else { return .failed }
                try move(chain, isWrite: true, count: payload, at: offset)
                if writeThrough { try image.flush() }
            case .flush:
                if !image.options.readOnly { try image.flush() }
            case .getID:
                guard room >= serial.count else { return .failed }
                written = chain.write(serial.span, at: 0)
            case .discard: return try ranges(chain, payload, zero: false)
            case .writeZeroes: return try ranges(chain, payload, zero: true)
            case .unsupported: return .unsupported
            }
        } catch {
            return error == .notSupported ? .unsupported : .failed
        }
        return .ok
    }

    /// The byte at which a transfer begins, if all of it lies on the disk and is made of whole sectors.
    private func offset(_ sector: UInt64, bytes: Int) -> UInt64? {
        guard bytes >= 0, UInt64(bytes) % DiskImage.sectorSize == 0 else { return nil }
        let (start, overflow) = sector.multipliedReportingOverflow(by: DiskImage.sectorSize)
        guard !overflow, start <= image.size, UInt64(bytes) <= image.size - start else { return nil }
        return start
    }

    /// The first sector of an image whose format was only guessed stays as it is.
    private func mayWrite(_ offset: UInt64, _ bytes: Int) -> Bool {
        image.options.declaredRaw || image.isBlockDevice || offset >= DiskImage.sectorSize || bytes == 0
    }

    private func move(
        _ chain: borrowing DescriptorChain, isWrite: Bool, count: Int, at offset: UInt64
    ) throws(Errno) {
        let start = isWrite ? BlockRequest.Header.size : 0
        if image.options.direct {
            // Where every segment is aligned, the guest's own memory serves; else the buffer between.
            let vectors =
                isWrite ? chain.readable(from: start, count: count) : chain.writable(from: start, count: count)
            if let buffer, !vectors.isAligned(to: image.geometry.memoryAlignment) {
                return try image.transferAligned(chain, buffer, isWrite: isWrite, count: count, at: offset)
            }
        }
        try image.transfer(chain, isWrite: isWrite, dataStart: start, count: count, at: offset)
    }

    private func ranges(_ chain: borrowing DescriptorChain, _ payload: Int, zero: Bool) throws(Errno) -> BlockStatus {
        guard !image.options.readOnly, payload > 0, payload % BlockRequest.Range.size == 0,
            payload / BlockRequest.Range.size <= Int(BlockDevice.rangeCount)
        else { return .failed }
        for index in 0..<(payload / BlockRequest.Range.size) {
            let place = BlockRequest.Header.size + index * BlockRequest.Range.size
            guard let range = chain.read(BlockRequest.Range.self, at: place) else { return .failed }
            // Unknown flags, and unmap with a discard, which is one already, are not supported (5.2.6.2).
            let allowed = zero ? BlockRequest.Range.unmap : 0
            guard range.flags & ~allowed == 0 else { return .unsupported }
            let bytes = Int(range.count) * Int(DiskImage.sectorSize)
            guard range.count <= BlockDevice.rangeLimit, let offset = offset(range.sector, bytes: bytes),
                mayWrite(offset, bytes)
            else { return .failed }
            if zero {
                let unmap = range.flags & BlockRequest.Range.unmap != 0
                try image.writeZeroes(offset, UInt64(bytes), mayUnmap: unmap)
            } else {
                try image.discard(offset, UInt64(bytes))
            }
        }
        return .ok
    }
}
