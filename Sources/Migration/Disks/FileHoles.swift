import CLinux
import Host

extension FileDescriptor {
    /// Has a range of the file read as zeroes; its blocks are given back where the file system can. The file's length
    /// stays (fallocate(2)).
    borrowing func clearRange(at offset: UInt64, count: UInt64) throws(Errno) {
        guard count > 0 else { return }
        guard let start = Int64(exactly: offset), let length = Int64(exactly: count),
            !start.addingReportingOverflow(length).overflow
        else { throw .tooLarge }
        while true {
            let result = cl_fallocate(raw, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, start, length)
            if result >= 0 { return }
            let errno = Errno(-result)
            if errno == .interrupted { continue }
            guard errno == .notSupported || errno.number == ENOSYS else { throw errno }
            break
        }
        let zeroes: ScratchMemory
        do throws(HostError) { zeroes = try ScratchMemory(count: 1 << 20) } catch { throw error.errno }
        var done: UInt64 = 0
        while done < count {
            let part = min(count - done, UInt64(zeroes.range.count))
            try writeAll(zeroes.range.part(0..<Int(part)), at: offset + done)
            done += part
        }
    }
}
