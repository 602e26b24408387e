import CLinux

/// One descriptor of a `poll(2)`.
package struct PollEntry: Sendable {
    /// The descriptor.
    package let descriptor: Int32
    /// Wait until it can be read, or written.
    package let forReading: Bool, forWriting: Bool
    /// Wait until its peer has ended it, whatever is still to be read.
    package let forEnd: Bool
    /// What came of it.
    package var isReadable = false, isWritable = false, isHungUp = false

    package init(_ descriptor: Int32, forReading: Bool = false, forWriting: Bool = false, forEnd: Bool = false) {
        (self.descriptor, self.forReading, self.forWriting) = (descriptor, forReading, forWriting)
        self.forEnd = forEnd
    }

    /// Waits until a descriptor can be read, or its other end is gone.
    ///
    /// - Parameter limit: milliseconds.
    package static func isReadable(_ descriptor: Int32, within limit: UInt64) -> Bool {
        var entries = [PollEntry(descriptor, forReading: true)]
        wait(&entries, timeout: Int32(clamping: limit))
        return entries[0].isReadable || entries[0].isHungUp
    }

    /// Waits for any of the entries and fills their results in. Regular files are always ready.
    ///
    /// - Parameter timeout: milliseconds; -1 waits for ever.
    package static func wait(_ entries: inout [PollEntry], timeout: Int32 = -1) {
        var list = entries.map { entry in
            pollfd(
                fd: entry.descriptor,
                events: Int16(
                    (entry.forReading ? POLLIN : 0) | (entry.forWriting ? POLLOUT : 0)
                        | (entry.forEnd ? CL_POLLRDHUP : 0)), revents: 0)
        }
        // SAFETY: poll reads and writes the elements of the array, which outlives the call.
        let ready = unsafe list.withUnsafeMutableBufferPointer {
            unsafe poll($0.baseAddress, nfds_t($0.count), timeout)
        }
        for (index, result) in list.enumerated() {
            let bits = ready > 0 ? Int32(result.revents) : 0
            entries[index].isReadable = bits & (POLLIN | POLLHUP | POLLERR) != 0 && entries[index].forReading
            entries[index].isWritable = bits & (POLLOUT | POLLERR) != 0 && entries[index].forWriting
            entries[index].isHungUp = bits & (POLLHUP | POLLERR | POLLNVAL | CL_POLLRDHUP) != 0
        }
    }
}
