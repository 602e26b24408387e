import CLinux

extension FileDescriptor {
    /// Has the kernel read a part of the file into its page cache, without waiting for it (posix_fadvise(3)).
    package borrowing func readAhead(at offset: UInt64, count: Int) {
        // A call reads no more than a device's read-ahead at once, which is seldom set below this.
        let step = 128 << 10
        for done in stride(from: 0, to: count, by: step) {
            guard let start = Int(exactly: offset)?.addingReportingOverflow(done), !start.overflow else { return }
            _ = posix_fadvise(raw, start.partialValue, min(step, count - done), POSIX_FADV_WILLNEED)
        }
    }
}

extension Directory {
    /// Checks that this process may make files in a directory (access(2)).
    package static func checkWritable(_ path: String) throws(HostError) {
        // SAFETY: the path's bytes live through the call.
        guard unsafe access(path, W_OK | X_OK) == 0 else { throw HostError("write to", path, .current) }
    }

    /// Writes a file in one step: beside its place, and then renamed over what has its name.
    ///
    /// What it holds may be lost in a crash of the host, so it is not for what must not be lost.
    package static func replaceFile(_ path: String, with bytes: [UInt8]) throws(HostError) {
        let new = path + ".new"
        FileDescriptor.remove(new)
        let file = try FileDescriptor.createNew(new)
        do throws(HostError) {
            do throws(Errno) { try file.writeAll(bytes) } catch { throw HostError("write", new, error) }
            // SAFETY: the paths' bytes live through the call.
            guard unsafe rename(new, path) == 0 else { throw HostError("rename \(new) to", path, .current) }
        } catch {
            FileDescriptor.remove(new)
            throw error
        }
    }
}
