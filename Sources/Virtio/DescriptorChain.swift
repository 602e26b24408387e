import CLinux
import Host
import Memory

/// A chain of descriptors that the driver handed over: bytes to read, then room to write (virtio 1.2 section 2.7.4).
///
/// Valid until its queue pops the next one; the queue's worker upholds that by finishing one chain at a time.
@safe
package struct DescriptorChain: ~Copyable {
    /// The chain's name in the used ring.
    package let head: UInt16
    /// SAFETY: the queue's storage: `readableCount + writableCount` initialised ranges of mapped guest memory, and
    /// scratch space of the same capacity.
    private let segments: UnsafeMutablePointer<iovec>
    private let scratch: UnsafeMutablePointer<iovec>
    private let memory: GuestMemory
    /// Segments to read, and behind them segments to write.
    package internal(set) var readableCount = 0, writableCount = 0
    /// Their bytes.
    package internal(set) var readableBytes = 0, writableBytes = 0

    @unsafe
    init(
        head: UInt16, segments: UnsafeMutablePointer<iovec>, scratch: UnsafeMutablePointer<iovec>, memory: GuestMemory
    ) {
        self.head = head
        unsafe self.segments = segments
        unsafe self.scratch = scratch
        self.memory = memory
    }

    /// Copies a value out of the readable bytes; nil when they do not reach that far.
    package func read<Value: BitwiseCopyable>(_ type: Value.Type = Value.self, at offset: Int) -> Value? {
        let length = MemoryLayout<Value>.size
        guard offset >= 0, offset <= readableBytes, length <= readableBytes - offset else { return nil }
        // The usual case: the value lies in the first segment.
        if readableCount > 0, unsafe offset + length <= segments[0].iov_len, let base = unsafe segments[0].iov_base {
            // SAFETY: inside the first segment.
            let value = unsafe (base + offset).loadUnaligned(as: Value.self)
            return memory.arrival.isLost ? nil : value
        }
        return unsafe withUnsafeTemporaryAllocation(byteCount: max(length, 1), alignment: 16) { space in
            // SAFETY: `length` bytes are copied into the space, and a BitwiseCopyable value is made of any bytes.
            let count = unsafe copyOut(offset, UnsafeMutableRawBufferPointer(rebasing: space[0..<length]))
            return unsafe count == length ? space.loadUnaligned(as: Value.self) : nil
        }
    }

    /// Copies readable bytes from `offset` on into the span: how many there were, up to its length; none where pages of
    /// the guest's memory are lost.
    package func read(at offset: Int, into bytes: inout MutableSpan<UInt8>) -> Int {
        unsafe bytes.withUnsafeMutableBytes { unsafe copyOut(offset, $0) }
    }

    /// Copies readable bytes from `offset` on into an array, from `position` on: how many there were, up to `count` and
    /// the array's end; none where pages of the guest's memory are lost.
    package func read(at offset: Int, count: Int, into bytes: inout [UInt8], at position: Int) -> Int {
        guard position >= 0, position <= bytes.count else { return 0 }
        let end = position + min(max(count, 0), bytes.count - position)
        // SAFETY: the range lies inside the array.
        return unsafe bytes.withUnsafeMutableBytes {
            unsafe copyOut(offset, UnsafeMutableRawBufferPointer(rebasing: $0[position..<end]))
        }
    }

    /// Copies bytes into the writable segments from `offset` on: how many found room.
    @discardableResult
    package func write(_ bytes: Span<UInt8>, at offset: Int) -> Int {
        unsafe bytes.withUnsafeBytes { source in
            var done = 0
            unsafe walk(first: readableCount, count: writableCount, from: offset, bytes: source.count) {
                place, length in
                guard let base = source.baseAddress else { return }
                unsafe place.copyMemory(from: base + done, byteCount: length)
                done += length
            }
            return done
        }
    }

    /// Copies a value into the writable segments at `offset`; false when it does not fit.
    @discardableResult
    package func write<Value: BitwiseCopyable>(_ value: Value, at offset: Int) -> Bool {
        let length = MemoryLayout<Value>.size
        guard offset >= 0, offset <= writableBytes, length <= writableBytes - offset else { return false }
        var done = 0
        unsafe withUnsafeBytes(of: value) { source in
            unsafe walk(first: readableCount, count: writableCount, from: offset, bytes: length) { place, part in
                guard let base = source.baseAddress else { return }
                unsafe place.copyMemory(from: base + done, byteCount: part)
                done += part
            }
        }
        return true
    }

    /// The ranges of the readable bytes `[offset, offset + count)` for a vectored write; valid until the next call of
    /// this kind or the next pop. None where pages of the guest's memory are lost.
    package func readable(from offset: Int, count: Int) -> IOVectors {
        let vectors = vectors(first: 0, segmentCount: readableCount, offset, min(count, readableBytes))
        return memory.arrival.isPending ? arrived(vectors) : vectors
    }

    /// Waits for the ranges' pages: the kernel, which is to write them out, could not be kept from what never comes.
    @inline(never)
    private func arrived(_ vectors: IOVectors) -> IOVectors {
        vectors.touch()
        return memory.arrival.isLost ? unsafe IOVectors(base: scratch, count: 0, byteCount: 0) : vectors
    }

    /// The ranges of the writable bytes `[offset, offset + count)` for a vectored read; valid until the next call of
    /// this kind or the next pop.
    package func writable(from offset: Int, count: Int) -> IOVectors {
        vectors(first: readableCount, segmentCount: writableCount, offset, min(count, writableBytes))
    }

    private func vectors(first: Int, segmentCount: Int, _ offset: Int, _ count: Int) -> IOVectors {
        var used = 0
        var bytes = 0
        unsafe walk(first: first, count: segmentCount, from: offset, bytes: count) { place, length in
            // SAFETY: a walk visits each of the at most `segmentLimit` segments once.
            unsafe scratch[used] = iovec(iov_base: place, iov_len: length)
            used += 1
            bytes += length
        }
        return unsafe IOVectors(base: scratch, count: used, byteCount: bytes)
    }

    @discardableResult
    func copyOut(_ offset: Int, _ target: UnsafeMutableRawBufferPointer) -> Int {
        var done = 0
        unsafe walk(first: 0, count: readableCount, from: offset, bytes: target.count) { place, length in
            guard let base = target.baseAddress else { return }
            unsafe (base + done).copyMemory(from: place, byteCount: length)
            done += length
        }
        return memory.arrival.isLost ? 0 : done
    }

    /// Visits the parts of segments that make up at most `bytes` bytes from `offset` on.
    @inline(__always)
    private func walk(
        first: Int, count: Int, from offset: Int, bytes: Int, _ visit: (UnsafeMutableRawPointer, Int) -> Void
    ) {
        guard offset >= 0 else { return }
        var skip = offset
        var left = bytes
        var index = first
        while left > 0, index < first + count {
            let segment = unsafe segments[index]
            index += 1
            let segmentLength = unsafe segment.iov_len
            if skip >= segmentLength {
                skip -= segmentLength
                continue
            }
            let length = min(segmentLength - skip, left)
            if let base = unsafe segment.iov_base { unsafe visit(base + skip, length) }
            skip = 0
            left -= length
        }
    }
}
