import CLinux

/// The process's controlling terminal.
package enum Terminal {
    /// Puts a terminal into raw mode; every way out of the process, a fault of ours included, brings its state back.
    package static func makeRaw(_ descriptor: Int32) throws(HostError) {
        _ = try checked(cl_terminal_make_raw(descriptor), "put the terminal into raw mode")
    }

    /// Brings the terminal's state back, if it was changed.
    package static func restore() { cl_terminal_restore() }

    /// A terminal's size in characters; nil when it has none.
    package static func size(_ descriptor: Int32) -> (columns: UInt16, rows: UInt16)? {
        var size = winsize()
        // SAFETY: the kernel fills the local.
        guard unsafe cl_ioctl_pointer(descriptor, CL_TIOCGWINSZ, &size) == 0, size.ws_col > 0 else { return nil }
        return (size.ws_col, size.ws_row)
    }

    /// A raw pseudo-terminal. The other end is kept open here, so that nobody's leaving closes the line.
    package struct Pair: ~Copyable, Sendable {
        /// The VMM's end, non-blocking.
        package let master: FileDescriptor
        /// The other end.
        package let slave: FileDescriptor
        /// Where others open the other end.
        package let path: String

        package init() throws(HostError) {
            var (first, second): (Int32, Int32) = (-1, -1)
            var name = [CChar](repeating: 0, count: 64)
            // SAFETY: the shim fills the two locals and at most the array's length.
            let result = unsafe name.withUnsafeMutableBufferPointer {
                unsafe cl_open_pty(&first, &second, $0.baseAddress, $0.count)
            }
            _ = try checked(result, "open a pseudo-terminal")
            let master = FileDescriptor(owning: first)
            let slave = FileDescriptor(owning: second)
            try master.setNonBlocking(true)
            self.master = master
            self.slave = slave
            path = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        }
    }
}
