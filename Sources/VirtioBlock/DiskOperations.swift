import CLinux
import Host
import Virtio

/// The operations of a disk; offsets and counts are bytes, checked by the caller against the disk's size.
extension DiskImage {
    /// Reads into the chain's writable bytes or writes its readable ones, all of them.
    func transfer(
        _ chain: borrowing DescriptorChain, isWrite: Bool, dataStart: Int, count: Int, at offset: UInt64
    ) throws(Errno) {
        defer { if isWrite { written.add(offset, UInt64(count)) } }
        var done = 0
        while done < count {
            let position = Int64(offset) + Int64(done)
            let moved: Int
            if isWrite {
                moved = try file.write(chain.readable(from: dataStart + done, count: count - done), at: position)
            } else {
                moved = try file.read(into: chain.writable(from: dataStart + done, count: count - done), at: position)
            }
            // A file that somebody cut meanwhile has no more bytes here.
            guard moved > 0 else { throw .inputOutput }
            done += moved
        }
    }

    /// Reads or writes through a buffer that direct I/O accepts, where the guest's own is not aligned.
    func transferAligned(
        _ chain: borrowing DescriptorChain, _ buffer: AlignedBuffer, isWrite: Bool, count: Int, at offset: UInt64
    ) throws(Errno) {
        defer { if isWrite { written.add(offset, UInt64(count)) } }
        var done = 0
        while done < count {
            let part = min(count - done, AlignedBuffer.size)
            let position = offset + UInt64(done)
            if isWrite {
                let filled = buffer.fill(from: chain, at: BlockRequest.Header.size + done, count: part)
                guard filled == part else { throw .inputOutput }
                try buffer.write(to: file, count: part, at: position)
            } else {
                try buffer.read(from: file, count: part, at: position)
                buffer.drain(to: chain, at: done, count: part)
            }
            done += part
        }
    }

    /// Brings everything written so far to stable storage.
    func flush() throws(Errno) { try file.syncBytes() }

    /// Gives the space of a range back; it reads as zeroes or as before afterwards.
    func discard(_ offset: UInt64, _ count: UInt64) throws(Errno) {
        guard options.sparse || isBlockDevice else { return }
        defer { written.add(offset, count) }
        try punch(offset, count, CL_BLKDISCARD, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
    }

    /// Makes a range read as zeroes.
    func writeZeroes(_ offset: UInt64, _ count: UInt64, mayUnmap: Bool) throws(Errno) {
        defer { written.add(offset, count) }
        let punching = mayUnmap && options.sparse
        let mode = punching ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE
        do throws(Errno) {
            try punch(offset, count, CL_BLKZEROOUT, mode)
        } catch {
            guard error == .notSupported || error == Errno(ENOTTY) else { throw error }
            try writeZeroBytes(offset, count)
        }
    }

    private func punch(_ offset: UInt64, _ count: UInt64, _ request: UInt, _ mode: Int32) throws(Errno) {
        guard count > 0 else { return }
        if isBlockDevice {
            var range: InlineArray<2, UInt64> = [offset, count]
            // SAFETY: the request reads two 64-bit numbers.
            let result = unsafe withUnsafeMutableBytes(of: &range) {
                unsafe cl_ioctl_pointer(file.raw, request, $0.baseAddress)
            }
            guard result >= 0 else { throw Errno(-result) }
        } else {
            while true {
                let result = cl_fallocate(file.raw, mode, Int64(offset), Int64(count))
                if result >= 0 { return }
                guard result == -EINTR else { throw Errno(-result) }
            }
        }
    }

    private func writeZeroBytes(_ offset: UInt64, _ count: UInt64) throws(Errno) {
        let buffer = try AlignedBuffer()
        buffer.clear()
        var done: UInt64 = 0
        while done < count {
            let part = Int(min(count - done, UInt64(AlignedBuffer.size)))
            try buffer.write(to: file, count: part, at: offset + done)
            done += UInt64(part)
        }
    }
}
