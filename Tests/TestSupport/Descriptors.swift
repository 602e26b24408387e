import Host

extension FileDescriptor {
    /// Reads until this many bytes came, the other side ended, or the time is up; what came.
    package borrowing func read(_ count: Int, by deadline: Deadline = .seconds(10)) -> [UInt8] {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while bytes.count < count, !deadline.hasPassed {
            var entries = [PollEntry(raw, forReading: true)]
            PollEntry.wait(&entries, timeout: 50)
            guard entries[0].isReadable else { continue }
            var span = chunk.mutableSpan
            guard let got = try? read(into: &span) else { continue }
            if got == 0 { break }
            bytes += chunk[..<got]
        }
        return bytes
    }
}
